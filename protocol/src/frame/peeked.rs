//! Peeked: the messages that a peek looked at, in one frame or several.
//!
//! Laid out as received messages are, with the state in the place of the receipt handle, so that
//! both are written and read by the same code.
//!
//! Spec: spec/wire.md, "Peeked".

use bytes::{Bytes, BytesMut};

use super::received;
use crate::{DecodeError, ErrorCode, MessageId, ReceiptHandle, ReceivedMessage, Timestamp};

/// Where a message stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// It can be received, unless the queue is paused.
    Ready,
    /// It waits for its delay.
    Delayed,
    /// It was received, and neither deleted nor given back.
    InFlight,
    /// It came back unhandled and waits to be ready again.
    Resting,
}

impl MessageState {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            MessageState::Ready => 0,
            MessageState::Delayed => 1,
            MessageState::InFlight => 2,
            MessageState::Resting => 3,
        }
    }

    /// What stands in the place of a receipt handle.
    pub fn as_handle(self) -> ReceiptHandle {
        ReceiptHandle(self.number().into())
    }

    fn from_handle(handle: ReceiptHandle) -> Option<Self> {
        use MessageState::{Delayed, InFlight, Ready, Resting};
        [Ready, Delayed, InFlight, Resting]
            .into_iter()
            .find(|state| state.as_handle() == handle)
    }
}

/// A message that was looked at and not received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeekedMessage {
    /// Its place in the queue.
    pub id: MessageId,
    /// Where it stands.
    pub state: MessageState,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// When it was handed out for the first time.
    pub first_received_at: Option<Timestamp>,
    /// When it is ready, unless something happens before; none when it is.
    pub ready_at: Option<Timestamp>,
    /// How often it was handed out.
    pub receive_count: u32,
    /// What the sender computed.
    pub body_crc32c: u32,
    /// See [`crate::headers`].
    pub headers: Bytes,
    /// Empty for none.
    pub group_key: Bytes,
    /// Empty for none.
    pub dedup_key: Bytes,
    /// 1 byte to 1 MiB.
    pub body: Bytes,
}

impl PeekedMessage {
    /// The message of a frame's record; none when its state is not one.
    pub fn from_received(message: ReceivedMessage) -> Option<Self> {
        Some(PeekedMessage {
            state: MessageState::from_handle(message.handle)?,
            id: message.id,
            sent_at: message.sent_at,
            first_received_at: instant(message.first_received_at),
            ready_at: instant(message.visible_at),
            receive_count: message.receive_count,
            body_crc32c: message.body_crc32c,
            headers: message.headers,
            group_key: message.group_key,
            dedup_key: message.dedup_key,
            body: message.body,
        })
    }

    /// Passes when the body is the one that its sender sent.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::ChecksumMismatch`].
    pub fn check_body(&self) -> Result<(), ErrorCode> {
        self.to_received().check_body()
    }

    fn to_received(&self) -> ReceivedMessage {
        ReceivedMessage {
            id: self.id,
            handle: self.state.as_handle(),
            sent_at: self.sent_at,
            first_received_at: self.first_received_at.unwrap_or_default(),
            visible_at: self.ready_at.unwrap_or_default(),
            receive_count: self.receive_count,
            body_crc32c: self.body_crc32c,
            headers: self.headers.clone(),
            group_key: self.group_key.clone(),
            dedup_key: self.dedup_key.clone(),
            body: self.body.clone(),
        }
    }
}

fn instant(at: Timestamp) -> Option<Timestamp> {
    Some(at).filter(|at| at.0 != 0)
}

pub(crate) fn decode(payload: Bytes) -> Result<Vec<PeekedMessage>, DecodeError> {
    let messages = received::decode(payload)?.into_iter();
    let peeked = messages.map(|message| {
        PeekedMessage::from_received(message).ok_or(DecodeError::Invalid {
            what: "state of a message",
            at: received::FIXED_LEN,
            code: ErrorCode::MalformedFrame,
        })
    });
    peeked.collect()
}

pub(crate) fn encode(messages: &[PeekedMessage], out: &mut BytesMut) {
    let messages: Vec<_> = messages.iter().map(PeekedMessage::to_received).collect();
    received::encode(&messages, out);
}
