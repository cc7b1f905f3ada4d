//! Entries on their way through consensus, with those who wait for their replies.
//!
//! Invariants: a proposed entry comes back to the driver exactly once, whether openraft answers,
//! refuses, or drops it: nobody waits for an answer that will not come. Who waited too long is told
//! that the outcome is unknown, and is then no longer among those who wait.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use sampan_protocol::{Durability, QueueId};
use tokio::sync::Notify;

use super::gather::{Asker, Expected};
use crate::raft::types::WriteResult;

/// An entry whose fate is known, with those who wait for its replies.
pub(super) struct Completion {
    pub(super) entry: Askers,
    /// `None`: openraft gave it up; it may be applied yet, or not.
    pub(super) result: Option<WriteResult>,
}

/// Those who wait for the replies of an entry, in the order of its commands.
#[derive(Default)]
pub(super) struct Askers {
    /// Empty once they were told that the outcome is unknown.
    pub(super) askers: Vec<Asker>,
    /// The queue of each command.
    pub(super) queues: Vec<Option<QueueId>>,
    pub(super) expected: Vec<(QueueId, Expected)>,
    /// How durable the entry is once it is applied.
    pub(super) durability: Durability,
}

/// The entries that are proposed and not yet applied.
#[derive(Default)]
pub(super) struct InFlight {
    entries: VecDeque<Proposed>,
    completions: Rc<RefCell<VecDeque<Arrival>>>,
}

struct Proposed {
    /// On the monotonic clock.
    at_ms: u64,
    entry: Rc<RefCell<Askers>>,
}

/// An entry that came back, not yet taken in.
struct Arrival {
    entry: Rc<RefCell<Askers>>,
    result: Option<WriteResult>,
}

impl InFlight {
    /// How many have not come back.
    pub(super) fn count(&self) -> usize {
        self.entries.len() - self.completions.borrow().len()
    }

    /// Whether nothing is on its way or waits to be taken in.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An entry sets out.
    pub(super) fn begin(&mut self, entry: Askers, now_ms: u64, wake: Rc<Notify>) -> Ticket {
        let entry = Rc::new(RefCell::new(entry));
        self.entries.push_back(Proposed {
            at_ms: now_ms,
            entry: entry.clone(),
        });
        Ticket {
            entry: Some(entry),
            completions: self.completions.clone(),
            wake,
        }
    }

    /// The next entry that came back.
    pub(super) fn next_completion(&mut self) -> Option<Completion> {
        let Arrival { entry, result } = self.completions.borrow_mut().pop_front()?;
        self.entries
            .retain(|proposed| !Rc::ptr_eq(&proposed.entry, &entry));
        let entry = entry.take();
        Some(Completion { entry, result })
    }

    /// Those who have waited since before `before_ms` for an entry that has not come back, with the
    /// queues of their commands.
    pub(super) fn take_waiting_since(&mut self, before_ms: u64) -> Vec<Asker> {
        let late = self
            .entries
            .iter()
            .take_while(|proposed| proposed.at_ms < before_ms);
        late.flat_map(|proposed| std::mem::take(&mut proposed.entry.borrow_mut().askers))
            .collect()
    }
}

/// Brings an entry back to the driver, whether openraft answers or drops it.
pub(super) struct Ticket {
    entry: Option<Rc<RefCell<Askers>>>,
    completions: Rc<RefCell<VecDeque<Arrival>>>,
    wake: Rc<Notify>,
}

impl Ticket {
    pub(super) fn complete(mut self, result: WriteResult) {
        self.give_back(Some(result));
    }

    fn give_back(&mut self, result: Option<WriteResult>) {
        if let Some(entry) = self.entry.take() {
            let arrival = Arrival { entry, result };
            self.completions.borrow_mut().push_back(arrival);
            self.wake.notify_one();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_back(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Askers {
        Askers {
            askers: vec![Asker::Nobody],
            queues: vec![None],
            expected: Vec::new(),
            durability: Durability::Sync,
        }
    }

    #[test]
    fn a_dropped_entry_comes_back() {
        let mut in_flight = InFlight::default();
        drop(in_flight.begin(entry(), 0, Rc::default()));
        assert_eq!(in_flight.count(), 0);
        let completion = in_flight.next_completion().unwrap();
        assert!(completion.result.is_none());
        assert_eq!(completion.entry.askers.len(), 1);
        assert!(in_flight.next_completion().is_none() && in_flight.is_empty());
    }

    #[test]
    fn who_waited_too_long_is_taken_out_once() {
        let mut in_flight = InFlight::default();
        let first = in_flight.begin(entry(), 10, Rc::default());
        let second = in_flight.begin(entry(), 20, Rc::default());
        assert_eq!(in_flight.take_waiting_since(15).len(), 1);
        assert_eq!(in_flight.take_waiting_since(15).len(), 0);
        drop(first);
        let completion = in_flight.next_completion().unwrap();
        assert!(completion.entry.askers.is_empty());
        assert_eq!(completion.entry.queues.len(), 1);
        assert_eq!(in_flight.count(), 1);
        drop(second);
        assert_eq!(in_flight.next_completion().unwrap().entry.askers.len(), 1);
    }
}
