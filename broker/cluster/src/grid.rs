//! A common rhythm for what a node does again and again.
//!
//! A node with many idle sets would wake for each timer of each of them. Timers that wait for the
//! lines of one grid fall together: the node wakes once for all, and what they send to a peer
//! leaves in one write.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Between two lines. Longer saves more and delays more: an election by half of it on average.
const GRID: Duration = Duration::from_millis(40);
/// The first line.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The first line at or after `deadline`.
pub(crate) fn at_or_after(deadline: Instant) -> Instant {
    line(deadline, *ORIGIN)
}

/// When a wait of `sleep` is over: on a line when it is as long as what nobody waits for.
pub(crate) fn end_of(sleep: Duration, idle: Duration) -> Instant {
    let end = Instant::now() + sleep;
    match sleep < idle {
        true => end,
        false => at_or_after(end),
    }
}

/// Ticks on lines: the next one, and then every `period`, which is some steps of the grid.
pub(crate) fn interval(period: Duration) -> Interval {
    let mut ticks = interval_at(at_or_after(Instant::now()), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

fn line(deadline: Instant, origin: Instant) -> Instant {
    let grid = GRID.as_nanos();
    let since = deadline.saturating_duration_since(origin).as_nanos();
    let missing = since.next_multiple_of(grid) - since;
    // Less than the grid, which is less than a second.
    deadline + Duration::from_nanos(missing as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_within_one_step_fall_together_and_none_comes_early() {
        let origin = Instant::now();
        let at = |ms| origin + Duration::from_millis(ms);
        for ms in 41..=80 {
            assert_eq!(line(at(ms), origin), at(80), "{ms} ms");
        }
        assert_eq!(line(at(81), origin), at(120));
        assert_eq!(line(origin, origin), origin);
    }
}
