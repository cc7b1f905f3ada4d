//! Append: entries of a leader's log, or none, with what a follower needs to take them.
//!
//! The head has a table of the entries with a checksum each; behind it their payloads lie one after
//! another as they lie in the leader's memory. So an entry's checksum is computed once for all
//! peers, and no body is copied on the way out.
//!
//! Invariant: an [`AppendBytes`] was checked: every payload is as its leader sent it.
//! Spec: spec/peer.md, "Append streams".

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::{Fields, FrameError};
use super::header::{Frame, FrameKind, OutFrame};
use crate::peer::limits::APPEND_ENTRY_COUNT_MAX;

/// Length of an encoded vote.
const VOTE_LEN: usize = 17;
/// Length of an encoded log id.
const LOG_ID_LEN: usize = 17;
/// Term u64, index u64, length u32, checksum u32.
const ENTRY_HEAD_LEN: usize = 24;

/// A vote as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireVote {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) is_committed: bool,
}

/// A log id as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireLogId {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryHead {
    pub(crate) id: WireLogId,
    /// Of the payload.
    pub(crate) len: u32,
    pub(crate) crc32c: u32,
}

/// An entry to be sent: its payload in pieces, as it lies in memory.
#[derive(Clone, Debug)]
pub(crate) struct EntryPieces {
    pub(crate) head: EntryHead,
    pub(crate) pieces: Vec<Bytes>,
}

impl EntryPieces {
    /// What the entry adds to a frame.
    pub(crate) fn len(&self) -> usize {
        ENTRY_HEAD_LEN + self.head.len as usize
    }
}

/// What a request says besides its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppendHead {
    pub(crate) vote: WireVote,
    pub(crate) prev: Option<WireLogId>,
    pub(crate) commit: Option<WireLogId>,
}

impl AppendHead {
    /// Length of a payload without entries.
    pub(crate) const LEN: usize = VOTE_LEN + 2 * LOG_ID_LEN + 4;

    /// A request of the stream.
    pub(crate) fn encode(
        &self,
        flags: u8,
        (set, stream): (u32, u64),
        entries: Vec<EntryPieces>,
    ) -> OutFrame {
        let heads: Vec<_> = entries.iter().map(|entry| entry.head).collect();
        let pieces = entries.into_iter().flat_map(|entry| entry.pieces).collect();
        let put = |out: &mut BytesMut| {
            put_vote(out, self.vote);
            put_log_id(out, self.prev);
            put_log_id(out, self.commit);
            let count = u32::try_from(heads.len()).expect("bounded by the length of a frame");
            out.put_u32_le(count);
            for head in heads {
                out.put_u64_le(head.id.term);
                out.put_u64_le(head.id.index);
                out.put_u32_le(head.len);
                out.put_u32_le(head.crc32c);
            }
        };
        OutFrame::with_rest(FrameKind::Append, flags, (set, stream), put, pieces, false)
    }
}

/// A request that came: the table was compared with the payloads.
#[derive(Clone, Debug)]
pub(crate) struct AppendBytes {
    pub(crate) head: AppendHead,
    pub(crate) entries: Vec<(WireLogId, Bytes)>,
}

impl AppendBytes {
    pub(crate) fn decode(frame: &Frame) -> Result<Self, FrameError> {
        let head_len = frame.header.head_len as usize;
        let mut fields = Fields::new(frame.payload.slice(..head_len));
        let head = AppendHead {
            vote: get_vote(&mut fields)?,
            prev: get_log_id(&mut fields, "previous log id")?,
            commit: get_log_id(&mut fields, "committed log id")?,
        };
        let count = fields.u32("count of entries")? as usize;
        if count > APPEND_ENTRY_COUNT_MAX || count * ENTRY_HEAD_LEN != fields.remaining_len() {
            return Err(FrameError::Range("count of entries"));
        }
        let mut content = Fields::new(frame.payload.slice(head_len..));
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let head = get_entry_head(&mut fields)?;
            let payload = content.take(head.len as usize, "entry")?;
            if crc32c::crc32c(&payload) != head.crc32c {
                return Err(FrameError::Checksum("an entry"));
            }
            entries.push((head.id, payload));
        }
        fields.end()?;
        content.end()?;
        Ok(AppendBytes { head, entries })
    }
}

fn get_entry_head(fields: &mut Fields) -> Result<EntryHead, FrameError> {
    Ok(EntryHead {
        id: WireLogId {
            term: fields.u64("term of an entry")?,
            index: fields.u64("index of an entry")?,
        },
        len: fields.u32("length of an entry")?,
        crc32c: fields.u32("checksum of an entry")?,
    })
}

/// Term u64, node u64, committed u8.
pub(crate) fn put_vote(out: &mut BytesMut, vote: WireVote) {
    out.put_u64_le(vote.term);
    out.put_u64_le(vote.node);
    out.put_u8(u8::from(vote.is_committed));
}

/// The way back of [`put_vote`].
pub(crate) fn get_vote(fields: &mut Fields) -> Result<WireVote, FrameError> {
    Ok(WireVote {
        term: fields.u64("term of a vote")?,
        node: fields.u64("node of a vote")?,
        is_committed: fields.bool("state of a vote")?,
    })
}

/// Present u8, term u64, index u64; all zero when there is none.
pub(crate) fn put_log_id(out: &mut BytesMut, id: Option<WireLogId>) {
    out.put_u8(u8::from(id.is_some()));
    let id = id.unwrap_or(WireLogId { term: 0, index: 0 });
    out.put_u64_le(id.term);
    out.put_u64_le(id.index);
}

/// The way back of [`put_log_id`].
pub(crate) fn get_log_id(
    fields: &mut Fields,
    what: &'static str,
) -> Result<Option<WireLogId>, FrameError> {
    let is_there = fields.bool(what)?;
    let (term, index) = (fields.u64(what)?, fields.u64(what)?);
    match is_there {
        true => Ok(Some(WireLogId { term, index })),
        false if (term, index) == (0, 0) => Ok(None),
        false => Err(FrameError::Range(what)),
    }
}
