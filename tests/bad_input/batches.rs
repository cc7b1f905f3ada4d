//! Batches of messages, laid out by hand: the SDK refuses to make the wrong ones.

use bytes::{BufMut, BytesMut};
use sampan_protocol::{MessageRecord, Send, checksum};

/// A message, and what its record says of it.
pub(crate) struct Message<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) checksum: u32,
    pub(crate) delay_ms: u64,
    pub(crate) group_key: &'a [u8],
    pub(crate) dedup_key: &'a [u8],
}

impl<'a> Message<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Message {
            body,
            checksum: checksum(body),
            delay_ms: MessageRecord::DELAY_DEFAULT,
            group_key: b"",
            dedup_key: b"",
        }
    }
}

/// A whole send frame; spec/wire.md, "Batch".
pub(crate) fn send_frame(queue: &str, id: u64, messages: &[Message<'_>]) -> BytesMut {
    let is_delayed = messages
        .iter()
        .any(|message| message.delay_ms != MessageRecord::DELAY_DEFAULT);
    let mut batch = BytesMut::new();
    batch.put_u16_le(u16::try_from(messages.len()).expect("a few messages"));
    batch.put_u16_le(u16::from(is_delayed));
    batch.put_u32_le(0);
    for message in messages {
        batch.put_u32_le(u32::try_from(message.body.len()).expect("a short body"));
        batch.put_u32_le(message.checksum);
        batch.put_u64_le(message.delay_ms);
        batch.put_u16_le(0);
        batch.put_u8(u8::try_from(message.group_key.len()).expect("a short key"));
        batch.put_u8(u8::try_from(message.dedup_key.len()).expect("a short key"));
        batch.put_bytes(0, 4);
    }
    for message in messages {
        batch.put_slice(message.group_key);
        batch.put_slice(message.dedup_key);
        batch.put_slice(message.body);
    }
    let mut frame = BytesMut::new();
    Send::encode_head(id, None, queue, batch.len(), &mut frame);
    frame.put_slice(&batch);
    frame
}
