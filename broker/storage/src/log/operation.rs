//! What waits to be written for one set.

use sampan_protocol::SetId;

use super::record::{ENTRY_PREFIX_LEN, RECORD_LEN};
use super::{Done, LogEntry, LogId, Payload, Vote};

/// A change to one set of the log.
pub(super) enum Operation<P> {
    Append(Vec<LogEntry<P>>),
    Vote(Vote),
    Truncate(Option<LogId>),
    Purge(LogId),
    Reset(Option<LogId>),
}

/// A change that was accepted and is not written yet.
pub(super) struct Pending<P> {
    pub(super) set: SetId,
    pub(super) operation: Operation<P>,
    /// Called when this and everything before it is synced, or written if it is lazy; `None` on all
    /// parts of a long append but its last.
    pub(super) done: Option<Done>,
    /// It is done once it is written.
    pub(super) lazy: bool,
    /// Bytes in a batch: records and payloads.
    pub(super) len: usize,
    /// Order among all that was accepted.
    pub(super) arrival: u64,
}

impl<P: Payload> Operation<P> {
    /// How many records it takes.
    pub(super) fn record_count(&self) -> usize {
        match self {
            Operation::Append(entries) => runs_of(entries).count(),
            _ => 1,
        }
    }
}

/// The entries as runs of the same leader: each becomes one record.
pub(super) fn runs_of<P>(entries: &[LogEntry<P>]) -> impl Iterator<Item = &[LogEntry<P>]> {
    entries.chunk_by(|a, b| (a.id.term, a.id.node) == (b.id.term, b.id.node))
}

/// Bytes that an entry of `payload_len` takes at most.
pub(super) fn entry_len(payload_len: usize) -> usize {
    // A record of its own for every entry is the worst case.
    payload_len.saturating_add(ENTRY_PREFIX_LEN + RECORD_LEN)
}
