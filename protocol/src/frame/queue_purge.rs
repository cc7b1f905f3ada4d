//! Queue purge: everything in a queue goes, and the queue stays. The reply to a queue rewind looks
//! alike.
//!
//! Spec: spec/wire.md, "Queue purge" and "Queue rewind".

use bytes::Bytes;

use crate::DecodeError;
use crate::reader::Reader;

/// The reply: how many messages it was about.
pub(crate) fn decode_reply(payload: Bytes) -> Result<u64, DecodeError> {
    let mut reader = Reader::new(payload);
    let count = reader.take_u64("message count")?;
    reader.finish()?;
    Ok(count)
}
