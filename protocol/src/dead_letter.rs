//! Where a message in a dead-letter queue comes from, and why: headers that the broker adds.
//!
//! Headers travel with the message through every client there is, so nothing has to learn a new
//! field. Their names begin with [`PREFIX`], which belongs to the broker: what a message has of it
//! is replaced when it is moved, and taken off when it is sent back.
//!
//! Spec: spec/wire.md, "Dead letters".

use std::fmt;

use bytes::Bytes;

use crate::limits::STORED_HEADERS_LEN_MAX;
use crate::{ErrorCode, MessageId, Timestamp, headers};

/// Names of headers that begin so are the broker's.
const PREFIX: &str = "sampan-";
const SOURCE_QUEUE: &str = "sampan-source-queue";
const SOURCE_ID: &str = "sampan-source-id";
const RECEIVE_COUNT: &str = "sampan-receive-count";
const REASON: &str = "sampan-reason";
const DEAD_AT: &str = "sampan-dead-at";

/// Why a queue gave a message up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeathReason {
    /// It came back after `receive_count_max` receives.
    ReceiveCount,
    /// It was older than `dead_letter_after_ms`.
    Age,
    /// It was among the oldest that were ready when the queue was full.
    Overflow,
}

impl DeathReason {
    const ALL: [DeathReason; 3] = [
        DeathReason::ReceiveCount,
        DeathReason::Age,
        DeathReason::Overflow,
    ];

    /// The text of the header.
    pub const fn text(self) -> &'static str {
        match self {
            DeathReason::ReceiveCount => "receive-count",
            DeathReason::Age => "age",
            DeathReason::Overflow => "overflow",
        }
    }

    /// The number in frames and rows.
    pub const fn number(self) -> u8 {
        match self {
            DeathReason::ReceiveCount => 1,
            DeathReason::Age => 2,
            // 3 is that of a message that was not given up, but is redriven.
            DeathReason::Overflow => 4,
        }
    }

    /// The reason of a number, when there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        let mut all = DeathReason::ALL.into_iter();
        all.find(|reason| reason.number() == number)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut all = DeathReason::ALL.into_iter();
        all.find(|reason| reason.text() == text)
    }
}

impl fmt::Display for DeathReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What the broker says of a message that a queue gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The queue that gave it up, by the name that it had then.
    pub source_queue: String,
    /// Its id there.
    pub source_id: MessageId,
    /// How often it was received there.
    pub receive_count: u32,
    /// Why it was given up.
    pub reason: DeathReason,
    /// When it was given up.
    pub dead_at: Timestamp,
}

impl DeadLetter {
    /// The headers of a message with what is said here in place of whatever the broker said before.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::HeadersOutOfRange`] when they get longer than [`STORED_HEADERS_LEN_MAX`], which
    /// headers that a client could send do not.
    pub fn stamp(&self, headers: &[u8]) -> Result<Bytes, ErrorCode> {
        let numbers = [
            (SOURCE_ID, self.source_id.0.to_string()),
            (RECEIVE_COUNT, self.receive_count.to_string()),
            (DEAD_AT, self.dead_at.0.to_string()),
        ];
        let texts = [
            (SOURCE_QUEUE, self.source_queue.as_bytes()),
            (REASON, self.reason.text().as_bytes()),
        ];
        let numbers = numbers.iter().map(|(name, text)| (*name, text.as_bytes()));
        let all = own(headers).chain(texts).chain(numbers);
        headers::encode_within(all, STORED_HEADERS_LEN_MAX)
    }

    /// What the broker says of the message with these headers; none of one that was never given up.
    pub fn of(headers: &[u8]) -> Option<Self> {
        let find = |wanted| {
            let (_, value) = headers::decode(headers).find(|(name, _)| *name == wanted)?;
            std::str::from_utf8(value).ok()
        };
        Some(DeadLetter {
            source_queue: find(SOURCE_QUEUE)?.to_owned(),
            source_id: MessageId(find(SOURCE_ID)?.parse().ok()?),
            receive_count: find(RECEIVE_COUNT)?.parse().ok()?,
            reason: DeathReason::parse(find(REASON)?)?,
            dead_at: Timestamp(find(DEAD_AT)?.parse().ok()?),
        })
    }
}

/// The headers without those of the broker.
///
/// # Errors
///
/// [`ErrorCode::HeadersOutOfRange`] when they are longer than a message's may be.
pub fn without_broker_headers(headers: &[u8]) -> Result<Bytes, ErrorCode> {
    headers::encode_within(own(headers), STORED_HEADERS_LEN_MAX)
}

fn own(headers: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    headers::decode(headers).filter(|(name, _)| !name.starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{HEADERS_LEN_MAX, QUEUE_NAME_LEN_MAX};

    fn letter() -> DeadLetter {
        DeadLetter {
            source_queue: "q".repeat(QUEUE_NAME_LEN_MAX),
            source_id: MessageId((1 << 63) - 1),
            receive_count: u32::MAX,
            reason: DeathReason::ReceiveCount,
            dead_at: Timestamp(u64::MAX),
        }
    }

    #[test]
    fn the_longest_headers_of_a_client_have_room_for_the_longest_of_the_broker() {
        let value = vec![7; HEADERS_LEN_MAX - 4];
        let longest = headers::encode([("n", &value[..])]).unwrap();
        let stamped = letter().stamp(&longest).unwrap();
        assert_eq!(DeadLetter::of(&stamped), Some(letter()));
        assert_eq!(without_broker_headers(&stamped).unwrap(), longest);
    }

    #[test]
    fn a_message_that_dies_again_has_the_newer_story_only() {
        let own = headers::encode([("trace", &b"abc"[..])]).unwrap();
        let first = letter().stamp(&own).unwrap();
        let second = DeadLetter {
            source_queue: "orders".to_owned(),
            reason: DeathReason::Overflow,
            ..letter()
        };
        let stamped = second.stamp(&first).unwrap();
        assert_eq!(DeadLetter::of(&stamped), Some(second));
        assert_eq!(headers::decode(&stamped).count(), 6);
        assert_eq!(DeadLetter::of(&own), None);
    }
}
