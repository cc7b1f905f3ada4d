//! Which messages of which group are ready, and which group is served next: made from the tables,
//! never stored.
//!
//! One tree of (group, id) for the messages, 30 bytes each: a queue per group would be an
//! allocation per group, and one long group would make what comes back in its middle dear. One
//! number pair per group for the order of serving.
//!
//! Invariants: `counts` has each group with a ready or held message and no other; `order` has the
//! front of each group that may be served, at its turn; `locked` are the ready messages of the
//! others. Spec: spec/semantics.md, "Groups".

use std::collections::{BTreeMap, BTreeSet};

use super::chunk::Group;

/// How many messages of a group there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ready: u32,
    /// In flight or resting.
    pub(super) held: u32,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) ready: BTreeSet<(Group, u64)>,
    pub(super) counts: BTreeMap<Group, Counts>,
    /// By turn; in an ordered queue all turns are 0, so by the ids of the fronts.
    pub(super) order: BTreeSet<(u64, u64)>,
    pub(super) locked: u64,
}

impl Index {
    pub(super) fn counts(&self, group: Group) -> Counts {
        self.counts.get(&group).copied().unwrap_or_default()
    }

    /// The ready ids of a group, ascending.
    pub(super) fn ids(&self, group: Group) -> impl Iterator<Item = u64> + '_ {
        let ids = self.ready.range((group, 0)..=(group, u64::MAX));
        ids.map(|(_, id)| *id)
    }

    pub(super) fn front(&self, group: Group) -> Option<u64> {
        self.ids(group).next()
    }

    pub(super) fn add_ready(&mut self, group: Group, id: u64) {
        self.ready.insert((group, id));
        self.counts.entry(group).or_default().ready += 1;
    }

    pub(super) fn remove_ready(&mut self, group: Group, id: u64) {
        self.ready.remove(&(group, id));
        self.counts.entry(group).or_default().ready -= 1;
    }

    pub(super) fn hold(&mut self, group: Group) {
        self.counts.entry(group).or_default().held += 1;
    }

    pub(super) fn let_go(&mut self, group: Group) {
        self.counts.entry(group).or_default().held -= 1;
    }

    /// The front of every group that has one.
    pub(super) fn fronts(&self) -> impl Iterator<Item = (Group, u64)> + '_ {
        let mut before = None;
        let fronts = self.ready.iter().copied();
        fronts.filter(move |(group, _)| before.replace(*group) != Some(*group))
    }

    /// Frees a part of what an emptied queue's index holds; true when nothing is left.
    pub(super) fn shrink(&mut self, count: u64) -> bool {
        for _ in 0..count {
            let left = [
                self.ready.pop_first().is_some(),
                self.counts.pop_first().is_some(),
                self.order.pop_first().is_some(),
            ];
            if left == [false; 3] {
                return true;
            }
        }
        false
    }
}
