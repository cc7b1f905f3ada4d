//! What earlier rounds on the same cluster leave for the later ones.

use std::collections::BTreeSet;

use super::super::history::{Event, Kind, Outcome};

/// The cluster was found empty after each of the rounds, so what they received is gone for good.
#[derive(Default)]
pub(crate) struct Past {
    /// Ids that were received, by queue.
    gone: BTreeSet<(u16, u64)>,
    /// Numbers of sends that may still be carried out, or may have been and were not seen.
    open: BTreeSet<u64>,
}

impl Past {
    /// Adds a round.
    pub(crate) fn add(&mut self, events: &[Event]) {
        for event in events {
            match (event.kind, event.outcome) {
                (Kind::Send, Outcome::Unknown) => drop(self.open.insert(event.number)),
                (Kind::Receive, Outcome::Done) => {
                    self.gone.insert((event.queue, event.message));
                }
                _ => {}
            }
        }
        for event in events.iter().filter(|event| event.is_done(Kind::Receive)) {
            self.open.remove(&event.number);
        }
    }

    /// Whether a message that this round did not send may come.
    pub(super) fn may_come(&self, number: u64) -> bool {
        self.open.contains(&number)
    }

    /// Whether a message was received and deleted before.
    pub(super) fn is_gone(&self, queue: u16, message: u64) -> bool {
        self.gone.contains(&(queue, message))
    }
}
