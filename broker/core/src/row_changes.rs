//! Which rows of one kind differ from what the last freeze saw.
//!
//! Kept as two sets of row numbers, so that a freeze costs what changed and not what there is. A
//! row that came and went between two freezes is in neither: its key was never stored.
//!
//! Invariant: what is in `changed` exists now.

use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(crate) struct RowChanges {
    changed: BTreeSet<u64>,
    gone: BTreeSet<u64>,
}

impl RowChanges {
    /// The row is there and differs.
    pub(crate) fn on_change(&mut self, number: u64) {
        self.changed.insert(number);
    }

    /// The row is there no more. `stored`: an earlier freeze may have seen it.
    pub(crate) fn on_removal(&mut self, number: u64, stored: bool) {
        self.changed.remove(&number);
        if stored {
            self.gone.insert(number);
        }
    }

    /// Takes what differs: numbers of rows that are there, and of rows that are gone.
    pub(crate) fn take(&mut self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let changed = std::mem::take(&mut self.changed);
        let mut gone = std::mem::take(&mut self.gone);
        gone.retain(|number| !changed.contains(number));
        (changed, gone)
    }

    /// Numbers of rows that are gone, for a queue that goes as a whole.
    pub(crate) fn gone(&self) -> impl Iterator<Item = u64> + '_ {
        self.gone.iter().copied()
    }
}
