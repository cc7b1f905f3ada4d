//! Queue set: new values for attributes of a queue. The reply has no payload.
//!
//! Spec: spec/wire.md, "Queue set".

use bytes::{Bytes, BytesMut};

use crate::reader::Reader;
use crate::{AttributeChanges, DecodeError, Name};

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSet {
    /// The queue.
    pub name: Name,
    /// Attributes that are to change.
    pub changes: AttributeChanges,
}

impl QueueSet {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let name = reader.take_name("queue name")?;
        let changes = AttributeChanges::take(&mut reader)?;
        reader.finish()?;
        Ok(QueueSet { name, changes })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        self.name.encode(out);
        self.changes.encode(out);
    }
}
