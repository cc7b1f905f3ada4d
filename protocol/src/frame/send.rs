//! Send: a batch of messages for one queue, and the ids that they got.
//!
//! The batch is the rest of the payload, exactly as [`MessageBatch`] lays it out, and is taken over
//! as it is: bodies are neither read nor copied here.
//!
//! Spec: spec/wire.md, "Send".

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{FrameHeader, kind};
use crate::limits::BATCH_COUNT_MAX;
use crate::name::put_name;
use crate::reader::Reader;
use crate::{
    DecodeError, Durability, ErrorCode, MessageBatch, MessageId, Name, ProducerNumber,
    ProducerSession, headers,
};

/// Length of what comes before the queue's name.
const FIXED_LEN: usize = 24;

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// The queue.
    pub queue: Name,
    /// Makes a repeat harmless; a send without it may be stored once for each try.
    pub producer: Option<ProducerNumber>,
    /// The messages; all are stored, or none.
    pub batch: MessageBatch,
}

impl Send {
    /// Appends everything of a send frame that comes before its batch of `batch_len` bytes: whoever
    /// has the batch in pieces writes them right behind.
    ///
    /// # Panics
    ///
    /// When the payload would not fit into a frame, 4 GiB.
    pub fn encode_head(
        request_id: u64,
        producer: Option<ProducerNumber>,
        queue: &str,
        batch_len: usize,
        out: &mut BytesMut,
    ) {
        let start = out.len();
        FrameHeader {
            payload_len: 0,
            kind: kind::SEND,
            flags: 0,
            request_id,
        }
        .encode(out);
        put_producer(producer, out);
        put_name(queue, out);
        let payload_len = out.len() - start - FrameHeader::LEN + batch_len;
        let payload_len = u32::try_from(payload_len).expect("a batch has at most 4 MiB");
        out[start..start + 4].copy_from_slice(&payload_len.to_le_bytes());
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let producer = take_producer(&mut reader)?;
        let queue = reader.take_name("queue name")?;
        let at = reader.at();
        let batch = MessageBatch::decode(reader.rest()).map_err(|code| DecodeError::Invalid {
            what: "batch",
            at,
            code,
        })?;
        check_headers(&batch, at)?;
        Ok(Send {
            queue,
            producer,
            batch,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_producer(self.producer, out);
        self.queue.encode(out);
        out.put_slice(self.batch.as_bytes());
    }
}

fn put_producer(producer: Option<ProducerNumber>, out: &mut BytesMut) {
    match producer {
        Some(ProducerNumber { session, number }) => {
            out.put_slice(&session.0);
            out.put_u64_le(number);
        }
        None => out.put_slice(&[0; FIXED_LEN]),
    }
}

fn take_producer(reader: &mut Reader) -> Result<Option<ProducerNumber>, DecodeError> {
    let at = reader.at();
    let session = ProducerSession(reader.take_array("producer session")?);
    let number = reader.take_u64("producer number")?;
    match (session.0 == [0; 16], number) {
        (true, 0) => Ok(None),
        (false, 1..) => Ok(Some(ProducerNumber { session, number })),
        _ => Err(DecodeError::Invalid {
            what: "producer",
            at,
            code: ErrorCode::MalformedFrame,
        }),
    }
}

/// Passes when the headers of every message of `batch`, which starts at `batch_at`, are laid out
/// right.
fn check_headers(batch: &MessageBatch, batch_at: usize) -> Result<(), DecodeError> {
    for (record, start) in batch.messages(0) {
        let end = start + usize::from(record.headers_len);
        headers::check(&batch.as_bytes()[start..end]).map_err(|code| {
            let at = batch_at + start;
            DecodeError::Invalid {
                what: "message headers",
                at,
                code,
            }
        })?;
    }
    Ok(())
}

/// The ids of the messages of one send, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Runs of consecutive ids: the first of each, and how many. They may go back: a message that
    /// was stored before, by its deduplication key, has the id of then.
    pub runs: Vec<(MessageId, u32)>,
}

impl Sent {
    /// The reply of these ids, in order.
    pub fn of(ids: impl IntoIterator<Item = MessageId>) -> Self {
        let mut runs: Vec<(MessageId, u32)> = Vec::new();
        for id in ids {
            match runs.last_mut() {
                Some((first, count)) if first.plus(u64::from(*count)) == id => *count += 1,
                _ => runs.push((id, 1)),
            }
        }
        Sent { runs }
    }

    /// The acknowledgement with these ids.
    pub fn acknowledged(self, durability: Durability) -> SentReply {
        SentReply {
            durability,
            sent: self,
        }
    }

    /// The ids one by one.
    pub fn ids(&self) -> impl Iterator<Item = MessageId> + '_ {
        self.runs
            .iter()
            .flat_map(|(first, count)| (0..u64::from(*count)).map(|place| first.plus(place)))
    }

    fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let run_count = reader.take_u16("run count")?;
        let mut runs = Vec::new();
        let mut id_count = 0;
        for _ in 0..run_count {
            let at = reader.at();
            let first = reader.take_message_id()?;
            let count = reader.take_u32("count of a run")?;
            id_count += u64::from(count);
            let id_count_max = u64::try_from(BATCH_COUNT_MAX).unwrap_or(u64::MAX);
            if count == 0 || id_count > id_count_max {
                let code = ErrorCode::MalformedFrame;
                return Err(DecodeError::Invalid {
                    what: "run of ids",
                    at,
                    code,
                });
            }
            runs.push((first, count));
        }
        reader.finish()?;
        Ok(Sent { runs })
    }

    fn encode(&self, out: &mut BytesMut) {
        let count = u16::try_from(self.runs.len()).expect("at most one run per message");
        out.put_u16_le(count);
        for (first, count) in &self.runs {
            out.put_u64_le(first.0);
            out.put_u32_le(*count);
        }
    }
}

/// The acknowledgement of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentReply {
    /// What it promises.
    pub durability: Durability,
    /// The ids of its messages.
    pub sent: Sent,
}

impl SentReply {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let at = reader.at();
        let durability = Durability::from_number(reader.take_u8("durability")?);
        let durability = durability.ok_or(DecodeError::Invalid {
            what: "durability",
            at,
            code: ErrorCode::MalformedFrame,
        })?;
        let sent = Sent::decode(reader)?;
        Ok(SentReply { durability, sent })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.durability.number());
        self.sent.encode(out);
    }
}
