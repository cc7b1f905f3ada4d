//! The batch: the one layout in which messages travel and rest.
//!
//! The sender lays out a batch once; the same bytes are the payload of the send frame, the command
//! in the log, the overlay's extent and the extent in a segment file. Nothing on the way encodes a
//! message again. A layout of its own at each place would cost a copy and a pass over the bodies.
//!
//! A fixed-size table comes first, so that counting and checking never walk over the bodies.
//!
//! Invariant: a [`MessageBatch`] was checked: the table's lengths add up to exactly its content.
//! Spec: spec/wire.md, "Batch".

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::ErrorCode;
use crate::lengths::to_usize;
use crate::limits::{
    BATCH_COUNT_MAX, BATCH_LEN_MAX, BODY_LEN_MAX, KEY_LEN_MAX, STORED_HEADERS_LEN_MAX,
};

/// Length of the batch header: count u16, flags u16, reserved u32.
const BATCH_HEADER_LEN: usize = 8;
/// Length of one record of the table.
const RECORD_LEN: usize = 24;
/// Flag: some message of the batch names a delay.
const FLAG_DELAYED: u16 = 1;

/// One message as its sender gives it.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    /// 1 byte to 1 MiB.
    pub body: Bytes,
    /// Encoded headers (see `spec/wire.md`), empty for none.
    pub headers: Bytes,
    /// How long the message stays hidden, in milliseconds. `None`: the queue's default.
    pub delay_ms: Option<u64>,
    /// Group key, at most 128 bytes; empty for none.
    pub group_key: Bytes,
    /// Deduplication key, at most 128 bytes; empty for none.
    pub dedup_key: Bytes,
}

impl NewMessage {
    /// Length of what it has in the content.
    fn content_len(&self) -> usize {
        self.headers.len() + self.group_key.len() + self.dedup_key.len() + self.body.len()
    }

    fn names_delay(&self) -> bool {
        self.delay_ms
            .is_some_and(|delay| delay != MessageRecord::DELAY_DEFAULT)
    }
}

/// The fixed-size part of one message in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// Length of the body.
    pub body_len: u32,
    /// CRC32C of the body.
    pub body_crc32c: u32,
    /// Delay in milliseconds; [`MessageRecord::DELAY_DEFAULT`] asks for the queue's own.
    pub delay_ms: u64,
    /// Length of the encoded headers.
    pub headers_len: u16,
    /// Length of the group key; 0 for none.
    pub group_key_len: u8,
    /// Length of the deduplication key; 0 for none.
    pub dedup_key_len: u8,
}

impl MessageRecord {
    /// The delay that stands for "as the queue says".
    pub const DELAY_DEFAULT: u64 = u64::MAX;

    /// Length of everything this message has in the content: headers, keys and body.
    pub fn content_len(&self) -> usize {
        to_usize(self.body_len)
            + usize::from(self.headers_len)
            + usize::from(self.group_key_len)
            + usize::from(self.dedup_key_len)
    }

    fn decode(mut bytes: &[u8]) -> Self {
        MessageRecord {
            body_len: bytes.get_u32_le(),
            body_crc32c: bytes.get_u32_le(),
            delay_ms: bytes.get_u64_le(),
            headers_len: bytes.get_u16_le(),
            group_key_len: bytes.get_u8(),
            dedup_key_len: bytes.get_u8(),
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.body_len);
        out.put_u32_le(self.body_crc32c);
        out.put_u64_le(self.delay_ms);
        out.put_u16_le(self.headers_len);
        out.put_u8(self.group_key_len);
        out.put_u8(self.dedup_key_len);
        out.put_u32_le(0);
    }

    fn check(&self) -> Result<(), ErrorCode> {
        if self.body_len == 0 {
            return Err(ErrorCode::BodyEmpty);
        }
        if to_usize(self.body_len) > BODY_LEN_MAX {
            return Err(ErrorCode::MessageTooLarge);
        }
        let key_len = usize::from(self.group_key_len.max(self.dedup_key_len));
        if usize::from(self.headers_len) > STORED_HEADERS_LEN_MAX || key_len > KEY_LEN_MAX {
            return Err(ErrorCode::HeadersOutOfRange);
        }
        Ok(())
    }
}

/// Messages in their one layout, shared and never changed. Cloning copies a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageBatch {
    bytes: Bytes,
}

impl MessageBatch {
    /// Takes over `bytes` when they are a whole batch within the limits of the protocol.
    ///
    /// Bodies are not read, and nothing is allocated.
    ///
    /// # Errors
    ///
    /// The code of the first thing that is wrong. Nothing says whether the checksums are right:
    /// see [`MessageBatch::check_bodies`].
    pub fn decode(bytes: Bytes) -> Result<Self, ErrorCode> {
        if bytes.len() > BATCH_LEN_MAX {
            return Err(ErrorCode::BatchOutOfRange);
        }
        if bytes.len() < BATCH_HEADER_LEN {
            return Err(ErrorCode::MalformedFrame);
        }
        let batch = MessageBatch { bytes };
        if batch.count() == 0 || batch.count() > BATCH_COUNT_MAX {
            return Err(ErrorCode::BatchOutOfRange);
        }
        if batch.bytes.len() < batch.content_start() {
            return Err(ErrorCode::MalformedFrame);
        }
        batch.check_reserved()?;
        let mut content_len = 0;
        let mut delayed = false;
        for record in batch.records() {
            record.check()?;
            content_len += record.content_len();
            delayed |= record.delay_ms != MessageRecord::DELAY_DEFAULT;
        }
        let whole = batch.content_start() + content_len == batch.bytes.len();
        if whole && delayed == batch.has_delays() {
            Ok(batch)
        } else {
            Err(ErrorCode::MalformedFrame)
        }
    }

    /// Passes when whatever this version reserves is zero.
    fn check_reserved(&self) -> Result<(), ErrorCode> {
        let header_clear = self.flags() & !FLAG_DELAYED == 0 && self.bytes[4..8] == [0; 4];
        let mut table = self.bytes[BATCH_HEADER_LEN..self.content_start()].chunks_exact(RECORD_LEN);
        if header_clear && table.all(|record| record[RECORD_LEN - 4..] == [0; 4]) {
            Ok(())
        } else {
            Err(ErrorCode::ReservedField)
        }
    }

    /// How many messages there are: 1 to 256.
    pub fn count(&self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[0], self.bytes[1]]))
    }

    /// Whether some message names a delay of its own (0 included).
    pub fn has_delays(&self) -> bool {
        self.flags() & FLAG_DELAYED != 0
    }

    /// The whole batch as it travels.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The table, in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = MessageRecord> + '_ {
        self.bytes[BATCH_HEADER_LEN..self.content_start()]
            .chunks_exact(RECORD_LEN)
            .map(MessageRecord::decode)
    }

    /// The messages from the `first`-th on: record, and its place in [`MessageBatch::as_bytes`]
    /// where headers, group key, deduplication key and body lie in this order.
    pub fn messages(&self, first: usize) -> impl Iterator<Item = (MessageRecord, usize)> + '_ {
        let mut at = self.content_start();
        self.records()
            .map(move |record| {
                let start = at;
                at += record.content_len();
                (record, start)
            })
            .skip(first)
    }

    /// The body of the `index`-th message, shared, not copied.
    pub fn body(&self, index: usize) -> Option<Bytes> {
        let (record, start) = self.messages(index).next()?;
        let end = start + record.content_len();
        Some(self.bytes.slice(end - to_usize(record.body_len)..end))
    }

    /// The group key of a message that [`MessageBatch::messages`] gave; empty for none.
    pub fn group_key(&self, record: &MessageRecord, start: usize) -> &[u8] {
        let first = start + usize::from(record.headers_len);
        &self.bytes[first..first + usize::from(record.group_key_len)]
    }

    /// The deduplication key of a message that [`MessageBatch::messages`] gave; empty for none.
    pub fn dedup_key(&self, record: &MessageRecord, start: usize) -> &[u8] {
        let end = start + record.content_len() - to_usize(record.body_len);
        &self.bytes[end - usize::from(record.dedup_key_len)..end]
    }

    /// Compares every body with its checksum.
    ///
    /// # Errors
    ///
    /// The 0-based place of the first message whose body differs.
    pub fn check_bodies(&self) -> Result<(), usize> {
        for (index, (record, start)) in self.messages(0).enumerate() {
            let end = start + record.content_len();
            let body = &self.bytes[end - to_usize(record.body_len)..end];
            if crc32c::crc32c(body) != record.body_crc32c {
                return Err(index);
            }
        }
        Ok(())
    }

    /// The longest body of the batch.
    pub fn body_len_max(&self) -> u32 {
        self.records()
            .map(|record| record.body_len)
            .max()
            .unwrap_or(0)
    }

    fn flags(&self) -> u16 {
        u16::from_le_bytes([self.bytes[2], self.bytes[3]])
    }

    fn content_start(&self) -> usize {
        BATCH_HEADER_LEN + self.count() * RECORD_LEN
    }
}

/// Lays out a batch, checking the limits of the protocol as it goes.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    messages: Vec<NewMessage>,
    content_len: usize,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        BatchBuilder::default()
    }

    /// Whether `message` can still join within `len_max` bytes.
    pub fn has_room_for(&self, message: &NewMessage, len_max: usize) -> bool {
        self.messages.len() < BATCH_COUNT_MAX
            && self.encoded_len() + RECORD_LEN + message.content_len() <= len_max.min(BATCH_LEN_MAX)
    }

    /// Adds a message.
    ///
    /// # Errors
    ///
    /// The limit that it, or the batch with it, would pass; the batch is then unchanged.
    pub fn push(&mut self, message: NewMessage) -> Result<(), ErrorCode> {
        if message.body.is_empty() {
            return Err(ErrorCode::BodyEmpty);
        }
        if message.body.len() > BODY_LEN_MAX {
            return Err(ErrorCode::MessageTooLarge);
        }
        let headers_len = message.headers.len();
        let key_len = message.group_key.len().max(message.dedup_key.len());
        if headers_len > STORED_HEADERS_LEN_MAX || key_len > KEY_LEN_MAX {
            return Err(ErrorCode::HeadersOutOfRange);
        }
        if !self.has_room_for(&message, BATCH_LEN_MAX) {
            return Err(ErrorCode::BatchOutOfRange);
        }
        self.content_len += message.content_len();
        self.messages.push(message);
        Ok(())
    }

    /// How many messages were added.
    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// Length of the encoded batch so far.
    pub fn encoded_len(&self) -> usize {
        BATCH_HEADER_LEN + self.messages.len() * RECORD_LEN + self.content_len
    }

    /// Appends the batch to `out` and empties the builder.
    pub fn encode(&mut self, out: &mut BytesMut) {
        out.reserve(self.encoded_len());
        let delayed = self.messages.iter().any(NewMessage::names_delay);
        let count = u16::try_from(self.messages.len()).expect("push keeps the count in its limit");
        out.put_u16_le(count);
        out.put_u16_le(if delayed { FLAG_DELAYED } else { 0 });
        out.put_u32_le(0);
        for message in &self.messages {
            record_of(message).encode(out);
        }
        for message in self.messages.drain(..) {
            out.put_slice(&message.headers);
            out.put_slice(&message.group_key);
            out.put_slice(&message.dedup_key);
            out.put_slice(&message.body);
        }
        self.content_len = 0;
    }

    /// The batch by itself; the builder is empty afterwards.
    pub fn finish(&mut self) -> MessageBatch {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        MessageBatch {
            bytes: out.freeze(),
        }
    }
}

fn record_of(message: &NewMessage) -> MessageRecord {
    let short = |len: usize| u32::try_from(len).expect("push keeps lengths in their limits");
    MessageRecord {
        body_len: short(message.body.len()),
        body_crc32c: crc32c::crc32c(&message.body),
        delay_ms: message.delay_ms.unwrap_or(MessageRecord::DELAY_DEFAULT),
        headers_len: u16::try_from(message.headers.len()).expect("push keeps it in its limit"),
        group_key_len: u8::try_from(message.group_key.len()).expect("push keeps it in its limit"),
        dedup_key_len: u8::try_from(message.dedup_key.len()).expect("push keeps it in its limit"),
    }
}

#[cfg(test)]
mod tests;
