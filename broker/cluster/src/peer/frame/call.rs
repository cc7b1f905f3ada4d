//! Calls: a request with one answer, or an error.
//!
//! Spec: spec/peer.md, "Calls".

use bytes::{BufMut, Bytes};

use super::fields::{Fields, FrameError, put_text};
use super::header::{FrameKind, OutFrame};

/// The other node did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error {number}: {text}")]
pub(crate) struct CallError {
    /// Below 16: one of the constants here; from 16 on the methods' own.
    pub(crate) number: u16,
    pub(crate) text: String,
}

impl CallError {
    /// Whoever was to answer went away.
    pub(crate) const NOT_ANSWERED: u16 = 1;
    /// The connection has as many unanswered calls as it may.
    pub(crate) const TOO_MANY: u16 = 2;
    /// No such method, or not for this caller.
    pub(crate) const UNKNOWN_METHOD: u16 = 3;
    /// The payload is not what the method takes.
    pub(crate) const MALFORMED: u16 = 4;
    /// The set's consensus has stopped.
    pub(crate) const STOPPED: u16 = 5;
    /// Asked by a node that is no member, for something that only members may ask.
    pub(crate) const NOT_A_MEMBER: u16 = 6;
    /// The node has no such set.
    pub(crate) const UNKNOWN_SET: u16 = 7;
    /// The answer would be longer than a frame.
    pub(crate) const TOO_LONG: u16 = 8;

    pub(crate) fn new(number: u16, text: impl Into<String>) -> Self {
        let text = text.into();
        CallError { number, text }
    }

    /// In answer to a call or an append stream, as `kind` says.
    pub(crate) fn encode(&self, kind: FrameKind, set: u32, id: u64) -> OutFrame {
        OutFrame::new(kind, set, id, |out| {
            out.put_u16_le(self.number);
            put_text(out, &self.text);
        })
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields::new(payload);
        let number = fields.u16("number of an error")?;
        let text = fields.text("text of an error")?;
        fields.end()?;
        Ok(CallError { number, text })
    }
}

/// A call of `method`.
pub(crate) fn put_call(set: u32, id: u64, method: u16, payload: Bytes) -> OutFrame {
    let put = |out: &mut bytes::BytesMut| out.put_u16_le(method);
    OutFrame::with_rest(FrameKind::Call, 0, (set, id), put, vec![payload], true)
}

/// The method of a call, and what goes with it.
pub(crate) fn get_call(payload: Bytes) -> Result<(u16, Bytes), FrameError> {
    let mut fields = Fields::new(payload);
    let method = fields.u16("method")?;
    Ok((method, fields.rest()))
}
