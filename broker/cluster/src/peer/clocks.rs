//! What the peers' wall clocks say, as of the last time each was heard.
//!
//! A pulse's time is taken as of its receipt: the way is short against the half second at which a
//! clock counts as wrong.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::limits::{CLOCK_AGE_MAX_MS, LINK_COUNT_MAX};

/// See the head of the file. Shared by all threads; held for a moment only.
#[derive(Debug, Default)]
pub(crate) struct PeerClocks {
    heard: Mutex<BTreeMap<u64, Heard>>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    wall_ms: u64,
    at_monotonic_ms: u64,
}

impl PeerClocks {
    /// `node` said that it is `wall_ms`, at this node's `monotonic_ms`.
    pub(crate) fn note(&self, node: u64, wall_ms: u64, monotonic_ms: u64) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= LINK_COUNT_MAX && !heard.contains_key(&node) {
            heard.retain(|_, one| is_recent(one, monotonic_ms));
        }
        if heard.len() < LINK_COUNT_MAX || heard.contains_key(&node) {
            let at_monotonic_ms = monotonic_ms;
            heard.insert(
                node,
                Heard {
                    wall_ms,
                    at_monotonic_ms,
                },
            );
        }
    }

    /// What each peer's wall clock says now, but for those not heard for [`CLOCK_AGE_MAX_MS`].
    pub(crate) fn estimates(&self, now_monotonic_ms: u64) -> Vec<(u64, u64)> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = heard
            .iter()
            .filter(|(_, one)| is_recent(one, now_monotonic_ms));
        recent
            .map(|(node, one)| {
                let age = now_monotonic_ms.saturating_sub(one.at_monotonic_ms);
                (*node, one.wall_ms.saturating_add(age))
            })
            .collect()
    }
}

fn is_recent(heard: &Heard, now_monotonic_ms: u64) -> bool {
    now_monotonic_ms.saturating_sub(heard.at_monotonic_ms) <= CLOCK_AGE_MAX_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_carried_on_by_the_time_since_it_was_heard() {
        let clocks = PeerClocks::default();
        clocks.note(2, 1_000_000, 50);
        clocks.note(3, 7, 1_050);
        assert_eq!(clocks.estimates(1_050), [(2, 1_001_000), (3, 7)]);
    }

    #[test]
    fn a_clock_that_was_not_heard_for_five_seconds_is_left_out() {
        let clocks = PeerClocks::default();
        clocks.note(2, 1_000_000, 0);
        assert_eq!(clocks.estimates(5_000).len(), 1);
        assert!(clocks.estimates(5_001).is_empty());
    }

    #[test]
    fn no_more_clocks_are_kept_than_there_may_be_links() {
        let clocks = PeerClocks::default();
        (0..LINK_COUNT_MAX as u64 + 9).for_each(|node| clocks.note(node, 1, 0));
        assert_eq!(clocks.estimates(0).len(), LINK_COUNT_MAX);
        clocks.note(9_999, 1, 6_000);
        assert_eq!(clocks.estimates(6_000), [(9_999, 1)]);
    }
}
