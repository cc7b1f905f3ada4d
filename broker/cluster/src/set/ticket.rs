//! An entry on its way through consensus, with those who wait for its replies.
//!
//! Invariant: the askers of a proposed entry come back to the driver exactly once, whether openraft
//! answers, refuses, or drops the entry: nobody waits for an answer that will not come.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use sampan_protocol::QueueId;
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
pub(super) struct Askers {
    pub(super) askers: Vec<Asker>,
    /// The queue of each command.
    pub(super) queues: Vec<Option<QueueId>>,
    pub(super) expected: Vec<(QueueId, Expected)>,
}

/// Brings an entry's askers back to the driver, whether openraft answers or drops it.
pub(super) struct Ticket {
    entry: Option<Askers>,
    completions: Rc<RefCell<VecDeque<Completion>>>,
    wake: Rc<Notify>,
}

impl Ticket {
    pub(super) fn new(
        entry: Askers,
        completions: Rc<RefCell<VecDeque<Completion>>>,
        wake: Rc<Notify>,
    ) -> Self {
        Ticket {
            entry: Some(entry),
            completions,
            wake,
        }
    }

    pub(super) fn complete(mut self, result: WriteResult) {
        self.give_back(Some(result));
    }

    fn give_back(&mut self, result: Option<WriteResult>) {
        if let Some(entry) = self.entry.take() {
            self.completions
                .borrow_mut()
                .push_back(Completion { entry, result });
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

    #[test]
    fn askers_of_a_dropped_entry_come_back() {
        let completions = Rc::<RefCell<VecDeque<Completion>>>::default();
        let (askers, queues) = (vec![Asker::Nobody], vec![None]);
        let entry = Askers {
            askers,
            queues,
            expected: Vec::new(),
        };
        drop(Ticket::new(entry, completions.clone(), Rc::default()));
        let completion = completions.borrow_mut().pop_front().unwrap();
        assert!(completion.result.is_none());
        assert_eq!(completion.entry.askers.len(), 1);
        assert!(completions.borrow().is_empty());
    }
}
