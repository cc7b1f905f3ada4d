//! A message as its sender gives it, and the same message laid out for the wire.
//!
//! The record of a message (lengths, checksum, delay) is made when `send` is called, on the
//! caller's thread and outside of every lock. The layout is that of `sampan_protocol`'s batch; a
//! test compares the two. `BatchBuilder` is not used, for it keeps every message as a value until
//! the batch is closed and reads each body twice.
//! Spec: spec/wire.md, "Batch".

use std::time::Duration;

use bytes::Bytes;
use sampan_protocol::limits::{BODY_LEN_MAX, HEADERS_LEN_MAX, KEY_LEN_MAX};
use sampan_protocol::{ErrorCode, MessageRecord};

use crate::error::Error;

/// Length of one record of a batch's table.
pub(crate) const RECORD_LEN: usize = 24;

/// A message to send.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// 1 byte to 1 MiB, and no longer than the queue's `message_size_max`.
    pub body: Bytes,
    /// Encoded headers as `spec/wire.md` lays them out, at most 4 KiB; empty for none.
    pub headers: Bytes,
    /// How long the message stays hidden: 0 to the queue's retention, in whole milliseconds.
    /// `None`: as the queue says.
    pub delay: Option<Duration>,
    /// Group key, 1 to 128 bytes: see [`Message::group_key`].
    pub group_key: Option<Bytes>,
    /// Deduplication key, 1 to 128 bytes: see [`Message::dedup_key`].
    pub dedup_key: Option<Bytes>,
}

impl Message {
    /// A message without headers, with the queue's own delay.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Message {
            body: body.into(),
            headers: Bytes::new(),
            delay: None,
            group_key: None,
            dedup_key: None,
        }
    }

    /// The same message with encoded `headers`.
    #[must_use]
    pub fn headers(mut self, headers: impl Into<Bytes>) -> Self {
        self.headers = headers.into();
        self
    }

    /// The same message with a delay of its own.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// The same message as one of the group with this key. What that means is for the queue to say,
    /// see [`QueueOptions::groups`](crate::QueueOptions::groups): messages of a group are handed
    /// out in the order of their sends, to one receiver at a time; or groups take turns; or
    /// nothing. In a queue that goes by groups such a message cannot be delayed: it is refused with
    /// [`DelayInGroup`](crate::ErrorCode::DelayInGroup).
    ///
    /// The order of sends is that of the calls of one client to one queue.
    #[must_use]
    pub fn group_key(mut self, key: impl Into<Bytes>) -> Self {
        self.group_key = Some(key.into());
        self
    }

    /// The same message with a deduplication key: when the queue has stored a message with this
    /// key within its window (by default 5 minutes), whoever sent it, this one is not stored, and
    /// its send gives the id of that one.
    ///
    /// Repeats of the SDK itself need no key: see [`Queue::send`](crate::Queue::send). A key is for
    /// repeats that the application makes, for instance after it was restarted.
    #[must_use]
    pub fn dedup_key(mut self, key: impl Into<Bytes>) -> Self {
        self.dedup_key = Some(key.into());
        self
    }
}

/// A checked message with its record. Invariant: within the limits of one message.
#[derive(Debug)]
pub(crate) struct LaidOut {
    pub(crate) record: [u8; RECORD_LEN],
    pub(crate) headers: Bytes,
    /// Empty for none.
    pub(crate) group_key: Bytes,
    /// Empty for none.
    pub(crate) dedup_key: Bytes,
    pub(crate) body: Bytes,
    pub(crate) delayed: bool,
}

impl LaidOut {
    pub(crate) fn new(message: Message) -> Result<Self, Error> {
        if message.body.is_empty() {
            return Err(Error::refused(ErrorCode::BodyEmpty));
        }
        if message.body.len() > BODY_LEN_MAX {
            let text = format!(
                "message of {} bytes; at most {BODY_LEN_MAX}",
                message.body.len()
            );
            return Err(Error::refused_with(ErrorCode::MessageTooLarge, &text));
        }
        if message.headers.len() > HEADERS_LEN_MAX {
            let text = format!(
                "headers of {} bytes; at most {HEADERS_LEN_MAX}",
                message.headers.len()
            );
            return Err(Error::refused_with(ErrorCode::HeadersOutOfRange, &text));
        }
        if let Err(code) = sampan_protocol::headers::check(&message.headers) {
            return Err(Error::refused(code));
        }
        let group_key = checked_key("group", message.group_key)?;
        let dedup_key = checked_key("deduplication", message.dedup_key)?;
        let delay = message.delay.map(|delay| {
            // The largest value stands for "as the queue says"; no queue allows one near it.
            u64::try_from(delay.as_millis())
                .unwrap_or(u64::MAX)
                .min(MessageRecord::DELAY_DEFAULT - 1)
        });
        let mut record = [0; RECORD_LEN];
        let body_len = u32::try_from(message.body.len()).expect("the limit of a body is 1 MiB");
        let headers_len = u16::try_from(message.headers.len()).expect("their limit is 4 KiB");
        record[0..4].copy_from_slice(&body_len.to_le_bytes());
        record[4..8].copy_from_slice(&sampan_protocol::checksum(&message.body).to_le_bytes());
        record[8..16].copy_from_slice(&delay.unwrap_or(MessageRecord::DELAY_DEFAULT).to_le_bytes());
        record[16..18].copy_from_slice(&headers_len.to_le_bytes());
        record[18] = u8::try_from(group_key.len()).expect("its limit is 128 bytes");
        record[19] = u8::try_from(dedup_key.len()).expect("its limit is 128 bytes");
        Ok(LaidOut {
            record,
            headers: message.headers,
            group_key,
            dedup_key,
            body: message.body,
            delayed: delay.is_some(),
        })
    }

    /// Bytes that this message takes in a batch.
    pub(crate) fn encoded_len(&self) -> usize {
        let keys_len = self.group_key.len() + self.dedup_key.len();
        RECORD_LEN + self.headers.len() + keys_len + self.body.len()
    }
}

/// The key, empty for none. One that is given and empty is a mistake: it would not be one.
fn checked_key(what: &str, key: Option<Bytes>) -> Result<Bytes, Error> {
    let Some(key) = key else {
        return Ok(Bytes::new());
    };
    if (1..=KEY_LEN_MAX).contains(&key.len()) {
        return Ok(key);
    }
    let text = format!("{what} key of {} bytes; 1 to {KEY_LEN_MAX}", key.len());
    Err(Error::refused_with(ErrorCode::HeadersOutOfRange, &text))
}

/// Length of what the message of `record` has in a batch's content.
pub(crate) fn content_len(record: &[u8]) -> usize {
    let body_len = u32::from_le_bytes([record[0], record[1], record[2], record[3]]);
    let headers_len = u16::from_le_bytes([record[16], record[17]]);
    let keys_len = usize::from(record[18]) + usize::from(record[19]);
    body_len as usize + usize::from(headers_len) + keys_len
}

/// Whether the message of `record` names a delay of its own.
pub(crate) fn is_delayed(record: &[u8]) -> bool {
    record[8..16] != MessageRecord::DELAY_DEFAULT.to_le_bytes()
}
