//! A send frame under construction: the messages that wait for the connection, already laid out.
//!
//! A message is copied once, when it joins; table and content grow beside each other and go to the
//! socket as pieces of one vectored write. A body from [`LARGE_BODY_LEN`] on is not copied at all:
//! it has the frame for itself and stays the caller's bytes.
//!
//! The bytes are kept until the reply is there: a frame may have to go out again with the same
//! number and the same bytes, and one with a message that the queue refuses is split into the units
//! of its callers, so that nobody pays for the message of another.
//!
//! Invariants: a unit (what one call sends) lies in one frame; the frame is within the limits of a
//! batch; it changes no more once it has a number. Spec: spec/wire.md, "Send" and "Batch".

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use sampan_protocol::limits::{BATCH_COUNT_MAX, BATCH_LEN_MAX};
use sampan_protocol::{ErrorCode, ProducerNumber, Send};

use crate::error::Error;
use crate::gate::Cost;
use crate::message::{LaidOut, Message, RECORD_LEN, content_len, is_delayed};
use crate::slot::{Outcome, SlotOwner, Ticket};

/// A frame takes no further message once it is this long.
pub(crate) const SEND_FRAME_LEN: usize = 256 * 1024;
/// From this length on, a body travels alone and is not copied.
const LARGE_BODY_LEN: usize = 64 * 1024;
/// Length of a batch's own header.
const BATCH_HEADER_LEN: usize = 8;
/// Flag of a batch: some message has a delay.
const FLAG_DELAYED: u16 = 1;

/// What one call sends: all of it is stored, or nothing.
#[derive(Debug)]
pub(crate) enum SendUnit {
    One(LaidOut),
    /// 1 to 256 messages, at most 4 MiB.
    Many(Vec<LaidOut>),
}

impl SendUnit {
    pub(crate) fn one(message: Message) -> Result<Self, Error> {
        LaidOut::new(message).map(SendUnit::One)
    }

    pub(crate) fn many(messages: Vec<Message>) -> Result<Self, Error> {
        let wrong = |text: &str| Err(Error::refused_with(ErrorCode::BatchOutOfRange, text));
        if messages.is_empty() || messages.len() > BATCH_COUNT_MAX {
            return wrong(&format!(
                "batch of {} messages; 1 to {BATCH_COUNT_MAX}",
                messages.len()
            ));
        }
        let messages: Vec<_> = messages
            .into_iter()
            .map(LaidOut::new)
            .collect::<Result<_, _>>()?;
        let unit = SendUnit::Many(messages);
        let len = BATCH_HEADER_LEN + unit.cost().len;
        if len > BATCH_LEN_MAX {
            return wrong(&format!("batch of {len} bytes; at most {BATCH_LEN_MAX}"));
        }
        Ok(unit)
    }

    pub(crate) fn cost(&self) -> Cost {
        let messages = self.messages();
        let len = messages.iter().map(LaidOut::encoded_len).sum();
        Cost {
            count: messages.len(),
            len,
        }
    }

    fn messages(&self) -> &[LaidOut] {
        match self {
            SendUnit::One(message) => std::slice::from_ref(message),
            SendUnit::Many(messages) => messages,
        }
    }

    /// Whether it needs a frame for itself.
    pub(crate) fn is_large(&self) -> bool {
        matches!(self, SendUnit::One(message) if message.body.len() >= LARGE_BODY_LEN)
    }
}

/// A frame's place among those of its client: those of one queue are stored in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    pub(crate) frame: u64,
    /// Of a frame that was split.
    pub(crate) part: u16,
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct SendFrame {
    pub(crate) queue: Arc<str>,
    table: Vec<u8>,
    content: Vec<u8>,
    /// The body of a large message, which is then the frame's only one.
    large_body: Bytes,
    delayed: bool,
    /// Place of the first message of each unit, ascending.
    unit_starts: Vec<u16>,
    /// Set once the frame is complete, unless it goes without a number.
    pub(crate) order: Option<Order>,
    /// What it is written under, from its first try on.
    pub(crate) producer: Option<ProducerNumber>,
    /// The number before its own was known to be stored when it was written last.
    pub(crate) follows_stored: bool,
    /// `None`: nobody waits for the answer any more.
    slot: Option<SlotOwner>,
}

impl SendFrame {
    /// An empty frame that lays out its messages in `buffer`.
    pub(crate) fn new(queue: Arc<str>, buffer: Vec<u8>) -> Self {
        SendFrame {
            queue,
            table: Vec::new(),
            content: buffer,
            large_body: Bytes::new(),
            delayed: false,
            unit_starts: Vec::new(),
            order: None,
            producer: None,
            follows_stored: false,
            slot: Some(SlotOwner::default()),
        }
    }

    pub(crate) fn has_room_for(&self, unit: &SendUnit, cost: Cost) -> bool {
        !unit.is_large()
            && self.count() + cost.count <= BATCH_COUNT_MAX
            && self.cost().len + cost.len <= SEND_FRAME_LEN
    }

    /// Whether it is closed because hardly anything would fit.
    pub(crate) fn is_full(&self) -> bool {
        self.count() == BATCH_COUNT_MAX
            || !self.large_body.is_empty()
            || self.cost().len >= SEND_FRAME_LEN
    }

    /// Adds a unit that has room, or is the first.
    pub(crate) fn push(&mut self, unit: SendUnit) -> Ticket {
        let place = u16::try_from(self.count()).expect("a frame has at most 256 messages");
        self.unit_starts.push(place);
        if unit.is_large()
            && let SendUnit::One(message) = unit
        {
            self.push_record(&message);
            self.large_body = message.body;
            return self.ticket(place);
        }
        for message in unit.messages() {
            self.push_record(message);
            self.content.extend_from_slice(&message.body);
        }
        self.ticket(place)
    }

    fn ticket(&mut self, place: u16) -> Ticket {
        self.slot
            .get_or_insert_with(SlotOwner::default)
            .ticket(place)
    }

    fn push_record(&mut self, message: &LaidOut) {
        self.table.extend_from_slice(&message.record);
        self.content.extend_from_slice(&message.headers);
        self.content.extend_from_slice(&message.group_key);
        self.content.extend_from_slice(&message.dedup_key);
        self.delayed |= message.delayed;
    }

    pub(crate) fn count(&self) -> usize {
        self.table.len() / RECORD_LEN
    }

    /// What its units cost together.
    pub(crate) fn cost(&self) -> Cost {
        let len = self.table.len() + self.content.len() + self.large_body.len();
        Cost {
            count: self.count(),
            len,
        }
    }

    /// Appends everything that goes before [`SendFrame::pieces`].
    pub(crate) fn encode_head(&self, request_id: u64, out: &mut BytesMut) {
        let batch_len = BATCH_HEADER_LEN + self.cost().len;
        Send::encode_head(request_id, self.producer, &self.queue, batch_len, out);
        let count = u16::try_from(self.count()).expect("a frame has at most 256 messages");
        out.put_u16_le(count);
        out.put_u16_le(if self.delayed { FLAG_DELAYED } else { 0 });
        out.put_u32_le(0);
    }

    pub(crate) fn pieces(&self) -> [&[u8]; 3] {
        [&self.table, &self.content, &self.large_body]
    }

    pub(crate) fn unit_count(&self) -> usize {
        self.unit_starts.len()
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_orphan(&self) -> bool {
        self.slot.is_none()
    }

    /// Takes those away who wait for the answer, to be told something else.
    pub(crate) fn disown(&mut self) -> Option<SlotOwner> {
        self.slot.take()
    }

    /// One frame per unit; whoever waits for this frame waits for those from now on.
    pub(crate) fn split(self) -> Vec<SendFrame> {
        let mut frames = Vec::with_capacity(self.unit_starts.len());
        let mut moved = Vec::with_capacity(self.unit_starts.len());
        let mut content = self.content.as_slice();
        for (index, &start) in self.unit_starts.iter().enumerate() {
            let end = self
                .unit_starts
                .get(index + 1)
                .map_or(self.count(), |&end| end.into());
            let table = &self.table[usize::from(start) * RECORD_LEN..end * RECORD_LEN];
            let len = table.chunks_exact(RECORD_LEN).map(content_len).sum();
            let (own, rest) = content.split_at(len);
            content = rest;
            let mut frame = SendFrame::new(Arc::clone(&self.queue), own.to_vec());
            frame.table = table.to_vec();
            frame.delayed = table.chunks_exact(RECORD_LEN).any(is_delayed);
            frame.unit_starts.push(0);
            frame.order = self.order.map(|order| Order {
                part: start,
                ..order
            });
            moved.push((start, frame.ticket(0)));
            frames.push(frame);
        }
        if let Some(slot) = self.slot {
            slot.resolve(Outcome::Moved(moved));
        }
        frames
    }

    /// Answers everybody, and gives the buffer back.
    pub(crate) fn resolve(self, outcome: Outcome) -> Vec<u8> {
        if let Some(slot) = self.slot {
            slot.resolve(outcome);
        }
        self.content
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sampan_protocol::{BatchBuilder, Name, NewMessage, Request, headers};

    use super::*;

    fn messages() -> Vec<Message> {
        let headers = headers::encode([("trace", &b"0123"[..])]).expect("short");
        vec![
            Message::new("first"),
            Message::new("second").headers(headers.clone()),
            Message::new(vec![7; 3_000]).delay(Duration::from_millis(1_500)),
            Message::new("fourth")
                .headers(headers)
                .dedup_key("order-4711")
                .delay(Duration::ZERO),
            Message::new("fifth").dedup_key(vec![0xff; 128]),
            Message::new("sixth").group_key("account 12").dedup_key("k"),
            Message::new("seventh").group_key(vec![0; 128]),
        ]
    }

    /// The frame as the protocol's own encoder makes it.
    fn expected(messages: &[Message]) -> BytesMut {
        let mut builder = BatchBuilder::new();
        for message in messages {
            let delay_ms = message
                .delay
                .map(|delay| u64::try_from(delay.as_millis()).unwrap());
            let (body, headers) = (message.body.clone(), message.headers.clone());
            builder
                .push(NewMessage {
                    body,
                    headers,
                    delay_ms,
                    group_key: message.group_key.clone().unwrap_or_default(),
                    dedup_key: message.dedup_key.clone().unwrap_or_default(),
                })
                .expect("within the limits");
        }
        let queue = Name::from("orders");
        let batch = builder.finish();
        let send = Send {
            queue,
            producer: None,
            batch,
        };
        let mut out = BytesMut::new();
        Request::Send(send).encode(77, &mut out);
        out
    }

    fn encoded(frame: &SendFrame) -> BytesMut {
        let mut out = BytesMut::new();
        frame.encode_head(77, &mut out);
        frame
            .pieces()
            .iter()
            .for_each(|piece| out.extend_from_slice(piece));
        out
    }

    #[test]
    fn a_frame_built_message_by_message_has_the_bytes_of_the_protocols_encoder() {
        let mut frame = SendFrame::new("orders".into(), Vec::new());
        for message in messages() {
            frame.push(SendUnit::one(message).unwrap());
        }
        assert_eq!(encoded(&frame), expected(&messages()));

        let large = Message::new(vec![1; LARGE_BODY_LEN]).dedup_key("large");
        let mut frame = SendFrame::new("orders".into(), Vec::new());
        frame.push(SendUnit::one(large.clone()).unwrap());
        assert!(frame.is_full());
        assert_eq!(encoded(&frame), expected(&[large]));
    }

    #[test]
    fn a_split_frame_gives_each_unit_a_frame_with_its_own_messages() {
        let all = messages();
        let mut frame = SendFrame::new("orders".into(), Vec::new());
        frame.push(SendUnit::one(all[0].clone()).unwrap());
        frame.push(SendUnit::many(all[1..3].to_vec()).unwrap());
        frame.push(SendUnit::one(all[3].clone()).unwrap());
        frame.push(SendUnit::many(all[4..].to_vec()).unwrap());
        let cost = frame.cost();
        let parts = frame.split();
        let units = [&all[..1], &all[1..3], &all[3..4], &all[4..]];
        assert_eq!(parts.len(), units.len());
        let mut parts_cost = Cost::default();
        for (part, unit) in parts.iter().zip(units) {
            assert_eq!(encoded(part), expected(unit));
            parts_cost.add(part.cost());
        }
        assert_eq!(
            parts_cost, cost,
            "what was taken of the limits is given back in full"
        );
    }
}
