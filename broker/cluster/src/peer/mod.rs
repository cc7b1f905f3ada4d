//! The peer network: connections between the nodes of a cluster, for all their sets.
//!
//! Bytes become frames in [`frame`], connections are greeted in [`handshake`] and run in
//! [`connection`]; [`peers`] keeps a [`Link`] to each member and serves what members ask by
//! [`PeerService`]. Nothing here knows openraft or TLS: the log's entries are bytes, and the server
//! brings the [`Transport`].
//!
//! Invariant: what waits for a peer is bounded, by [`limits`]; who asks waits or is told.
//! Spec: spec/peer.md.

mod append_channel;
mod clocks;
mod connection;
mod error;
mod frame;
mod handshake;
mod incoming;
mod limits;
mod link;
mod outbox;
mod peers;
mod pending;
mod service;
mod transport;
mod writer;

pub(crate) use append_channel::AppendChannel;
pub(crate) use error::PeerError;
pub(crate) use frame::{
    AppendBytes, AppendHead, Appended, CallError, EntryHead, EntryPieces, Fields, FrameError,
    Hello, PeerRefusal, RefusalReason, WireLogId, WireVote, get_log_id, get_vote, put_log_id,
    put_vote,
};
pub(crate) use handshake::LocalNode;
pub(crate) use limits::{APPENDS_UNANSWERED_LEN_MAX, APPENDS_UNANSWERED_MAX, PEER_PAYLOAD_LEN_MAX};
pub(crate) use link::Link;
pub(crate) use peers::{Peers, PeersParts, PeersTask};
pub(crate) use service::{
    AppendAnswers, AppendRequest, CallReply, Caller, Gate, IncomingAppends, PeerService,
    PulseSource,
};
pub use transport::{PeerIo, PeerStream, PlainTransport, Transport};

#[cfg(test)]
mod tests;
