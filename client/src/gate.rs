//! The bound on what one client has accepted and not yet finished.
//!
//! Owns what is used of the limits, and the units that found no room. A unit that waits is kept
//! here, not in its future, so that it goes out in its turn even when nobody polls at that moment;
//! a future that is dropped takes its unit back.
//!
//! Invariants: units are admitted first come, first served: while one waits, no other passes it.
//! One unit is always admitted when nothing is used, however large it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::slot::SlotOwner;

/// How much of the limits something takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) count: usize,
    pub(crate) len: usize,
}

impl Cost {
    pub(crate) fn add(&mut self, other: Cost) {
        self.count += other.count;
        self.len += other.len;
    }
}

/// A unit that waits for room.
#[derive(Debug)]
pub(crate) struct Waiting<U> {
    pub(crate) queue: Arc<str>,
    pub(crate) unit: U,
    pub(crate) cost: Cost,
    /// Resolved to the place that the unit gets, once it gets one.
    pub(crate) slot: SlotOwner,
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Gate<U> {
    used: Cost,
    /// How many of those used nobody waits for.
    orphan_count: usize,
    limit: Cost,
    /// By order of arrival. No more than there are futures that the callers hold.
    waiting: BTreeMap<u64, Waiting<U>>,
    number_next: u64,
}

impl<U> Gate<U> {
    pub(crate) fn new(limit: Cost) -> Self {
        Gate {
            used: Cost::default(),
            orphan_count: 0,
            limit,
            waiting: BTreeMap::new(),
            number_next: 0,
        }
    }

    /// Takes `cost` when there is room and nobody waits.
    pub(crate) fn enter(&mut self, cost: Cost) -> bool {
        let admitted = self.waiting.is_empty() && self.fits(cost);
        if admitted {
            self.used.add(cost);
        }
        admitted
    }

    /// Puts a unit in the line and returns its number there.
    pub(crate) fn wait(&mut self, waiting: Waiting<U>) -> u64 {
        let number = self.number_next;
        self.number_next += 1;
        self.waiting.insert(number, waiting);
        number
    }

    /// Takes a unit out of the line, when it is still there.
    pub(crate) fn cancel(&mut self, number: u64) -> Option<Waiting<U>> {
        self.waiting.remove(&number)
    }

    pub(crate) fn leave(&mut self, cost: Cost) {
        self.used.count -= cost.count;
        self.used.len -= cost.len;
    }

    /// The first of the line, when it fits now; its cost is then taken.
    pub(crate) fn admit_next(&mut self) -> Option<Waiting<U>> {
        let cost = self.waiting.first_key_value()?.1.cost;
        if !self.fits(cost) {
            return None;
        }
        self.used.add(cost);
        self.waiting.pop_first().map(|(_, waiting)| waiting)
    }

    /// Empties the line.
    pub(crate) fn drain_waiting(&mut self) -> Vec<Waiting<U>> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// Nobody waits for `count` of those used any more; they keep their room.
    pub(crate) fn orphan(&mut self, count: usize) {
        self.orphan_count += count;
    }

    /// So many of those that nobody waited for have left.
    pub(crate) fn leave_orphans(&mut self, count: usize) {
        self.orphan_count -= count;
    }

    /// Whether nobody waits for anything that is in or before the gate.
    pub(crate) fn is_unawaited(&self) -> bool {
        self.used.count == self.orphan_count && self.waiting.is_empty()
    }

    fn fits(&self, cost: Cost) -> bool {
        self.used.count == 0
            || (self.used.count + cost.count <= self.limit.count
                && self.used.len + cost.len <= self.limit.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(count: usize, len: usize) -> Cost {
        Cost { count, len }
    }

    fn unit(name: u8, cost: Cost) -> Waiting<u8> {
        Waiting {
            queue: "q".into(),
            unit: name,
            cost,
            slot: SlotOwner::default(),
        }
    }

    #[test]
    fn nobody_passes_one_who_waits() {
        let mut gate = Gate::new(cost(4, 100));
        assert!(gate.enter(cost(3, 30)));
        assert!(!gate.enter(cost(2, 20)));
        gate.wait(unit(1, cost(2, 20)));
        assert!(!gate.enter(cost(1, 1)), "it would fit, but another waits");
        gate.wait(unit(2, cost(1, 1)));
        assert!(gate.admit_next().is_none());
        gate.leave(cost(3, 30));
        assert_eq!(gate.admit_next().map(|waiting| waiting.unit), Some(1));
        assert_eq!(gate.admit_next().map(|waiting| waiting.unit), Some(2));
        gate.leave(cost(1, 1));
        assert!(!gate.is_unawaited());
        gate.orphan(2);
        assert!(gate.is_unawaited());
        gate.leave_orphans(2);
        gate.leave(cost(2, 20));
        assert!(gate.is_unawaited());
    }

    #[test]
    fn a_unit_over_the_limit_enters_alone_and_one_that_left_the_line_does_not_enter() {
        let mut gate = Gate::new(cost(4, 100));
        assert!(gate.enter(cost(1, 1_000)));
        let number = gate.wait(unit(1, cost(1, 1)));
        assert!(gate.cancel(number).is_some());
        assert!(gate.cancel(number).is_none());
        gate.leave(cost(1, 1_000));
        assert!(gate.admit_next().is_none());
    }
}
