//! What a command gets back: one reply per command, in the order of the commands.

use sampan_protocol::{ErrorCode, HandleResults, MessageId, ReceiptHandle, Sent, Timestamp};

use crate::catalog::{CatalogRecord, NodeRecord};
use crate::queue::Redrive;

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a send: the ids.
    Sent(Sent),
    /// To a receive: what was handed out, perhaps nothing.
    Received(Vec<Delivery>),
    /// To delete, change of visibility and release: the handles that failed.
    Handles(HandleResults),
    /// To a purge: how many messages were there.
    Purged(u64),
    /// To the beginning of a redrive: its number.
    RedriveBegun(u64),
    /// To the end of a redrive: how far it came.
    Redrive(Box<Redrive>),
    /// To a rewind: how many messages come back.
    Rewound(u64),
    /// Carried out, and nothing to tell.
    Done,
    /// Refused; nothing was changed.
    Refused(Refusal),
    /// To a catalog command: the queue's record as it is now.
    Catalog(CatalogRecord),
    /// To a node's command, when the node stays: its record as it is now.
    Node(NodeRecord),
}

/// One message handed out. Its body is read elsewhere, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub id: MessageId,
    /// Proof of this receive.
    pub handle: ReceiptHandle,
    /// When it was first received.
    pub first_received_at: Timestamp,
    /// Until when it is hidden from others.
    pub visible_at: Timestamp,
    /// How often it was received, this time included.
    pub receive_count: u32,
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number of `spec/errors.md`.
    pub code: ErrorCode,
    /// More than the number says: the limit and what it was compared with.
    pub text: Option<String>,
}

impl Refusal {
    /// What the cluster's rules forbid.
    pub(crate) fn by_cluster(text: impl Into<String>) -> Self {
        Refusal::with_text(ErrorCode::ClusterRefused, text.into())
    }

    pub(crate) fn with_text(code: ErrorCode, text: String) -> Self {
        Refusal {
            code,
            text: Some(text),
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Refusal { code, text: None }
    }
}
