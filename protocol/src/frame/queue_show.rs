//! Queue show: what a queue is and how much is in it.
//!
//! Spec: spec/wire.md, "Queue show".

use bytes::{BufMut, Bytes, BytesMut};

use crate::name::put_name;
use crate::reader::Reader;
use crate::{
    AttributeChanges, DecodeError, ErrorCode, Name, QueueAttributes, QueueId, SetId, Timestamp,
    WhenFull,
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
    /// Can be received now, but for those that are locked.
    pub ready: u64,
    /// Hidden by their delay.
    pub delayed: u64,
    /// Received, and neither deleted nor visible again.
    pub in_flight: u64,
    /// When the oldest ready message was sent, or a little earlier; `None` when nothing is ready.
    pub oldest_at: Option<Timestamp>,
    /// When the first of the delayed messages becomes ready.
    pub due_at: Option<Timestamp>,
    /// When the first visibility of a message in flight ends.
    pub visible_at: Option<Timestamp>,
    /// On their way to another queue.
    pub moving: u64,
    /// Kept, because the queue that they were to go to does not take them.
    pub undeliverable: u64,
    /// Deleted, and a rewind can make them ready again.
    pub rewindable: u64,
    /// Bytes of headers, keys and bodies of all but those that were deleted; after sends of mixed
    /// lengths, about.
    pub bytes: u64,
    /// Of the ready ones, those of ordered groups of which a message is in flight or rests.
    pub locked: u64,
}

/// Why a receive gets nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It would get something: so many messages are ready.
    Ready(u64),
    /// The queue is paused.
    Paused,
    /// The queue holds nothing.
    Empty,
    /// So many messages are in flight, which is the most that the queue allows.
    TooManyInFlight(u64),
    /// All messages are delayed or in flight, and none becomes ready before, unless a receiver
    /// gives it back.
    HiddenUntil(Timestamp),
    /// So many messages are ready, all of groups of which a message is in flight or rests.
    Locked(u64),
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
    /// The name of its dead-letter queue; empty without one.
    pub dead_letter_queue: String,
}

impl QueueDescription {
    /// Why a receive gets nothing, or that it would get something.
    pub fn why(&self) -> Why {
        let (counts, most) = (&self.counts, self.attributes.in_flight_count_max);
        let hidden_until = counts.due_at.into_iter().chain(counts.visible_at).min();
        match (counts.ready, hidden_until) {
            _ if self.attributes.is_paused => Why::Paused,
            (ready @ 1.., _) if counts.locked >= ready => Why::Locked(ready),
            (1.., _) if counts.in_flight >= most => Why::TooManyInFlight(counts.in_flight),
            (ready @ 1.., _) => Why::Ready(ready - counts.locked),
            (0, Some(at)) => Why::HiddenUntil(at),
            (0, None) => Why::Empty,
        }
    }

    /// Whether the queue has no room for one more message.
    pub fn is_full(&self) -> bool {
        let (attributes, counts) = (&self.attributes, &self.counts);
        let leaving = counts.moving + counts.undeliverable;
        let here = counts.ready + counts.delayed + counts.in_flight;
        let (count, bytes) = match attributes.when_full {
            WhenFull::Refuse => (here + leaving, counts.bytes),
            // What leaves does not count, and how many bytes of all that is, is not told.
            WhenFull::DropOldestToDeadLetter if leaving > 0 => (here, 0),
            WhenFull::DropOldestToDeadLetter => (here, counts.bytes),
        };
        count >= attributes.message_count_max || bytes >= attributes.byte_count_max
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let id = QueueId(reader.take_u64("queue id")?);
        let created_at = reader.take_timestamp("created_at")?;
        let set = SetId(reader.take_u32("set")?);
        reader.take_zeros::<4>("reserved")?;
        let counts = take_counts(&mut reader)?;
        let name = reader.take_name("queue name")?.as_str().to_owned();
        let dead_letter_queue = reader.take_name("dead-letter queue")?.as_str().to_owned();
        let attributes = take_attributes(&mut reader)?;
        reader.finish()?;
        Ok(QueueDescription {
            name,
            id,
            set,
            created_at,
            attributes,
            counts,
            dead_letter_queue,
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
        let instants = [
            self.counts.oldest_at,
            self.counts.due_at,
            self.counts.visible_at,
        ];
        for at in instants {
            out.put_u64_le(at.map_or(0, |at| at.0));
        }
        out.put_u64_le(self.counts.moving);
        out.put_u64_le(self.counts.undeliverable);
        out.put_u64_le(self.counts.rewindable);
        out.put_u64_le(self.counts.bytes);
        out.put_u64_le(self.counts.locked);
        put_name(&self.name, out);
        put_name(&self.dead_letter_queue, out);
        AttributeChanges::from(self.attributes).encode(out);
    }
}

fn take_counts(reader: &mut Reader) -> Result<QueueCounts, DecodeError> {
    let [ready, delayed, in_flight] = [
        reader.take_u64("ready count")?,
        reader.take_u64("delayed count")?,
        reader.take_u64("in flight count")?,
    ];
    let mut instant = |what| -> Result<_, DecodeError> {
        let at = reader.take_timestamp(what)?;
        Ok(Some(at).filter(|at| at.0 != 0))
    };
    Ok(QueueCounts {
        ready,
        delayed,
        in_flight,
        oldest_at: instant("oldest_at")?,
        due_at: instant("due_at")?,
        visible_at: instant("visible_at")?,
        moving: reader.take_u64("moving count")?,
        undeliverable: reader.take_u64("undeliverable count")?,
        rewindable: reader.take_u64("rewindable count")?,
        bytes: reader.take_u64("byte count")?,
        locked: reader.take_u64("locked count")?,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> QueueDescription {
        QueueDescription {
            name: "orders".to_owned(),
            id: QueueId(1),
            set: SetId(1),
            created_at: Timestamp(1),
            attributes: QueueAttributes::default(),
            counts: QueueCounts::default(),
            dead_letter_queue: String::new(),
        }
    }

    #[test]
    fn a_queue_is_full_by_messages_or_by_bytes_and_what_leaves_counts_only_where_sends_are_refused()
    {
        let mut queue = queue();
        (queue.attributes.message_count_max, queue.counts.ready) = (3, 2);
        (queue.attributes.byte_count_max, queue.counts.bytes) = (100, 99);
        assert!(!queue.is_full());
        queue.counts.moving = 1;
        assert!(queue.is_full());
        queue.attributes.when_full = WhenFull::DropOldestToDeadLetter;
        assert!(!queue.is_full());
        queue.counts.moving = 0;
        queue.counts.bytes = 100;
        assert!(queue.is_full());
    }

    #[test]
    fn why_names_the_first_thing_that_stands_in_the_way() {
        let mut queue = queue();
        assert_eq!(queue.why(), Why::Empty);
        queue.counts.in_flight = 2;
        queue.counts.visible_at = Some(Timestamp(9));
        assert_eq!(queue.why(), Why::HiddenUntil(Timestamp(9)));
        queue.counts.delayed = 1;
        queue.counts.due_at = Some(Timestamp(7));
        assert_eq!(queue.why(), Why::HiddenUntil(Timestamp(7)));
        queue.counts.ready = 5;
        queue.counts.locked = 4;
        assert_eq!(queue.why(), Why::Ready(1));
        queue.attributes.in_flight_count_max = 2;
        assert_eq!(queue.why(), Why::TooManyInFlight(2));
        queue.counts.locked = 5;
        assert_eq!(queue.why(), Why::Locked(5));
        queue.attributes.is_paused = true;
        assert_eq!(queue.why(), Why::Paused);
    }
}
