//! Change visibility: hide received messages for another while from now on, or give them back.
//! The reply is [`crate::HandleResults`].
//!
//! Spec: spec/wire.md, "Change visibility".

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{VISIBILITY_TIMEOUT_MAX_MS, VISIBILITY_TIMEOUT_MIN_MS};
use crate::reader::Reader;
use crate::{DecodeError, ErrorCode, Handles, Name, OutOfRange};

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeVisibility {
    /// The queue.
    pub queue: Name,
    /// For how long from now on; 0: given back; [`ChangeVisibility::UNDO_RECEIVE`]: the receive is
    /// undone.
    pub visibility_timeout_ms: u32,
    /// Of the receives that the messages came with.
    pub handles: Handles,
}

impl ChangeVisibility {
    /// In the place of a timeout: the messages are as if they had not been received.
    pub const UNDO_RECEIVE: u32 = u32::MAX;

    /// Passes when the timeout is 0, [`ChangeVisibility::UNDO_RECEIVE`], or in its range.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::VisibilityTimeoutOutOfRange`], with the range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        if [0, ChangeVisibility::UNDO_RECEIVE].contains(&self.visibility_timeout_ms) {
            return Ok(());
        }
        OutOfRange::check(
            ErrorCode::VisibilityTimeoutOutOfRange,
            "visibility_timeout_ms",
            self.visibility_timeout_ms,
            VISIBILITY_TIMEOUT_MIN_MS,
            VISIBILITY_TIMEOUT_MAX_MS,
        )
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let visibility_timeout_ms = reader.take_u32("visibility_timeout_ms")?;
        let queue = reader.take_name("queue name")?;
        let handles = Handles::take(&mut reader)?;
        reader.finish()?;
        let change = ChangeVisibility {
            queue,
            visibility_timeout_ms,
            handles,
        };
        change.check()?;
        Ok(change)
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.visibility_timeout_ms);
        self.queue.encode(out);
        self.handles.encode(out);
    }
}
