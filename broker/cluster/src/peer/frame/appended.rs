//! The answer to one request of an append stream.
//!
//! Spec: spec/peer.md, "Append streams".

use bytes::{BufMut, Bytes};

use super::append::{WireLogId, WireVote, get_log_id, get_vote, put_log_id, put_vote};
use super::fields::{Fields, FrameError};
use super::header::{FrameKind, OutFrame};

const MATCHING: u8 = 0;
const CONFLICT: u8 = 1;
const HIGHER_VOTE: u8 = 2;

/// What the follower did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// Its log is synced and equal up to here.
    Matching(Option<WireLogId>),
    /// It has another entry there, or none; the stream is over.
    Conflict(WireLogId),
    /// It knows a later leader or candidate; the stream is over.
    HigherVote(WireVote),
}

impl Appended {
    /// Whether nothing follows on the stream.
    pub(crate) fn ends_stream(&self) -> bool {
        !matches!(self, Appended::Matching(_))
    }

    pub(crate) fn encode(&self, set: u32, stream: u64) -> OutFrame {
        OutFrame::new(FrameKind::Appended, set, stream, |out| match self {
            Appended::Matching(id) => {
                out.put_u8(MATCHING);
                put_log_id(out, *id);
            }
            Appended::Conflict(id) => {
                out.put_u8(CONFLICT);
                put_log_id(out, Some(*id));
            }
            Appended::HigherVote(vote) => {
                out.put_u8(HIGHER_VOTE);
                put_vote(out, *vote);
            }
        })
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields::new(payload);
        let appended = match fields.u8("result")? {
            MATCHING => Appended::Matching(get_log_id(&mut fields, "log id")?),
            CONFLICT => {
                let id = get_log_id(&mut fields, "log id")?;
                Appended::Conflict(id.ok_or(FrameError::Range("log id of a conflict"))?)
            }
            HIGHER_VOTE => Appended::HigherVote(get_vote(&mut fields)?),
            _ => return Err(FrameError::Range("result")),
        };
        fields.end()?;
        Ok(appended)
    }
}
