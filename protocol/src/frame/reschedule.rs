//! Reschedule: a delayed message falls due at another instant, or never. The reply has no payload.
//!
//! Spec: spec/wire.md, "Reschedule".

use bytes::{BufMut, Bytes, BytesMut};

use crate::reader::Reader;
use crate::{DecodeError, MessageId, Name};

/// In the place of a delay: the message is removed.
const CANCEL: u64 = u64::MAX;

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reschedule {
    /// The queue.
    pub queue: Name,
    /// A message that was sent with a delay and is not due yet.
    pub id: MessageId,
    /// From now on; 0: ready at once; none: it is removed. Not `u64::MAX`.
    pub delay_ms: Option<u64>,
}

impl Reschedule {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let id = reader.take_message_id()?;
        let delay_ms = reader.take_u64("delay_ms")?;
        let queue = reader.take_name("queue name")?;
        reader.finish()?;
        Ok(Reschedule {
            queue,
            id,
            delay_ms: Some(delay_ms).filter(|delay_ms| *delay_ms != CANCEL),
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.id.0);
        out.put_u64_le(self.delay_ms.unwrap_or(CANCEL));
        self.queue.encode(out);
    }
}
