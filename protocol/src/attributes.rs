//! The attributes of a queue: their defaults, their ranges, and how a change of them travels.
//!
//! On the wire an attribute is a tag and a 64-bit value, so that a later version can add one
//! without a new layout. Tags ascend, so that one set of changes has one encoding.
//!
//! Invariant: whatever [`AttributeChanges::applied_to`] returns is within every range.
//! Spec: spec/wire.md, "Attributes".

use bytes::{BufMut, BytesMut};

use crate::limits::{
    BODY_LEN_MAX, MESSAGE_SIZE_MIN, RECEIVE_WAIT_MAX_MS, RETENTION_DEFAULT_MS, RETENTION_MAX_MS,
    RETENTION_MIN_MS, VISIBILITY_TIMEOUT_DEFAULT_MS, VISIBILITY_TIMEOUT_MAX_MS,
    VISIBILITY_TIMEOUT_MIN_MS,
};
use crate::reader::Reader;
use crate::{DecodeError, ErrorCode, OutOfRange};

const TAG_VISIBILITY_TIMEOUT: u16 = 1;
const TAG_RETENTION: u16 = 2;
const TAG_DELAY: u16 = 3;
const TAG_MESSAGE_SIZE_MAX: u16 = 4;
const TAG_RECEIVE_WAIT: u16 = 5;

/// How a queue treats its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueAttributes {
    /// How long a receive hides a message, when it does not say itself.
    pub visibility_timeout_ms: u32,
    /// How long a message that nobody deletes is kept.
    pub retention_ms: u64,
    /// How long a message stays hidden after its send, when the send does not say itself.
    pub delay_ms: u64,
    /// The longest body.
    pub message_size_max: u32,
    /// How long a receive waits for a message, when it does not say itself.
    pub receive_wait_ms: u32,
}

impl Default for QueueAttributes {
    fn default() -> Self {
        QueueAttributes {
            visibility_timeout_ms: VISIBILITY_TIMEOUT_DEFAULT_MS,
            retention_ms: RETENTION_DEFAULT_MS,
            delay_ms: 0,
            message_size_max: message_size_limit(),
            receive_wait_ms: 0,
        }
    }
}

impl QueueAttributes {
    /// Passes when every attribute is in its range, and the delay not above the retention.
    ///
    /// # Errors
    ///
    /// The first attribute that is not, with its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let check = |what, value, min, max| {
            OutOfRange::check(ErrorCode::AttributeOutOfRange, what, value, min, max)
        };
        check(
            "visibility_timeout_ms",
            self.visibility_timeout_ms.into(),
            VISIBILITY_TIMEOUT_MIN_MS.into(),
            VISIBILITY_TIMEOUT_MAX_MS.into(),
        )?;
        check(
            "retention_ms",
            self.retention_ms,
            RETENTION_MIN_MS,
            RETENTION_MAX_MS,
        )?;
        check("delay_ms", self.delay_ms, 0, self.retention_ms)?;
        check(
            "message_size_max",
            self.message_size_max.into(),
            MESSAGE_SIZE_MIN.into(),
            message_size_limit().into(),
        )?;
        check(
            "receive_wait_ms",
            self.receive_wait_ms.into(),
            0,
            RECEIVE_WAIT_MAX_MS.into(),
        )
    }
}

/// Attributes that a request names; the others stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributeChanges {
    /// See [`QueueAttributes::visibility_timeout_ms`].
    pub visibility_timeout_ms: Option<u32>,
    /// See [`QueueAttributes::retention_ms`].
    pub retention_ms: Option<u64>,
    /// See [`QueueAttributes::delay_ms`].
    pub delay_ms: Option<u64>,
    /// See [`QueueAttributes::message_size_max`].
    pub message_size_max: Option<u32>,
    /// See [`QueueAttributes::receive_wait_ms`].
    pub receive_wait_ms: Option<u32>,
}

impl AttributeChanges {
    /// `attributes` with these changes.
    ///
    /// # Errors
    ///
    /// The first attribute that would be out of its range, with the range.
    pub fn applied_to(&self, attributes: QueueAttributes) -> Result<QueueAttributes, OutOfRange> {
        let changed = QueueAttributes {
            visibility_timeout_ms: self
                .visibility_timeout_ms
                .unwrap_or(attributes.visibility_timeout_ms),
            retention_ms: self.retention_ms.unwrap_or(attributes.retention_ms),
            delay_ms: self.delay_ms.unwrap_or(attributes.delay_ms),
            message_size_max: self.message_size_max.unwrap_or(attributes.message_size_max),
            receive_wait_ms: self.receive_wait_ms.unwrap_or(attributes.receive_wait_ms),
        };
        changed.check()?;
        Ok(changed)
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        *self == AttributeChanges::default()
    }

    pub(crate) fn take(reader: &mut Reader) -> Result<Self, DecodeError> {
        let mut changes = AttributeChanges::default();
        let count = reader.take_u16("attribute count")?;
        let mut tag_before = 0;
        for _ in 0..count {
            let at = reader.at();
            let tag = reader.take_u16("attribute tag")?;
            let value = reader.take_u64("attribute value")?;
            if tag <= tag_before {
                let code = ErrorCode::MalformedFrame;
                return Err(DecodeError::Invalid {
                    what: "order of attributes",
                    at,
                    code,
                });
            }
            changes.set(tag, value)?;
            tag_before = tag;
        }
        Ok(changes)
    }

    fn set(&mut self, tag: u16, value: u64) -> Result<(), OutOfRange> {
        match tag {
            TAG_VISIBILITY_TIMEOUT => {
                self.visibility_timeout_ms = Some(short("visibility_timeout_ms", value)?);
            }
            TAG_RETENTION => self.retention_ms = Some(value),
            TAG_DELAY => self.delay_ms = Some(value),
            TAG_MESSAGE_SIZE_MAX => self.message_size_max = Some(short("message_size_max", value)?),
            TAG_RECEIVE_WAIT => self.receive_wait_ms = Some(short("receive_wait_ms", value)?),
            unknown => {
                let text = format!("attribute tag {unknown} is unknown");
                return Err(OutOfRange::new(ErrorCode::UnknownAttribute, text));
            }
        }
        Ok(())
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let named = self
            .pairs()
            .into_iter()
            .filter_map(|(tag, value)| Some((tag, value?)));
        let count = u16::try_from(named.clone().count()).expect("there are five attributes");
        out.put_u16_le(count);
        for (tag, value) in named {
            out.put_u16_le(tag);
            out.put_u64_le(value);
        }
    }

    /// Every tag, ascending.
    fn pairs(&self) -> [(u16, Option<u64>); 5] {
        [
            (
                TAG_VISIBILITY_TIMEOUT,
                self.visibility_timeout_ms.map(u64::from),
            ),
            (TAG_RETENTION, self.retention_ms),
            (TAG_DELAY, self.delay_ms),
            (TAG_MESSAGE_SIZE_MAX, self.message_size_max.map(u64::from)),
            (TAG_RECEIVE_WAIT, self.receive_wait_ms.map(u64::from)),
        ]
    }

    /// The attributes when every one is named.
    pub(crate) fn all(&self) -> Option<QueueAttributes> {
        Some(QueueAttributes {
            visibility_timeout_ms: self.visibility_timeout_ms?,
            retention_ms: self.retention_ms?,
            delay_ms: self.delay_ms?,
            message_size_max: self.message_size_max?,
            receive_wait_ms: self.receive_wait_ms?,
        })
    }
}

/// Changes that name every attribute.
impl From<QueueAttributes> for AttributeChanges {
    fn from(attributes: QueueAttributes) -> Self {
        AttributeChanges {
            visibility_timeout_ms: Some(attributes.visibility_timeout_ms),
            retention_ms: Some(attributes.retention_ms),
            delay_ms: Some(attributes.delay_ms),
            message_size_max: Some(attributes.message_size_max),
            receive_wait_ms: Some(attributes.receive_wait_ms),
        }
    }
}

/// A value of an attribute that has 32 bits in memory; none of their ranges reaches that far.
fn short(what: &str, value: u64) -> Result<u32, OutOfRange> {
    u32::try_from(value).map_err(|_| {
        let text = format!("{what} is {value}, allowed are at most {}", u32::MAX);
        OutOfRange::new(ErrorCode::AttributeOutOfRange, text)
    })
}

fn message_size_limit() -> u32 {
    u32::try_from(BODY_LEN_MAX).expect("a body has at most 1 MiB")
}
