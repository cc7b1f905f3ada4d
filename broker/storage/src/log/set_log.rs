//! What the log knows of one set: its state twice, as accepted and as written, and where its
//! entries are.
//!
//! Calls are answered from what was accepted, so a caller reads what it wrote. A file opens with
//! what was written before it. The two differ by what waits to be written, no more.
//!
//! Invariants: entries in `extents` are written; accepted entries that are not are in `cache`.
//! Spec: spec/storage.md, "The log".

use super::cache::Cache;
use super::extents::Extents;
use super::terms::Terms;
use super::{LogId, Payload, Vote};

/// The state of a set in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetLogState {
    /// The vote, if there was one.
    pub vote: Option<Vote>,
    /// Up to where entries are gone, if any are.
    pub purged: Option<LogId>,
    /// The last entry; the purged id if no entry is left; `None` for a set without any.
    pub last: Option<LogId>,
}

impl SetLogState {
    /// The index that the next entry must have; `None`: a set's first entry may have any.
    pub(super) fn next_index(&self) -> Option<u64> {
        self.last.map(|last| last.index.saturating_add(1))
    }

    /// Up to where entries are gone, as an index.
    pub(super) fn purged_index(&self) -> Option<u64> {
        self.purged.map(|id| id.index)
    }

    pub(super) fn on_purge(&mut self, upto: LogId) {
        if self.purged_index().is_none_or(|index| index < upto.index) {
            self.purged = Some(upto);
        }
        if self.last.is_none_or(|last| last.index < upto.index) {
            self.last = Some(upto);
        }
    }
}

/// One set of the log.
#[derive(Debug)]
pub(super) struct SetLog<P> {
    pub(super) accepted: SetLogState,
    pub(super) written: SetLogState,
    pub(super) terms: Terms,
    pub(super) extents: Extents,
    pub(super) cache: Cache<P>,
}

impl<P: Payload> SetLog<P> {
    pub(super) fn new(state: SetLogState, terms: Terms, extents: Extents) -> Self {
        SetLog {
            accepted: state,
            written: state,
            terms,
            extents,
            cache: Cache::default(),
        }
    }

    /// The id of the entry at `index`, or of the purged one there.
    pub(super) fn id_of(&self, index: u64) -> Option<LogId> {
        match self.accepted.purged {
            Some(purged) if purged.index == index => Some(purged),
            Some(purged) if purged.index > index => None,
            _ if self.accepted.last.is_some_and(|last| last.index >= index) => {
                self.terms.id_of(index)
            }
            _ => None,
        }
    }
}
