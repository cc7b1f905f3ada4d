//! The time of a set, as its leader advances it.
//!
//! A broken wall clock must not expire anybody's messages. So a set's time starts, when leadership
//! is taken, at the later of its last stamp and the wall clock (with several voters: their median),
//! and while leading it advances by the monotonic clock, slewed towards the wall clock by at most
//! [`SLEW_DIVISOR`]: one part in ten. A wall clock that jumps moves a set's time by no jump at all.
//!
//! Time is passed in: this file reads no clock. Spec: spec/semantics.md, "Time".

use sampan_protocol::Timestamp;

/// Time is slewed by at most one part in this many.
const SLEW_DIVISOR: u64 = 10;

/// One reading of a node's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Milliseconds on a clock that never goes back and that nobody sets.
    pub monotonic_ms: u64,
    /// Milliseconds since the Unix epoch, by the wall clock.
    pub wall_ms: u64,
}

/// Where clock readings come from: the machine, or a test.
pub trait TimeSource: Send + Sync {
    /// What the clocks say now.
    fn read(&self) -> Reading;
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemTime {
    start: std::time::Instant,
}

impl Default for SystemTime {
    fn default() -> Self {
        SystemTime {
            start: std::time::Instant::now(),
        }
    }
}

impl TimeSource for SystemTime {
    fn read(&self) -> Reading {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis =
            |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Reading {
            monotonic_ms: millis(self.start.elapsed()),
            wall_ms: wall.map_or(0, millis),
        }
    }
}

/// The clock of one set at its leader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetClock {
    now_ms: u64,
    last: Reading,
}

impl SetClock {
    /// A clock for a leadership that begins now.
    pub(crate) fn start(last_stamp: Timestamp, reading: Reading) -> Self {
        SetClock {
            now_ms: last_stamp.0.max(reading.wall_ms),
            last: reading,
        }
    }

    /// The set's time at `reading`. Never goes back.
    pub(crate) fn now(&mut self, reading: Reading) -> Timestamp {
        let elapsed = reading.monotonic_ms.saturating_sub(self.last.monotonic_ms);
        let target = self.now_ms + elapsed;
        let slew_max = elapsed / SLEW_DIVISOR;
        self.now_ms = reading.wall_ms.clamp(target - slew_max, target + slew_max);
        // A fraction of the slew would be lost at each of many short steps, so the reading moves on
        // only when there was room for some.
        if slew_max > 0 || self.now_ms == reading.wall_ms {
            self.last = reading;
        } else {
            self.now_ms = target - elapsed;
            return Timestamp(target);
        }
        Timestamp(self.now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64, wall_ms: u64) -> Reading {
        Reading {
            monotonic_ms,
            wall_ms,
        }
    }

    #[test]
    fn time_starts_at_the_later_of_last_stamp_and_wall_clock() {
        assert_eq!(
            SetClock::start(Timestamp(5_000), at(0, 9_000))
                .now(at(0, 9_000))
                .0,
            9_000
        );
        let mut clock = SetClock::start(Timestamp(90_000), at(0, 9_000));
        assert_eq!(clock.now(at(0, 9_000)).0, 90_000);
    }

    #[test]
    fn a_wall_clock_that_jumps_does_not_make_time_jump() {
        for jump in [3_600_000u64, 30 * 86_400_000] {
            let start = 100 * 86_400_000;
            for wall in [start + jump, start - jump] {
                let mut clock = SetClock::start(Timestamp(0), at(0, start));
                let now = clock.now(at(1_000, wall)).0 - start;
                assert!(
                    (900..=1_100).contains(&now),
                    "{now} ms after 1 s, jump {jump}"
                );
            }
        }
    }

    #[test]
    fn time_never_goes_back_and_never_stands_still() {
        let mut clock = SetClock::start(Timestamp(1_000_000), at(0, 1_000));
        let mut last = clock.now(at(0, 1_000)).0;
        for step in 1..10_000u64 {
            let now = clock.now(at(step, 1_000 + step)).0;
            assert!(now >= last, "back from {last} to {now}");
            last = now;
        }
        let advanced = last - 1_000_000;
        assert!(
            (8_900..=10_000).contains(&advanced),
            "{advanced} ms in 10 s"
        );
    }

    #[test]
    fn time_comes_back_to_the_wall_clock_by_a_tenth_of_what_passes() {
        let mut clock = SetClock::start(Timestamp(0), at(0, 10_000));
        // The wall clock is now one second ahead of where it was.
        let mut now = 0;
        for step in 1..=200u64 {
            now = clock.now(at(step * 100, 11_000 + step * 100)).0;
        }
        assert_eq!(now, 11_000 + 20_000);
    }
}
