//! Messages on their way from one replica of a set to another, whose own copies are damaged.
//!
//! Owns the bytes of the question and of the answer. The answer says how many of the ids it has
//! looked at, so that it may stop at [`BODIES_LEN_MAX`] and be asked for the rest. A message that
//! the replica does not have is left out: it was deleted, or is damaged there too. Whoever asks
//! believes no body that does not fit its own checksum.
//!
//! Question (little-endian): queue u64, count u16, ids u64 each. Answer: ids looked at u16, count
//! of messages u16, then per message: id u64, sent at u64, body length u32, CRC32C of the body u32,
//! delay u64, headers length u16, group key length u8, deduplication key length u8, content.
//! Spec: spec/peer.md, "Messages".

use bytes::{Buf, BufMut, Bytes};
use sampan_protocol::{MessageId, MessageRecord, QueueId, Timestamp};
use sampan_storage::store::StoredMessage;

/// Ids of one question.
pub(crate) const BODIES_COUNT_MAX: usize = 256;
/// Length of the contents of one answer; a single message may be longer.
pub(crate) const BODIES_LEN_MAX: usize = 4 * 1024 * 1024;
/// Id, instant and record of one message of an answer.
const RECORD_LEN: usize = 36;

/// Which messages are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BodiesRequest {
    pub(crate) queue: QueueId,
    /// At most [`BODIES_COUNT_MAX`].
    pub(crate) ids: Vec<MessageId>,
}

impl BodiesRequest {
    pub(crate) fn encode(&self) -> Bytes {
        let ids = &self.ids[..self.ids.len().min(BODIES_COUNT_MAX)];
        let mut out = Vec::with_capacity(10 + ids.len() * 8);
        out.put_u64_le(self.queue.0);
        out.put_u16_le(count(ids.len()));
        ids.iter().for_each(|id| out.put_u64_le(id.0));
        out.into()
    }

    pub(crate) fn decode(mut payload: Bytes) -> Option<Self> {
        let queue = QueueId(payload.try_get_u64_le().ok()?);
        let count = usize::from(payload.try_get_u16_le().ok()?);
        if count > BODIES_COUNT_MAX || payload.len() != count * 8 {
            return None;
        }
        let ids = (0..count).map(|_| MessageId(payload.get_u64_le()));
        let ids = ids.collect();
        Some(BodiesRequest { queue, ids })
    }
}

/// What a replica has of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BodiesAnswer {
    /// How many ids of the question were looked at, from the first on.
    pub(crate) covered_count: usize,
    pub(crate) messages: Vec<(MessageId, StoredMessage)>,
}

impl BodiesAnswer {
    pub(crate) fn encode(&self) -> Bytes {
        let contents = self.messages.iter();
        let len: usize = contents.map(|(_, message)| message.content.len()).sum();
        let mut out = Vec::with_capacity(4 + self.messages.len() * RECORD_LEN + len);
        out.put_u16_le(count(self.covered_count));
        out.put_u16_le(count(self.messages.len()));
        for (id, message) in &self.messages {
            put_message(&mut out, *id, message);
        }
        out.into()
    }

    pub(crate) fn decode(mut payload: Bytes) -> Option<Self> {
        let covered_count = usize::from(payload.try_get_u16_le().ok()?);
        let count = usize::from(payload.try_get_u16_le().ok()?);
        if covered_count > BODIES_COUNT_MAX || count > covered_count {
            return None;
        }
        let messages = (0..count).map(|_| take_message(&mut payload));
        let messages = messages.collect::<Option<Vec<_>>>()?;
        payload.is_empty().then_some(BodiesAnswer {
            covered_count,
            messages,
        })
    }
}

fn count(len: usize) -> u16 {
    u16::try_from(len).expect("an answer has at most as many messages as a question has ids")
}

fn put_message(out: &mut Vec<u8>, id: MessageId, message: &StoredMessage) {
    let record = &message.record;
    out.put_u64_le(id.0);
    out.put_u64_le(message.sent_at.0);
    out.put_u32_le(record.body_len);
    out.put_u32_le(record.body_crc32c);
    out.put_u64_le(record.delay_ms);
    out.put_u16_le(record.headers_len);
    out.put_u8(record.group_key_len);
    out.put_u8(record.dedup_key_len);
    out.put_slice(&message.content);
}

fn take_message(payload: &mut Bytes) -> Option<(MessageId, StoredMessage)> {
    if payload.len() < RECORD_LEN {
        return None;
    }
    let id = MessageId(payload.get_u64_le());
    let sent_at = Timestamp(payload.get_u64_le());
    let record = MessageRecord {
        body_len: payload.get_u32_le(),
        body_crc32c: payload.get_u32_le(),
        delay_ms: payload.get_u64_le(),
        headers_len: payload.get_u16_le(),
        group_key_len: payload.get_u8(),
        dedup_key_len: payload.get_u8(),
    };
    let len = record.content_len();
    if len > payload.len() {
        return None;
    }
    let content = payload.split_to(len);
    let message = StoredMessage {
        sent_at,
        record,
        content,
    };
    Some((id, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &'static [u8]) -> StoredMessage {
        StoredMessage {
            sent_at: Timestamp(77),
            record: MessageRecord {
                body_len: u32::try_from(body.len()).unwrap(),
                body_crc32c: crc32c::crc32c(body),
                delay_ms: 5,
                headers_len: 0,
                group_key_len: 0,
                dedup_key_len: 0,
            },
            content: Bytes::from_static(body),
        }
    }

    #[test]
    fn a_question_comes_back_as_it_was_and_not_when_cut_or_too_long() {
        let request = BodiesRequest {
            queue: QueueId(3),
            ids: vec![MessageId(1), MessageId(1 << 60)],
        };
        let bytes = request.encode();
        assert_eq!(BodiesRequest::decode(bytes.clone()), Some(request));
        for len in 0..bytes.len() {
            assert_eq!(
                BodiesRequest::decode(bytes.slice(..len)),
                None,
                "cut at {len}"
            );
        }
        let mut long = vec![0; 10 + (BODIES_COUNT_MAX + 1) * 8];
        long[8..10].copy_from_slice(&257_u16.to_le_bytes());
        assert_eq!(BodiesRequest::decode(long.into()), None);
    }

    #[test]
    fn an_answer_comes_back_as_it_was_and_not_when_cut() {
        let answer = BodiesAnswer {
            covered_count: 3,
            messages: vec![
                (MessageId(1), message(b"one")),
                (MessageId(3), message(b"three")),
            ],
        };
        let bytes = answer.encode();
        assert_eq!(BodiesAnswer::decode(bytes.clone()), Some(answer));
        for len in 0..bytes.len() {
            assert_eq!(
                BodiesAnswer::decode(bytes.slice(..len)),
                None,
                "cut at {len}"
            );
        }
        let longer: Bytes = [&bytes[..], &[0]].concat().into();
        assert_eq!(BodiesAnswer::decode(longer), None);
    }
}
