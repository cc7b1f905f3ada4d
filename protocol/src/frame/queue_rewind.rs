//! Queue rewind: deleted messages are ready again. The reply is a count, like that of a queue
//! purge.
//!
//! Spec: spec/wire.md, "Queue rewind".

use bytes::{BufMut, Bytes, BytesMut};

use crate::reader::Reader;
use crate::{DecodeError, Name, Timestamp};

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRewind {
    /// The queue.
    pub name: Name,
    /// Messages that were sent then or later.
    pub to: Timestamp,
}

impl QueueRewind {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let to = reader.take_timestamp("to")?;
        let name = reader.take_name("queue name")?;
        reader.finish()?;
        Ok(QueueRewind { name, to })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.to.0);
        self.name.encode(out);
    }
}
