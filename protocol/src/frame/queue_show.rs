//! Queue show: what a queue is and how much is in it.
//!
//! Spec: spec/wire.md, "Queue show".

use bytes::{BufMut, Bytes, BytesMut};

use crate::name::put_name;
use crate::reader::Reader;
use crate::{
    AttributeChanges, DecodeError, ErrorCode, Name, QueueAttributes, QueueId, SetId, Timestamp,
};

/// The payload of the request is the queue's name and nothing else.
pub(crate) fn decode_request(payload: Bytes) -> Result<Name, DecodeError> {
    let mut reader = Reader::new(payload);
    let name = reader.take_name("queue name")?;
    reader.finish()?;
    Ok(name)
}

/// How many messages a queue holds, by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Can be received now.
    pub ready: u64,
    /// Hidden by their delay.
    pub delayed: u64,
    /// Received, and neither deleted nor visible again.
    pub in_flight: u64,
    /// When the oldest ready message was sent, or a little earlier; `None` when nothing is ready.
    pub oldest_at: Option<Timestamp>,
}

/// The answer to queue show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDescription {
    /// As it was written when the queue was created; at most 255 bytes.
    pub name: String,
    /// Never given to another queue, not even to one of the same name.
    pub id: QueueId,
    /// Where the queue lives.
    pub set: SetId,
    /// When the queue was created.
    pub created_at: Timestamp,
    /// How it treats its messages.
    pub attributes: QueueAttributes,
    /// What it holds.
    pub counts: QueueCounts,
}

impl QueueDescription {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let id = QueueId(reader.take_u64("queue id")?);
        let created_at = reader.take_timestamp("created_at")?;
        let set = SetId(reader.take_u32("set")?);
        reader.take_zeros::<4>("reserved")?;
        let counts = take_counts(&mut reader)?;
        let name = reader.take_name("queue name")?.as_str().to_owned();
        let attributes = take_attributes(&mut reader)?;
        reader.finish()?;
        Ok(QueueDescription {
            name,
            id,
            set,
            created_at,
            attributes,
            counts,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.id.0);
        out.put_u64_le(self.created_at.0);
        out.put_u32_le(self.set.0);
        out.put_u32_le(0);
        out.put_u64_le(self.counts.ready);
        out.put_u64_le(self.counts.delayed);
        out.put_u64_le(self.counts.in_flight);
        out.put_u64_le(self.counts.oldest_at.map_or(0, |oldest_at| oldest_at.0));
        put_name(&self.name, out);
        AttributeChanges::from(self.attributes).encode(out);
    }
}

fn take_counts(reader: &mut Reader) -> Result<QueueCounts, DecodeError> {
    Ok(QueueCounts {
        ready: reader.take_u64("ready count")?,
        delayed: reader.take_u64("delayed count")?,
        in_flight: reader.take_u64("in flight count")?,
        oldest_at: Some(reader.take_timestamp("oldest_at")?).filter(|at| at.0 != 0),
    })
}

/// All attributes; a description without one of them is malformed.
fn take_attributes(reader: &mut Reader) -> Result<QueueAttributes, DecodeError> {
    let at = reader.at();
    AttributeChanges::take(reader)?
        .all()
        .ok_or(DecodeError::Invalid {
            what: "attributes",
            at,
            code: ErrorCode::MalformedFrame,
        })
}
