//! One waiting receive, and the words that go with it.

use sampan_protocol::QueueId;

/// Whose receive it is. The caller gives both numbers and never uses a pair twice: what was
/// proposed for a waiter that ended would else be handed to the next of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId {
    /// The connection.
    pub client: u64,
    /// Number of the receive. Not the client's own one, which comes again once it is answered.
    pub request: u64,
}

/// What a receive asks for, when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaiterRequest {
    /// 1 to 256.
    pub count_max: u16,
    /// 0 for the default.
    pub len_max: u32,
    /// None for the queue's own.
    pub visibility_timeout_ms: Option<u32>,
}

/// A waiting receive whose turn it is: to be proposed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Whose it is.
    pub id: WaiterId,
    /// What it asks for.
    pub request: WaiterRequest,
}

/// A wait that ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose it was.
    pub id: WaiterId,
    /// Whether it was proposed, so that nobody knows what comes of it.
    pub is_proposed: bool,
}

/// What is to be done when a proposed receive was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send the receiver what was found.
    Deliver,
    /// Nothing was found; it waits on, at its old place.
    ParkedAgain,
    /// Nothing was found and its wait is over: answer with nothing.
    Empty,
    /// Messages were found and nobody is there to take them: release them.
    Release,
    /// Nothing was found and nobody asks any more.
    Forget,
}

/// What of a waiter decides its fate while it is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Parked,
    Proposed {
        /// Its wait ended meanwhile.
        is_ended: bool,
        /// Its client went meanwhile.
        is_cancelled: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) queue: QueueId,
    pub(super) request: WaiterRequest,
    /// When its wait ends, by the caller's monotonic clock in milliseconds.
    pub(super) deadline_ms: u64,
    pub(super) state: State,
}
