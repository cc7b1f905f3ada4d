//! Sampan's wire protocol: bytes to types and back, limits and error numbers. It does no I/O.
//!
//! - [`MessageBatch`]: the one layout in which messages travel and rest: in a send frame, in the
//!   log, in memory and in segment files.
//! - [`limits`]: every limit of the protocol by name.
//! - [`ErrorCode`]: every number that an error frame can carry.
//!
//! The bytes are specified in `spec/wire.md`.

mod batch;
mod error_code;
mod ids;
pub mod limits;

pub use batch::{BatchBuilder, MessageBatch, MessageRecord, NewMessage};
pub use error_code::{Applied, ErrorCode};
pub use ids::{MessageId, QueueId, ReceiptHandle, SetId, Timestamp};
