//! What can be asked of a set's state machine. The bytes are in `codec`.
//!
//! Spec: spec/semantics.md; spec/state.md, "The entry".

use sampan_protocol::{
    Handles, MessageBatch, MessageId, ProducerNumber, QueueAttributes, QueueId, Timestamp,
};

use crate::catalog::CatalogCommand;
use crate::entry::FORMAT_VERSION_MIN;
use crate::queue::{Arrival, Fate, RedriveOrder, RedriveStep};

mod codec;
mod redrive;

#[cfg(feature = "next-version")]
use codec::{NOTE, version_of};
pub(crate) use redrive::{put_order, take_order};

/// One command of an entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Puts messages into a queue: all of the batch or nothing.
    Send {
        /// The queue.
        queue: QueueId,
        /// Tells a repeat from a first try.
        producer: Option<ProducerNumber>,
        /// The messages as they came.
        batch: MessageBatch,
    },
    /// Hands out ready messages.
    Receive {
        /// The queue.
        queue: QueueId,
        /// 1 to 256.
        count_max: u16,
        /// Bound of headers and bodies together; 0 for the default.
        len_max: u32,
        /// How long they are hidden; none for the queue's own.
        visibility_timeout_ms: Option<u32>,
    },
    /// Deletes messages by what their receives gave.
    Delete {
        /// The queue.
        queue: QueueId,
        /// Each is judged by itself.
        handles: Handles,
    },
    /// Hides messages from now on for another time.
    ChangeVisibility {
        /// The queue.
        queue: QueueId,
        /// From now; 0: they are ready at once.
        visibility_timeout_ms: u32,
        /// Each is judged by itself.
        handles: Handles,
    },
    /// The receiver went before it got its reply: the receive is undone, and does not count.
    Release {
        /// The queue.
        queue: QueueId,
        /// Of the reply that was not written.
        handles: Handles,
    },
    /// Removes every message of a queue.
    Purge {
        /// The queue.
        queue: QueueId,
    },
    /// Gives a delayed message another instant, or removes it.
    Reschedule {
        /// The queue.
        queue: QueueId,
        /// The message.
        id: MessageId,
        /// From now; 0: ready at once; none: it is removed.
        delay_ms: Option<u64>,
    },
    /// Messages that another queue gave up: all of those that were not taken before, or none.
    Deliver {
        /// The queue that takes them.
        queue: QueueId,
        /// The one that gave them up.
        source: QueueId,
        /// Of each message, numbers ascending.
        arrivals: Vec<Arrival>,
        /// The messages.
        batch: MessageBatch,
    },
    /// What became of messages that a queue gave up.
    Settle {
        /// The queue that gave them up.
        queue: QueueId,
        /// By number; at most 256.
        fates: Vec<(u64, Fate)>,
    },
    /// Makes deleted messages ready again.
    Rewind {
        /// The queue.
        queue: QueueId,
        /// Those that were sent then or later.
        to: Timestamp,
    },
    /// Begins a redrive, unless one goes on.
    RedriveBegin {
        /// The queue whose messages move.
        queue: QueueId,
        /// Which, and where to.
        order: RedriveOrder,
    },
    /// Moves messages of a redrive.
    RedriveStep {
        /// The queue whose messages move.
        queue: QueueId,
        /// Which.
        step: RedriveStep,
    },
    /// Ends a redrive.
    RedriveCancel {
        /// The queue whose messages move.
        queue: QueueId,
    },
    /// Makes a queue in the set that is to hold it. When it is there already, nothing happens.
    QueueCreate {
        /// Given by the catalog.
        queue: QueueId,
        /// As in the catalog.
        name: String,
        /// As in the catalog.
        attributes: QueueAttributes,
        /// Makes receipt handles hard to guess; drawn by whoever proposes.
        secret: u64,
    },
    /// Gives a queue other attributes.
    QueueSet {
        /// The queue.
        queue: QueueId,
        /// All of them.
        attributes: QueueAttributes,
    },
    /// Removes a queue with everything in it. When it is gone already, nothing happens.
    QueueDelete {
        /// The queue.
        queue: QueueId,
    },
    /// No message that another queue has taken leaves its own queue for a while, or does again.
    HoldSettlements {
        /// Of whoever holds them: never 0.
        token: u64,
        /// From now, at most `HOLD_MAX_MS`; 0: they go on.
        for_ms: u32,
    },
    /// For set 0.
    Catalog(CatalogCommand),
    /// Changes nothing but the state hash. Needs format version 2: it is there to try an upgrade.
    #[cfg(feature = "next-version")]
    Note {
        /// At most 65,535 bytes.
        text: String,
    },
}

impl Command {
    /// The queue of the set that the command works on.
    pub fn queue(&self) -> Option<QueueId> {
        match self {
            Command::Send { queue, .. }
            | Command::Receive { queue, .. }
            | Command::Delete { queue, .. }
            | Command::ChangeVisibility { queue, .. }
            | Command::Release { queue, .. }
            | Command::Purge { queue }
            | Command::Reschedule { queue, .. }
            | Command::Deliver { queue, .. }
            | Command::Settle { queue, .. }
            | Command::RedriveBegin { queue, .. }
            | Command::RedriveStep { queue, .. }
            | Command::RedriveCancel { queue }
            | Command::Rewind { queue, .. }
            | Command::QueueCreate { queue, .. }
            | Command::QueueSet { queue, .. }
            | Command::QueueDelete { queue } => Some(*queue),
            Command::HoldSettlements { .. } | Command::Catalog(_) => None,
            #[cfg(feature = "next-version")]
            Command::Note { .. } => None,
        }
    }

    /// The lowest format version in which the command can be written. A leader proposes it only
    /// when the catalog's format version is that high.
    pub fn version_needed(&self) -> u16 {
        match self {
            #[cfg(feature = "next-version")]
            Command::Note { .. } => version_of(NOTE),
            _ => FORMAT_VERSION_MIN,
        }
    }
}
