//! Lays out a received frame, or a peeked one, from messages as the broker holds them.
//!
//! Contents are kept as they come, borrowed or shared, and copied once, behind the table, when the
//! frame is finished. Copying on the way in would be a second pass over every body.
//!
//! Spec: spec/wire.md, "Received" and "Peeked".

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{FrameHeader, kind, put_frame};
use super::received::{FIXED_LEN, RECORD_LEN, put_fixed, put_record};
use crate::limits::{BATCH_COUNT_MAX, RECEIVE_FRAME_LEN};
use crate::{MessageId, MessageRecord, ReceiptHandle, Timestamp};

/// What one receive adds to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryMeta {
    /// Its place in the queue.
    pub id: MessageId,
    /// Proof of this receive.
    pub handle: ReceiptHandle,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// When it was handed out for the first time.
    pub first_received_at: Timestamp,
    /// When it can be received again.
    pub visible_at: Timestamp,
    /// How often it was handed out, this time included.
    pub receive_count: u32,
}

/// See the head of the file. `C` is what holds a content: `Bytes`, or `&[u8]`.
#[derive(Debug)]
pub struct ReceivedEncoder<C = Bytes> {
    kind: u8,
    messages: Vec<(DeliveryMeta, MessageRecord, C)>,
    content_len: usize,
}

impl<C: AsRef<[u8]>> ReceivedEncoder<C> {
    /// A frame without messages.
    pub fn new() -> Self {
        ReceivedEncoder {
            kind: kind::RECEIVE | kind::REPLY,
            messages: Vec::new(),
            content_len: 0,
        }
    }

    /// A frame of a peek's reply, without messages. What it says of a message has the state in the
    /// place of the handle, see [`crate::MessageState::as_handle`].
    pub fn peeked() -> Self {
        ReceivedEncoder {
            kind: kind::PEEK | kind::REPLY,
            ..ReceivedEncoder::new()
        }
    }

    /// Adds a message whose `content` is headers, group key, deduplication key and body, as
    /// `record` gives their lengths.
    ///
    /// # Panics
    ///
    /// When `content` is not as long as `record` says, or when the frame already has
    /// [`BATCH_COUNT_MAX`] messages.
    pub fn push(&mut self, meta: &DeliveryMeta, record: MessageRecord, content: C) {
        let len = content.as_ref().len();
        assert_eq!(len, record.content_len(), "content of message {}", meta.id);
        assert!(
            self.count() < BATCH_COUNT_MAX,
            "a frame has at most 256 messages"
        );
        self.content_len += len;
        self.messages.push((*meta, record, content));
    }

    /// How many messages were added.
    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// Whether no message was added.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Length of the whole frame so far, its header included.
    pub fn encoded_len(&self) -> usize {
        FrameHeader::LEN + FIXED_LEN + self.count() * RECORD_LEN + self.content_len
    }

    /// What a message of `record` adds to the length of a frame.
    pub fn len_of(record: &MessageRecord) -> usize {
        RECORD_LEN + record.content_len()
    }

    /// Whether the frame should be closed before a message of `record` is added: it would pass
    /// [`RECEIVE_FRAME_LEN`], or there are [`BATCH_COUNT_MAX`] messages. A first message always has
    /// room.
    pub fn has_room_for(&self, record: &MessageRecord) -> bool {
        let len = self.encoded_len() + Self::len_of(record);
        self.is_empty() || (self.count() < BATCH_COUNT_MAX && len <= RECEIVE_FRAME_LEN)
    }

    /// Appends the frame and empties the encoder; `more` when another one follows.
    pub fn finish(&mut self, request_id: u64, more: bool, out: &mut BytesMut) {
        out.reserve(self.encoded_len());
        let flags = if more { FrameHeader::MORE } else { 0 };
        put_frame(self.kind, flags, request_id, out, |out| {
            put_fixed(self.messages.len(), out);
            for (meta, record, _) in &self.messages {
                put_record(meta, record, out);
            }
            for (_, _, content) in &self.messages {
                out.put_slice(content.as_ref());
            }
        });
        self.messages.clear();
        self.content_len = 0;
    }
}

impl<C: AsRef<[u8]>> Default for ReceivedEncoder<C> {
    fn default() -> Self {
        ReceivedEncoder::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, FrameDecoder, NewMessage, Reply};

    fn meta(id: u64) -> DeliveryMeta {
        DeliveryMeta {
            id: MessageId(id),
            handle: ReceiptHandle(id << 15),
            sent_at: Timestamp(1),
            first_received_at: Timestamp(2),
            visible_at: Timestamp(3),
            receive_count: 1,
        }
    }

    #[test]
    fn contents_of_a_batch_come_out_as_they_were_sent() {
        let mut builder = BatchBuilder::new();
        let texts = [
            ("one", "", ""),
            ("three", "order-3", "a"),
            ("seven", "7", "bc"),
        ];
        for (body, dedup_key, group_key) in texts {
            let [body, dedup_key, group_key] =
                [body, dedup_key, group_key].map(|text| Bytes::from_static(text.as_bytes()));
            builder
                .push(NewMessage {
                    body,
                    group_key,
                    dedup_key,
                    ..NewMessage::default()
                })
                .unwrap();
        }
        let batch = builder.finish();
        let mut encoder = ReceivedEncoder::new();
        for (id, (record, start)) in (1..).zip(batch.messages(0)) {
            let content = &batch.as_bytes()[start..start + record.content_len()];
            encoder.push(&meta(id), record, content);
        }
        let mut out = BytesMut::new();
        let len = encoder.encoded_len();
        encoder.finish(5, true, &mut out);
        assert_eq!(out.len(), len);
        assert!(encoder.is_empty());

        let frame = FrameDecoder::new(len).decode(&mut out).unwrap().unwrap();
        assert!(frame.header.has_more());
        let Ok(Reply::Received(messages)) = Reply::decode(frame.header.kind, frame.payload) else {
            panic!("not a received frame");
        };
        let bodies: Vec<_> = messages.iter().map(|message| &message.body[..]).collect();
        assert_eq!(bodies, [&b"one"[..], b"three", b"seven"]);
        let keys: Vec<_> = messages
            .iter()
            .map(|message| &message.dedup_key[..])
            .collect();
        assert_eq!(keys, [&b""[..], b"order-3", b"7"]);
        let groups: Vec<_> = messages
            .iter()
            .map(|message| &message.group_key[..])
            .collect();
        assert_eq!(groups, [&b""[..], b"a", b"bc"]);
        assert!(messages.iter().all(|message| message.check_body().is_ok()));
    }

    #[test]
    fn a_frame_has_room_for_one_message_of_any_length() {
        let record = MessageRecord {
            body_len: 1 << 20,
            body_crc32c: 0,
            delay_ms: 0,
            headers_len: 0,
            group_key_len: 0,
            dedup_key_len: 0,
        };
        let mut encoder = ReceivedEncoder::new();
        assert!(encoder.has_room_for(&record));
        encoder.push(&meta(1), record, vec![0; 1 << 20]);
        assert!(!encoder.has_room_for(&MessageRecord {
            body_len: 1,
            ..record
        }));
    }
}
