//! Queue create: a queue with attributes other than the defaults. The reply has no payload.
//!
//! Spec: spec/wire.md, "Queue create".

use bytes::{Bytes, BytesMut};

use crate::reader::Reader;
use crate::{AttributeChanges, DecodeError, Name};

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueCreate {
    /// The queue.
    pub name: Name,
    /// Attributes that are not to have their default.
    pub changes: AttributeChanges,
}

impl QueueCreate {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let name = reader.take_name("queue name")?;
        let changes = AttributeChanges::take(&mut reader)?;
        reader.finish()?;
        Ok(QueueCreate { name, changes })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        self.name.encode(out);
        self.changes.encode(out);
    }
}
