//! Sampan's wire protocol: bytes to types and back, limits and error numbers. It does no I/O.
//!
//! - [`FrameDecoder`] splits a stream into frames; [`Request`] and [`Reply`] are what they carry.
//! - [`MessageBatch`]: the one layout in which messages travel and rest: in a send frame, in the
//!   log, in memory and in segment files.
//! - [`limits`]: every limit of the protocol by name.
//! - [`ErrorCode`]: every number that an error frame can carry.
//!
//! The bytes are specified in `spec/wire.md`.

#![deny(clippy::as_conversions)]

mod attributes;
mod batch;
mod checksum;
mod dead_letter;
mod decode_error;
mod durability;
mod error_code;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod handles;
pub mod headers;
mod ids;
mod lengths;
pub mod limits;
mod name;
mod out_of_range;
mod reader;
mod redrive;
mod signature;

pub use attributes::{AttributeChanges, GroupMode, QueueAttributes, WhenFull};
pub use batch::{BatchBuilder, MessageBatch, MessageRecord, NewMessage};
pub use checksum::checksum;
pub use dead_letter::{DeadLetter, DeathReason, without_broker_headers};
pub use decode_error::DecodeError;
pub use durability::Durability;
pub use error_code::{Applied, ErrorCode};
pub use frame::{
    AdminReply, AdminRequest, Authenticate, Authenticated, ChangeVisibility, Delete, DeliveryMeta,
    ErrorReply, Frame, FrameDecoder, FrameHeader, Hello, HelloReply, MessageState,
    PROTOCOL_VERSION, Peek, PeekOf, PeekedMessage, QueueCounts, QueueCreate, QueueDescription,
    QueueList, QueueListPage, QueueRewind, QueueSet, Receive, ReceivedEncoder, ReceivedMessage,
    Redrive, RedriveBegun, RedriveState, RedriveStatus, Reply, Request, Reschedule, RouteReply,
    RouteRequest, Send, Sent, SentReply, Why, kind,
};
pub use handles::{HandleResults, Handles};
pub use ids::{
    IdSpace, MessageId, ProducerNumber, ProducerSession, QueueId, ReceiptHandle, SetId, Timestamp,
};
pub use name::{Name, check_queue_name};
pub use out_of_range::OutOfRange;
pub use redrive::RedriveFilter;
pub use signature::{sign, verify_signature};
