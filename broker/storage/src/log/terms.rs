//! Which leader made which entries of a set, as runs: leaders change rarely, entries are many.
//!
//! Invariant: runs are in order of their first index; a run ends where the next one starts.

use std::collections::VecDeque;

use super::LogId;

/// The leaders of a set's entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    runs: VecDeque<LogId>,
}

impl Terms {
    /// Entries from `first` on were made by its leader.
    pub(super) fn push(&mut self, first: LogId) {
        match self.runs.back() {
            Some(run) if (run.term, run.node) == (first.term, first.node) => {}
            _ => self.runs.push_back(first),
        }
    }

    /// The id of the entry at `index`, which must be in the log.
    pub(super) fn id_of(&self, index: u64) -> Option<LogId> {
        let after = self.runs.partition_point(|run| run.index <= index);
        let run = self.runs.get(after.checked_sub(1)?)?;
        Some(LogId { index, ..*run })
    }

    /// Forgets entries after `index`.
    pub(super) fn truncate_after(&mut self, index: Option<u64>) {
        while self
            .runs
            .back()
            .is_some_and(|run| index.is_none_or(|index| run.index > index))
        {
            self.runs.pop_back();
        }
    }

    /// Forgets entries up to and with `index`.
    pub(super) fn purge(&mut self, index: u64) {
        while self
            .runs
            .get(1)
            .is_some_and(|run| run.index <= index.saturating_add(1))
        {
            self.runs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId {
            term,
            node: term + 10,
            index,
        }
    }

    #[test]
    fn every_entry_has_the_leader_of_its_run() {
        let mut terms = Terms::default();
        for first in [id(1, 0), id(1, 4), id(2, 7), id(5, 8)] {
            terms.push(first);
        }
        for (index, term) in [(0, 1), (6, 1), (7, 2), (8, 5), (100, 5)] {
            assert_eq!(terms.id_of(index), Some(id(term, index)));
        }
        terms.truncate_after(Some(7));
        assert_eq!(terms.id_of(9), Some(id(2, 9)));
        terms.purge(6);
        assert_eq!(terms.id_of(6), None);
        assert_eq!(terms.id_of(7), Some(id(2, 7)));
        terms.truncate_after(None);
        assert_eq!(terms.id_of(7), None);
    }
}
