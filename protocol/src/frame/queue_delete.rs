//! Queue delete: a queue and everything in it. The reply has no payload. A queue purge looks alike.
//!
//! Spec: spec/wire.md, "Queue delete" and "Queue purge".

use bytes::Bytes;

use crate::reader::Reader;
use crate::{DecodeError, Name};

/// The payload is the queue's name and nothing else.
pub(crate) fn decode(payload: Bytes) -> Result<Name, DecodeError> {
    let mut reader = Reader::new(payload);
    let name = reader.take_name("queue name")?;
    reader.finish()?;
    Ok(name)
}
