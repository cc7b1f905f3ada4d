//! Received: the messages that a receive hands out, in one frame or several.
//!
//! A table of fixed records comes first, then headers, keys and bodies, each message's in one piece
//! as in the batch it was sent in; so the broker copies it whole, and a client that wants the third
//! body need not walk over the first two.
//!
//! Spec: spec/wire.md, "Received".

use bytes::{BufMut, Bytes, BytesMut};

use crate::lengths::to_usize;
use crate::limits::{BATCH_COUNT_MAX, BODY_LEN_MAX, KEY_LEN_MAX, STORED_HEADERS_LEN_MAX};
use crate::reader::Reader;
use crate::{
    DecodeError, DeliveryMeta, ErrorCode, MessageId, MessageRecord, ReceiptHandle, Timestamp,
};

/// Length of what comes before the table: count u16, reserved u16 and u32.
pub(crate) const FIXED_LEN: usize = 8;
/// Length of one record of the table.
pub(crate) const RECORD_LEN: usize = 56;

/// A message as its receiver gets it. Headers, keys and body share the memory of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Its place in the queue.
    pub id: MessageId,
    /// Proof of this receive: deletes the message, or changes its visibility.
    pub handle: ReceiptHandle,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// When it was handed out for the first time.
    pub first_received_at: Timestamp,
    /// When it can be received again, unless it is deleted.
    pub visible_at: Timestamp,
    /// How often it was handed out, this time included.
    pub receive_count: u32,
    /// What the sender computed; see [`ReceivedMessage::check_body`].
    pub body_crc32c: u32,
    /// See [`crate::headers`].
    pub headers: Bytes,
    /// Group key as it was sent; empty for none.
    pub group_key: Bytes,
    /// Deduplication key as it was sent; empty for none.
    pub dedup_key: Bytes,
    /// 1 byte to 1 MiB.
    pub body: Bytes,
}

impl ReceivedMessage {
    /// Passes when the body is the one that its sender sent.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::ChecksumMismatch`].
    pub fn check_body(&self) -> Result<(), ErrorCode> {
        if crate::checksum(&self.body) == self.body_crc32c {
            Ok(())
        } else {
            Err(ErrorCode::ChecksumMismatch)
        }
    }

    fn record(&self) -> MessageRecord {
        let lens = "the message came out of a record";
        MessageRecord {
            body_len: u32::try_from(self.body.len()).expect(lens),
            body_crc32c: self.body_crc32c,
            delay_ms: 0,
            headers_len: u16::try_from(self.headers.len()).expect(lens),
            group_key_len: u8::try_from(self.group_key.len()).expect(lens),
            dedup_key_len: u8::try_from(self.dedup_key.len()).expect(lens),
        }
    }

    fn meta(&self) -> DeliveryMeta {
        DeliveryMeta {
            id: self.id,
            handle: self.handle,
            sent_at: self.sent_at,
            first_received_at: self.first_received_at,
            visible_at: self.visible_at,
            receive_count: self.receive_count,
        }
    }
}

pub(crate) fn decode(payload: Bytes) -> Result<Vec<ReceivedMessage>, DecodeError> {
    let mut reader = Reader::new(payload);
    let count = usize::from(reader.take_u16("message count")?);
    if count > BATCH_COUNT_MAX {
        let code = ErrorCode::MalformedFrame;
        return Err(DecodeError::Invalid {
            what: "message count",
            at: 0,
            code,
        });
    }
    reader.take_zeros::<6>("reserved")?;
    let mut table = Reader::new(reader.take(count * RECORD_LEN, "table of messages")?);
    let mut messages = Vec::with_capacity(count);
    for index in 0..count {
        let at = FIXED_LEN + index * RECORD_LEN;
        let (meta, record) = take_record(&mut table, at)?;
        messages.push(take_content(&mut reader, &meta, &record)?);
    }
    reader.finish()?;
    Ok(messages)
}

fn take_record(
    table: &mut Reader,
    at: usize,
) -> Result<(DeliveryMeta, MessageRecord), DecodeError> {
    let meta = DeliveryMeta {
        id: table.take_message_id()?,
        handle: table.take_handle()?,
        sent_at: table.take_timestamp("sent_at")?,
        first_received_at: table.take_timestamp("first_received_at")?,
        visible_at: table.take_timestamp("visible_at")?,
        receive_count: table.take_u32("receive_count")?,
    };
    let record = MessageRecord {
        body_len: table.take_u32("body_len")?,
        body_crc32c: table.take_u32("body_crc32c")?,
        delay_ms: 0,
        headers_len: table.take_u16("headers_len")?,
        group_key_len: table.take_u8("group_key_len")?,
        dedup_key_len: table.take_u8("dedup_key_len")?,
    };
    let body_len = to_usize(record.body_len);
    let headers_len = usize::from(record.headers_len);
    let key_len = usize::from(record.group_key_len.max(record.dedup_key_len));
    let is_long = headers_len > STORED_HEADERS_LEN_MAX || key_len > KEY_LEN_MAX;
    if body_len == 0 || body_len > BODY_LEN_MAX || is_long {
        return Err(DecodeError::Invalid {
            what: "record of a message",
            at,
            code: ErrorCode::MalformedFrame,
        });
    }
    Ok((meta, record))
}

fn take_content(
    reader: &mut Reader,
    meta: &DeliveryMeta,
    record: &MessageRecord,
) -> Result<ReceivedMessage, DecodeError> {
    Ok(ReceivedMessage {
        id: meta.id,
        handle: meta.handle,
        sent_at: meta.sent_at,
        first_received_at: meta.first_received_at,
        visible_at: meta.visible_at,
        receive_count: meta.receive_count,
        body_crc32c: record.body_crc32c,
        headers: reader.take(usize::from(record.headers_len), "message headers")?,
        group_key: reader.take(usize::from(record.group_key_len), "group key")?,
        dedup_key: reader.take(usize::from(record.dedup_key_len), "deduplication key")?,
        body: reader.take(to_usize(record.body_len), "message body")?,
    })
}

pub(crate) fn encode(messages: &[ReceivedMessage], out: &mut BytesMut) {
    put_fixed(messages.len(), out);
    for message in messages {
        put_record(&message.meta(), &message.record(), out);
    }
    for message in messages {
        out.put_slice(&message.headers);
        out.put_slice(&message.group_key);
        out.put_slice(&message.dedup_key);
        out.put_slice(&message.body);
    }
}

pub(crate) fn put_fixed(count: usize, out: &mut BytesMut) {
    out.put_u16_le(u16::try_from(count).expect("a frame has at most 256 messages"));
    out.put_slice(&[0; 6]);
}

pub(crate) fn put_record(meta: &DeliveryMeta, record: &MessageRecord, out: &mut BytesMut) {
    out.put_u64_le(meta.id.0);
    out.put_u64_le(meta.handle.0);
    out.put_u64_le(meta.sent_at.0);
    out.put_u64_le(meta.first_received_at.0);
    out.put_u64_le(meta.visible_at.0);
    out.put_u32_le(meta.receive_count);
    out.put_u32_le(record.body_len);
    out.put_u32_le(record.body_crc32c);
    out.put_u16_le(record.headers_len);
    out.put_u8(record.group_key_len);
    out.put_u8(record.dedup_key_len);
}
