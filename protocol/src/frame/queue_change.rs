//! Queue create and queue set: a name and the attributes to set.

use bytes::{Bytes, BytesMut};

use crate::reader::Reader;
use crate::{AttributeChanges, DecodeError, Name};

/// A queue and the attributes that its creation or change names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueChange {
    /// The queue.
    pub name: Name,
    /// The attributes named; the others keep their value, or get the default.
    pub changes: AttributeChanges,
}

impl QueueChange {
    pub(super) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let name = reader.take_name("queue name")?;
        let changes = AttributeChanges::take(&mut reader)?;
        reader.finish()?;
        Ok(QueueChange { name, changes })
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        self.name.encode(out);
        self.changes.encode(out);
    }
}
