//! The frames between nodes: bytes to types and back, without I/O.
//!
//! One file per kind. The header ([`header`]) carries two checksums: its own, so that no length is
//! believed that was not sent; and that of the payload's head. The bytes of entries behind an
//! append's head have checksums in its table: they are computed once, for all peers.
//!
//! Invariant: every value has one encoding; missing and surplus bytes are errors.
//! Spec: spec/peer.md, "Frames".

mod append;
mod appended;
mod call;
mod decoder;
mod fields;
mod header;
mod hello;
mod pulse;
mod refusal;

pub(crate) use append::{
    AppendBytes, AppendHead, EntryHead, EntryPieces, WireLogId, WireVote, get_log_id, get_vote,
    put_log_id, put_vote,
};
pub(crate) use appended::Appended;
pub(crate) use call::{CallError, get_call, put_call};
pub(crate) use decoder::FrameDecoder;
pub(crate) use fields::{Fields, FrameError};
pub(crate) use header::{FLAG_LAST, FLAG_OPEN, Frame, FrameHeader, FrameKind, NODE, OutFrame};
pub(crate) use hello::{Hello, VERSION, agree};
pub(crate) use pulse::Pulse;
pub(crate) use refusal::{PeerRefusal, RefusalReason};

#[cfg(test)]
mod tests;
