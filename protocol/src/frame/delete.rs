//! Delete: received messages that are done. The reply is [`crate::HandleResults`].
//!
//! Spec: spec/wire.md, "Delete".

use bytes::{Bytes, BytesMut};

use crate::reader::Reader;
use crate::{DecodeError, Handles, Name};

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The queue.
    pub queue: Name,
    /// Of the receives that the messages came with.
    pub handles: Handles,
}

impl Delete {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let queue = reader.take_name("queue name")?;
        let handles = Handles::take(&mut reader)?;
        reader.finish()?;
        Ok(Delete { queue, handles })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        self.queue.encode(out);
        self.handles.encode(out);
    }
}
