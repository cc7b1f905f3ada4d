//! How fast old entries go to a peer that is behind.
//!
//! Sent as fast as they can be read, the entries of a few minutes take all of a small machine for
//! seconds, and sends that are made meanwhile wait. So they keep to a [`Pace`], which the node's
//! streams share; but a stream is always allowed twice as many entries as its set commits, so that
//! the peer gets nearer however much is sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::pace::Pace;

/// Entries that are further behind what is committed are old. The newest are never held back.
const OLD_DISTANCE_MIN: u64 = 64;
/// How long commits are counted before their rate is taken for true.
const COUNTED_FOR: Duration = Duration::from_secs(1);

/// One stream's share.
pub(super) struct CatchUp {
    pace: Arc<Pace>,
    /// Since when commits are counted, and what was committed then.
    counted_from: Option<(Instant, u64)>,
    commits_per_s: f64,
}

impl CatchUp {
    pub(super) fn new(pace: Arc<Pace>) -> Self {
        CatchUp {
            pace,
            counted_from: None,
            commits_per_s: 0.0,
        }
    }

    /// Until when the next request waits, after one with `count` entries of `len` bytes that ended
    /// with the entry `last` while `committed` was committed; `None`: it does not wait.
    pub(super) fn pause(
        &mut self,
        now: Instant,
        (count, len): (usize, usize),
        last: u64,
        committed: u64,
    ) -> Option<Instant> {
        self.count_commits(now, committed);
        if last.saturating_add(OLD_DISTANCE_MIN) > committed {
            return None;
        }
        let end = self.pace.end_at(now, len);
        if self.commits_per_s <= 0.0 {
            return Some(end);
        }
        let share = Duration::try_from_secs_f64(count as f64 / (2.0 * self.commits_per_s));
        Some(end.min(now + share.unwrap_or(Duration::MAX)))
    }

    fn count_commits(&mut self, now: Instant, committed: u64) {
        let (since, before) = *self.counted_from.get_or_insert((now, committed));
        let elapsed = now - since;
        if elapsed >= COUNTED_FOR {
            self.commits_per_s = committed.saturating_sub(before) as f64 / elapsed.as_secs_f64();
            self.counted_from = Some((now, committed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn catch_up() -> (CatchUp, Instant) {
        let pace = Arc::new(Pace::new(MIB as u64));
        (CatchUp::new(pace), Instant::now())
    }

    #[test]
    fn new_entries_never_wait_and_old_ones_keep_to_the_pace() {
        let (mut catch_up, now) = catch_up();
        assert_eq!(catch_up.pause(now, (10, MIB), 990, 1_000), None);
        let until = catch_up.pause(now, (10, MIB), 500, 1_000);
        assert_eq!(until, Some(now + Duration::from_secs(1)));
        let until = catch_up.pause(now, (10, MIB), 510, 1_000);
        assert_eq!(until, Some(now + Duration::from_secs(2)));
    }

    #[test]
    fn a_stream_may_send_twice_as_many_entries_as_are_committed() {
        let (mut catch_up, mut now) = catch_up();
        catch_up.pause(now, (1, 0), 1, 1_000);
        now += Duration::from_secs(2);
        // 100 entries a second are committed, so 10 old ones may take 50 ms.
        let until = catch_up.pause(now, (10, 60 * MIB), 500, 1_200);
        assert_eq!(until, Some(now + Duration::from_millis(50)));
    }
}
