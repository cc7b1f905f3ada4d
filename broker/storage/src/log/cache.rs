//! The newest entries of a set, in memory.
//!
//! Replication asks for what was just appended, and a reader may ask for entries before they are
//! synced; both find them here. Older ones leave by a budget that all sets of a log share.
//!
//! Invariants: the entries follow each other without gaps up to the set's last one. An entry that
//! is not written yet never leaves.

use std::collections::VecDeque;

use super::{LogEntry, Payload};

#[derive(Debug)]
struct Cached<P> {
    entry: LogEntry<P>,
    /// Order of arrival among all sets of the log.
    arrival: u64,
    len: usize,
}

/// The newest entries of one set.
#[derive(Debug)]
pub(super) struct Cache<P> {
    entries: VecDeque<Cached<P>>,
}

impl<P> Default for Cache<P> {
    fn default() -> Self {
        Cache {
            entries: VecDeque::new(),
        }
    }
}

impl<P: Payload> Cache<P> {
    pub(super) fn push(&mut self, entry: LogEntry<P>, arrival: u64, len: usize) {
        self.entries.push_back(Cached {
            entry,
            arrival,
            len,
        });
    }

    /// The entry at `index`, with its length.
    pub(super) fn find(&self, index: u64) -> Option<(&LogEntry<P>, usize)> {
        let place = usize::try_from(index.checked_sub(self.first_index()?)?).ok()?;
        self.entries
            .get(place)
            .map(|cached| (&cached.entry, cached.len))
    }

    /// The index from which on entries are in memory.
    pub(super) fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|cached| cached.entry.id.index)
    }

    /// Index of the first entry that came after `arrival`.
    pub(super) fn first_after(&self, arrival: u64) -> Option<u64> {
        let place = self
            .entries
            .partition_point(|cached| cached.arrival <= arrival);
        Some(self.entries.get(place)?.entry.id.index)
    }

    /// When the oldest entry came.
    pub(super) fn oldest_arrival(&self) -> Option<u64> {
        self.entries.front().map(|cached| cached.arrival)
    }

    /// Drops the oldest entry; returns its length.
    pub(super) fn pop_oldest(&mut self) -> usize {
        self.entries.pop_front().map_or(0, |cached| cached.len)
    }

    /// Drops entries after `index`; returns their length.
    pub(super) fn truncate_after(&mut self, index: Option<u64>) -> usize {
        let mut dropped_len = 0;
        while let Some(cached) = self.entries.back() {
            if index.is_some_and(|index| cached.entry.id.index <= index) {
                break;
            }
            dropped_len += cached.len;
            self.entries.pop_back();
        }
        dropped_len
    }

    /// Drops entries up to and with `index` that came before `arrival`; returns their length. A
    /// reset between may have been followed by others with the same indexes.
    pub(super) fn purge(&mut self, index: u64, arrival: u64) -> usize {
        let mut dropped_len = 0;
        while self
            .entries
            .front()
            .is_some_and(|cached| cached.entry.id.index <= index && cached.arrival < arrival)
        {
            dropped_len += self.pop_oldest();
        }
        dropped_len
    }
}
