//! Frames: a header of 16 bytes and a payload. One file per kind; each knows its payload only.
//!
//! A payload decodes to one value and a value encodes to one payload. Decoded texts, bodies and
//! handles are slices of the payload's memory.
//!
//! Spec: spec/wire.md, "Frames".

mod admin;
mod authenticate;
mod change_visibility;
mod decoder;
mod delete;
mod error;
mod header;
mod hello;
mod peek;
mod peeked;
mod queue_create;
mod queue_delete;
mod queue_list;
mod queue_purge;
mod queue_rewind;
mod queue_set;
mod queue_show;
mod receive;
mod received;
mod received_encoder;
mod redrive;
mod reply;
mod request;
mod reschedule;
mod route;
mod send;

pub use admin::{AdminReply, AdminRequest};
pub use authenticate::{Authenticate, Authenticated};
pub use change_visibility::ChangeVisibility;
pub use decoder::FrameDecoder;
pub use delete::Delete;
pub use error::ErrorReply;
pub use header::{Frame, FrameHeader, kind};
pub use hello::{Hello, HelloReply, PROTOCOL_VERSION};
pub use peek::{Peek, PeekOf};
pub use peeked::{MessageState, PeekedMessage};
pub use queue_create::QueueCreate;
pub use queue_list::{QueueList, QueueListPage};
pub use queue_rewind::QueueRewind;
pub use queue_set::QueueSet;
pub use queue_show::{QueueCounts, QueueDescription, Why};
pub use receive::Receive;
pub use received::ReceivedMessage;
pub use received_encoder::{DeliveryMeta, ReceivedEncoder};
pub use redrive::{Redrive, RedriveBegun, RedriveState, RedriveStatus};
pub use reply::Reply;
pub use request::Request;
pub use reschedule::Reschedule;
pub use route::{RouteReply, RouteRequest};
pub use send::{Send, Sent, SentReply};
