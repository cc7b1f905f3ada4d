//! What a set is asked, and what it answers.
//!
//! A request names the client that waits for the answer, by a handle that the set's core thread can
//! call without waiting. The set never learns what kind of client that is.
//!
//! Invariant: every request is answered exactly once, or its client is gone.

use std::fmt;
use std::sync::Arc;

use sampan_core::{CatalogRecord, Command, Delivery, Peek, Peeked, Redrive, RedriveOrder, Reply};
use sampan_protocol::{
    Applied, ErrorCode, HandleResults, MessageBatch, MessageRecord, QueueAttributes, QueueCounts,
    QueueId, SentReply, SetId, Timestamp,
};
use tokio::sync::oneshot;

use crate::catalog::Route;

/// Tells the clients of a node apart. Never given to two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Where answers go. Called on the core thread of a set: it must not block.
pub trait Client: Send + Sync {
    /// Which client this is.
    fn id(&self) -> ClientId;

    /// Takes the answers of one burst of `set`, in order.
    ///
    /// Returns the receives that could not be taken, because the client is gone or has too much
    /// unread already: their messages go back to the queue, as if they had not been received.
    #[must_use]
    fn answer(&self, set: SetId, answers: Vec<Answer>) -> Vec<Received>;
}

/// Who asked: the client and its own number for the request.
#[derive(Clone)]
pub struct Origin {
    /// The client.
    pub client: Arc<dyn Client>,
    /// Unique among the unanswered requests of the client.
    pub request_id: u64,
    /// Length of the request, which comes back with the answer: what the client may send again.
    pub len: usize,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client {} request {}",
            self.client.id().0,
            self.request_id
        )
    }
}

/// One question to a set.
#[derive(Debug)]
pub enum SetRequest {
    /// Carry a command out: send, delete, change visibility, purge, rewind, reschedule, begin or
    /// end of a redrive.
    Command {
        /// Who asked.
        origin: Origin,
        /// What to do.
        command: Command,
    },
    /// Receive, waiting for a message if there is none.
    Receive {
        /// Who asked.
        origin: Origin,
        /// What to receive.
        receive: Receive,
    },
    /// Look at messages.
    Peek {
        /// Who asked.
        origin: Origin,
        /// At which.
        peek: PeekRequest,
    },
    /// How far a redrive is, or would go.
    Redrive {
        /// Who asked.
        origin: Origin,
        /// What.
        ask: RedriveAsk,
    },
    /// Describe a queue as it is now.
    Show {
        /// Who asked.
        origin: Origin,
        /// The queue.
        route: Arc<Route>,
    },
    /// The catalog's records that are not finished. For set 0.
    Unfinished(oneshot::Sender<Result<Vec<CatalogRecord>, Refused>>),
    /// Agree with a majority that everything acknowledged before is applied here; the answer is
    /// the index up to where that is.
    Confirm(oneshot::Sender<Result<u64, Refused>>),
    /// Write down all that is applied here; the answer is the entry up to which that is durable.
    Checkpoint(oneshot::Sender<Result<u64, Refused>>),
    /// Propose nothing for a moment, and say when nothing is on its way: leadership is about to be
    /// handed over.
    Hold(oneshot::Sender<()>),
    /// Counts of all queues, as far as they are applied on this node.
    Counts(oneshot::Sender<CountsOfSet>),
    /// Carry a command out for the node itself.
    Propose {
        /// What to do.
        command: Command,
        /// Gets the reply. Dropped when the set stops.
        done: oneshot::Sender<Result<Reply, Refused>>,
    },
    /// The client is gone: forget what it waits for.
    Forget(ClientId),
    /// Answer what waits, finish what is in hand, and stop.
    Drain(oneshot::Sender<()>),
}

/// Counts of a set's queues, as applied on one node.
#[derive(Clone, Debug)]
pub struct CountsOfSet {
    /// Whether the node leads the set.
    pub leads: bool,
    /// The set's time.
    pub now: Timestamp,
    /// Each queue and its counts.
    pub queues: Vec<(QueueId, QueueCounts)>,
}

/// A receive with everything said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receive {
    /// The queue.
    pub queue: QueueId,
    /// 1 to 256 messages.
    pub count_max: u16,
    /// Bytes of bodies, at least one message.
    pub len_max: u32,
    /// How long to wait for a message, in milliseconds.
    pub wait_ms: u32,
    /// `None`: the queue's own.
    pub visibility_timeout_ms: Option<u32>,
}

/// A look at messages of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeekRequest {
    /// The queue.
    pub queue: QueueId,
    /// At which messages.
    pub ask: Peek,
}

/// A question about redrives that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedriveAsk {
    /// How far is the newest one?
    Status {
        /// The queue.
        queue: QueueId,
    },
    /// How many messages would one move?
    Count {
        /// The queue.
        queue: QueueId,
        /// What it would be told to do.
        order: RedriveOrder,
    },
}

/// How far a redrive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedriveShown {
    /// The redrive.
    pub redrive: Redrive,
    /// Messages of its queue that are on their way now.
    pub moving: u64,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// The client's number for the request.
    pub request_id: u64,
    /// The length of the request.
    pub len: usize,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The batch is stored, as durable as the reply says.
    Sent(SentReply),
    /// Deleted, but for the handles that were not accepted.
    Deleted(HandleResults),
    /// Visibility changed, but for the handles that were not accepted.
    VisibilityChanged(HandleResults),
    /// The queue is empty; so many messages were there.
    Purged(u64),
    /// So many deleted messages will be ready again.
    Rewound(u64),
    /// The delayed message has its new instant, or is removed.
    Rescheduled,
    /// The messages received; none when the wait ended without one.
    Received(Received),
    /// The messages looked at.
    Peeked(PeekedMessages),
    /// A redrive has begun: its number.
    RedriveBegun(u64),
    /// A redrive would move so many messages.
    RedriveCounted(u64),
    /// How far a redrive is.
    RedriveShown(Box<RedriveShown>),
    /// How far a redrive was when it ended.
    RedriveCancelled(Box<RedriveShown>),
    /// The queue.
    Shown(Shown),
    /// It was not done (or it is not known whether: the code says so).
    Refused(Refused),
}

/// A queue's state.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The queue, as the catalog knows it.
    pub route: Arc<Route>,
    /// Its attributes in force.
    pub attributes: QueueAttributes,
    /// How many messages are in which state.
    pub counts: QueueCounts,
}

/// Messages handed out by one receive.
#[derive(Debug)]
pub struct Received {
    /// The queue they are from.
    pub queue: QueueId,
    /// The messages in order.
    pub deliveries: Vec<Delivery>,
    /// Where their bodies are, in the same order, adding up to as many.
    pub bodies: Vec<BodyRun>,
}

/// Messages that were looked at.
#[derive(Debug)]
pub struct PeekedMessages {
    /// The queue they are in.
    pub queue: QueueId,
    /// The messages in order.
    pub messages: Vec<Peeked>,
    /// Where their bodies are, in the same order, adding up to as many.
    pub bodies: Vec<BodyRun>,
}

/// Where the bodies of some consecutive deliveries are.
#[derive(Debug)]
pub enum BodyRun {
    /// In memory, in one batch.
    Memory {
        /// The batch.
        batch: MessageBatch,
        /// When the batch was sent.
        sent_at: Timestamp,
        /// For each delivery its record, and where its content begins in the batch's bytes.
        places: Vec<(MessageRecord, usize)>,
    },
    /// In a segment file: to be read with the store's reader, off the core thread.
    Disk {
        /// How many deliveries.
        count: usize,
    },
}

impl BodyRun {
    /// How many deliveries it is for.
    pub fn count(&self) -> usize {
        match self {
            BodyRun::Memory { places, .. } => places.len(),
            BodyRun::Disk { count } => *count,
        }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// The error's number.
    pub code: ErrorCode,
    /// When to try again, in milliseconds; 0 for no advice.
    pub retry_after_ms: u32,
    /// What exactly was wrong.
    pub text: String,
}

impl Refused {
    /// A refusal with the code's own text.
    pub fn new(code: ErrorCode) -> Self {
        Refused {
            code,
            retry_after_ms: 0,
            text: code.text().to_owned(),
        }
    }

    /// A refusal that can be tried again after `retry_after_ms` milliseconds.
    pub fn retry_after(code: ErrorCode, retry_after_ms: u32) -> Self {
        Refused {
            retry_after_ms,
            ..Refused::new(code)
        }
    }

    /// Whether anything was done.
    pub fn applied(&self) -> Applied {
        self.code.applied()
    }
}

impl From<sampan_core::Refusal> for Refused {
    fn from(refusal: sampan_core::Refusal) -> Self {
        let text = refusal
            .text
            .unwrap_or_else(|| refusal.code.text().to_owned());
        Refused {
            code: refusal.code,
            retry_after_ms: 0,
            text,
        }
    }
}

impl From<sampan_protocol::OutOfRange> for Refused {
    fn from(refusal: sampan_protocol::OutOfRange) -> Self {
        Refused {
            code: refusal.code,
            retry_after_ms: 0,
            text: refusal.text,
        }
    }
}
