//! The time of a set, as its leader advances it.
//!
//! A broken wall clock must not expire anybody's messages. So a set's time starts, when leadership
//! is taken, at the later of its last stamp and the wall clock (with several voters: their median),
//! and while leading it advances by the monotonic clock, slewed towards the wall clock by at most
//! [`SLEW_DIVISOR`]: one part in ten. A wall clock that jumps moves a set's time by no jump at all.
//!
//! Time is passed in: this file reads no clock. Spec: spec/semantics.md, "Time".

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

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

/// The time of the cluster: this node's monotonic clock, and the median of all wall clocks.
///
/// One wall clock that is wrong, this node's too, moves nothing as long as two others agree. Of an
/// even number the lower middle counts: a time that is late delays what is due, one that is early
/// would expire what is not.
pub(crate) struct ClusterTime {
    own: Arc<dyn TimeSource>,
    /// The median wall clock less the monotonic clock; [`NO_MEDIAN`] before the first.
    ahead_ms: AtomicI64,
    /// How far this node's wall clock is from the median.
    distance_ms: AtomicU64,
    /// How many wall clocks the median is of.
    count: AtomicU64,
}

const NO_MEDIAN: i64 = i64::MIN;
/// So many wall clocks can outvote one that is wrong.
const CLOCK_COUNT_MIN: u64 = 3;

impl ClusterTime {
    pub(crate) fn new(own: Arc<dyn TimeSource>) -> Self {
        ClusterTime {
            own,
            ahead_ms: AtomicI64::new(NO_MEDIAN),
            distance_ms: AtomicU64::new(0),
            count: AtomicU64::new(0),
        }
    }

    /// Takes in what the peers' wall clocks say now.
    pub(crate) fn update(&self, peers: &[(u64, u64)]) {
        let reading = self.own.read();
        let mut walls: Vec<u64> = peers.iter().map(|(_, wall_ms)| *wall_ms).collect();
        walls.push(reading.wall_ms);
        walls.sort_unstable();
        let median = walls[(walls.len() - 1) / 2];
        self.ahead_ms.store(
            signed(median) - signed(reading.monotonic_ms),
            Ordering::Release,
        );
        self.distance_ms
            .store(median.abs_diff(reading.wall_ms), Ordering::Release);
        self.count.store(walls.len() as u64, Ordering::Release);
    }

    /// How far this node's wall clock is ahead of the median.
    pub(crate) fn own_offset_ms(&self) -> i64 {
        let own = self.own.read();
        signed(own.wall_ms) - signed(self.read().wall_ms)
    }

    /// How far this node's wall clock is from the median, when enough others are known to say so.
    pub(crate) fn distance_ms(&self) -> Option<u64> {
        let is_enough = self.count.load(Ordering::Acquire) >= CLOCK_COUNT_MIN;
        is_enough.then(|| self.distance_ms.load(Ordering::Acquire))
    }
}

impl TimeSource for ClusterTime {
    fn read(&self) -> Reading {
        let own = self.own.read();
        match self.ahead_ms.load(Ordering::Acquire) {
            NO_MEDIAN => own,
            ahead_ms => Reading {
                wall_ms: u64::try_from(signed(own.monotonic_ms) + ahead_ms).unwrap_or(0),
                ..own
            },
        }
    }
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX / 4)
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

    struct Fixed(Reading);

    impl TimeSource for Fixed {
        fn read(&self) -> Reading {
            self.0
        }
    }

    #[test]
    fn one_wrong_wall_clock_is_outvoted() {
        for own_wall in [0, 5_000, 90_000_000] {
            let time = ClusterTime::new(Arc::new(Fixed(at(50, own_wall))));
            assert_eq!(time.read().wall_ms, own_wall);
            time.update(&[(2, 5_000), (3, 5_010)]);
            let median = time.read().wall_ms;
            assert!((5_000..=5_010).contains(&median), "{median}");
            assert_eq!(time.distance_ms(), Some(median.abs_diff(own_wall)));
        }
    }

    #[test]
    fn of_two_wall_clocks_the_earlier_counts_and_none_is_called_wrong() {
        let time = ClusterTime::new(Arc::new(Fixed(at(50, 9_000))));
        time.update(&[(2, 5_000)]);
        assert_eq!(time.read().wall_ms, 5_000);
        assert_eq!(time.distance_ms(), None);
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
