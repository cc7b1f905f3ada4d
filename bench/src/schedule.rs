//! When sends at a fixed rate are due, however long those before them take.
//!
//! A latency counts from when its send was due, not from when it was begun: a sender that is held
//! up begins late, and the sends that it held back would otherwise look fast (coordinated
//! omission). Time comes in with each call.

use std::time::Duration;

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Sends a second.
    rate: f64,
    taken: u64,
}

impl Schedule {
    /// The first send is due at the beginning.
    pub(crate) fn new(rate: f64) -> Self {
        Schedule { rate, taken: 0 }
    }

    /// Takes the next send out, if it is due this long after the beginning; returns how long after
    /// the beginning it was.
    pub(crate) fn take(&mut self, elapsed: Duration) -> Option<Duration> {
        // Counts are far below 2^52, where f64 is exact.
        let due = Duration::from_secs_f64(self.taken as f64 / self.rate);
        if due > elapsed {
            return None;
        }
        self.taken += 1;
        Some(due)
    }

    /// How many sends were taken out.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{Latencies, Quantiles};

    const MS: Duration = Duration::from_millis(1);

    /// What a sender measures that sends 1,000 messages at 1,000 a second to a broker that confirms
    /// each after a millisecond, but stands still from 500 ms to 900 ms; and, second, what it would
    /// measure if it looked at the clock when it begins to send. A clock that only this moves.
    fn with_a_pause() -> (Quantiles, Quantiles) {
        let mut schedule = Schedule::new(1_000.0);
        let (mut due, mut begun) = (Latencies::new(), Latencies::new());
        let mut now = Duration::ZERO;
        while schedule.taken() < 1_000 {
            let Some(due_at) = schedule.take(now) else {
                now += MS / 10;
                continue;
            };
            let began_at = now;
            now += MS / 2;
            if (500 * MS..900 * MS).contains(&now) {
                now = 900 * MS;
            }
            due.record(now - due_at);
            begun.record(now - began_at);
        }
        let quantiles = |latencies: Latencies| latencies.quantiles().expect("recorded");
        (quantiles(due), quantiles(begun))
    }

    #[test]
    fn a_pause_counts_for_every_send_that_it_holds_up() {
        let (due, begun) = with_a_pause();
        // One send saw the pause; 400 were due in it, and as many while these were made up for.
        assert_eq!((begun.p50, begun.p99, begun.p999), (500, 500, 500));
        assert!(begun.max > 390_000, "{begun:?}");
        assert!(due.p90 > 250_000, "{due:?}");
        assert!(due.p99 > 390_000 && due.max > 390_000, "{due:?}");
    }

    #[test]
    fn sends_are_due_at_once_and_then_evenly() {
        let mut schedule = Schedule::new(4.0);
        let at = Duration::from_millis;
        assert_eq!(schedule.take(at(0)), Some(at(0)));
        assert_eq!(schedule.take(at(249)), None);
        assert_eq!(schedule.take(at(250)), Some(at(250)));
        // Whoever comes late gets all that is due, and hears when it was.
        assert_eq!(schedule.take(at(2_000)), Some(at(500)));
        assert_eq!(schedule.take(at(2_000)), Some(at(750)));
        assert_eq!(schedule.taken(), 4);
    }
}
