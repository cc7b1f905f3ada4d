//! The pulse: "I am alive", the time, and whatever the node has to say to its peers all the time.
//!
//! Spec: spec/peer.md, "Pulse".

use bytes::{BufMut, Bytes};

use super::fields::{Fields, FrameError};
use super::header::{FrameKind, NODE, OutFrame};
use crate::peer::limits::PULSE_LEN_MAX;

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// The sender's wall clock.
    pub(crate) wall_ms: u64,
    /// Not the network's own; at most [`PULSE_LEN_MAX`] bytes.
    pub(crate) content: Bytes,
}

impl Pulse {
    pub(crate) fn encode(self) -> OutFrame {
        let put = |out: &mut bytes::BytesMut| out.put_u64_le(self.wall_ms);
        let rest = vec![self.content];
        OutFrame::with_rest(FrameKind::Pulse, 0, (NODE, 0), put, rest, true)
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields::new(payload);
        let wall_ms = fields.u64("wall clock")?;
        let content = fields.rest();
        if content.len() > PULSE_LEN_MAX {
            return Err(FrameError::Range("length of a pulse"));
        }
        Ok(Pulse { wall_ms, content })
    }
}
