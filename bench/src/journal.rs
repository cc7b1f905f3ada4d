//! What paced senders write down: how long each send took and when one was confirmed last.
//!
//! It is kept by **phases** (before a fault, during it, after it): whoever disturbs the nodes takes
//! what was recorded so far and begins a new phase.
//!
//! A phase's longest gap counts from the last confirmation before the phase to the first in it,
//! and from its last one to its end: a gap is never cut by where a phase begins or ends.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sampan_client::Error;

use crate::meter::{Latencies, Quantiles};

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Journal(Mutex<State>);

#[derive(Debug)]
struct State {
    phase: Phase,
    confirmed_at: Instant,
    /// Absent: nobody wants each of them.
    sends: Option<Vec<Send>>,
}

/// One confirmed send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Send {
    pub(crate) due_at: Instant,
    pub(crate) took: Duration,
}

/// What happened in a phase.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    latencies: Latencies,
    pub(crate) longest_gap: Duration,
    pub(crate) confirmed_count: u64,
    pub(crate) error_count: u64,
    /// The first one.
    pub(crate) error: Option<Error>,
}

impl Phase {
    fn new() -> Self {
        Phase {
            latencies: Latencies::new(),
            longest_gap: Duration::ZERO,
            confirmed_count: 0,
            error_count: 0,
            error: None,
        }
    }

    /// How long sends took, from when they were due.
    pub(crate) fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// The same, in short.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        self.latencies.quantiles()
    }

    /// This phase and one that followed it.
    pub(crate) fn and(mut self, next: &Phase) -> Self {
        self.latencies.merge(&next.latencies);
        self.longest_gap = self.longest_gap.max(next.longest_gap);
        self.confirmed_count += next.confirmed_count;
        self.error_count += next.error_count;
        self.error = self.error.or_else(|| next.error.clone());
        self
    }
}

impl Journal {
    pub(crate) fn new() -> Self {
        Journal(Mutex::new(State {
            phase: Phase::new(),
            confirmed_at: Instant::now(),
            sends: None,
        }))
    }

    /// Keeps each confirmed send from now on, until they are taken.
    pub(crate) fn keep_sends(&self) {
        self.state().sends = Some(Vec::new());
    }

    /// What was kept.
    pub(crate) fn take_sends(&self) -> Vec<Send> {
        self.state().sends.take().unwrap_or_default()
    }

    /// Sends that were due at these moments were confirmed.
    pub(crate) fn confirmed(&self, due_at: &[Instant], now: Instant) {
        let mut state = self.state();
        for due_at in due_at {
            let latency = now.saturating_duration_since(*due_at);
            state.phase.latencies.record(latency);
            state.phase.confirmed_count += 1;
            if let Some(sends) = &mut state.sends {
                sends.push(Send {
                    due_at: *due_at,
                    took: latency,
                });
            }
        }
        state.close_gap(now);
        state.confirmed_at = now;
    }

    /// A send failed.
    pub(crate) fn failed(&self, error: Error) {
        let mut state = self.state();
        state.phase.error_count += 1;
        state.phase.error.get_or_insert(error);
    }

    /// Sends confirmed in this phase so far.
    pub(crate) fn confirmed_count(&self) -> u64 {
        self.state().phase.confirmed_count
    }

    /// Ends a phase, and begins the next.
    pub(crate) fn turn(&self) -> Phase {
        let mut state = self.state();
        state.close_gap(Instant::now());
        std::mem::replace(&mut state.phase, Phase::new())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while recording")
    }
}

impl State {
    fn close_gap(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.confirmed_at);
        self.phase.longest_gap = self.phase.longest_gap.max(gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_gap_is_not_cut_where_a_phase_begins() {
        let journal = Journal::new();
        let now = Instant::now() + SECOND;
        journal.confirmed(&[now], now);
        drop(journal.turn());
        journal.confirmed(&[now], now + 3 * SECOND);
        journal.confirmed(&[now], now + 4 * SECOND);
        let phase = journal.turn();
        assert_eq!(phase.longest_gap, 3 * SECOND);
        assert_eq!((phase.confirmed_count, phase.error_count), (2, 0));
    }

    #[test]
    fn phases_have_latencies_of_their_own_and_can_be_put_together() {
        let journal = Journal::new();
        let now = Instant::now();
        journal.confirmed(&[now], now + SECOND);
        let first = journal.turn();
        journal.confirmed(&[now, now], now + 2 * SECOND);
        journal.failed(Error::Closed {
            applied: sampan_client::Applied::No,
        });
        let second = journal.turn();
        let p50 = |phase: &Phase| phase.quantiles().expect("recorded").p50;
        assert!(p50(&first) < 1_100_000 && p50(&second) > 1_900_000);
        let both = first.and(&second);
        assert_eq!((both.confirmed_count, both.error_count), (3, 1));
        assert_eq!(journal.take_sends(), []);
        journal.keep_sends();
        journal.confirmed(&[now], now + SECOND);
        let send = Send {
            due_at: now,
            took: SECOND,
        };
        assert_eq!(journal.take_sends(), [send]);
        assert!(p50(&both) > 1_900_000 && both.error.is_some());
    }
}
