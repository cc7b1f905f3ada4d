//! Watches the terms of all sets: whenever one rises, leadership changed, whether a fault was meant
//! to do that or not.
//!
//! What was under way at a change of leadership may be unknown to its caller, so the time between
//! the last look before it and the first look after it counts as disturbed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::history::History;
use super::metrics;

const METRIC: &str = "sampan_set_term";
const PAUSE: Duration = Duration::from_millis(200);

/// A watch that goes on until it is ended.
pub(crate) struct TermWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Change>>,
}

/// Leadership of a set changed somewhere between two moments of the history, in microseconds.
pub(crate) struct Change {
    pub(crate) from_us: u64,
    pub(crate) until_us: u64,
}

impl TermWatch {
    /// Watches the nodes whose HTTP endpoints are given.
    pub(crate) fn start(nodes: Vec<SocketAddr>, history: Arc<History>) -> TermWatch {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut terms = BTreeMap::new();
            let mut changes = Vec::new();
            let mut looked_at_us = 0;
            while !ended.load(Ordering::Relaxed) {
                let began_us = history.now_us();
                for node in &nodes {
                    // One that is killed or paused tells nothing; the others do.
                    let seen = metrics::by_labels(*node, METRIC).unwrap_or_default();
                    let rises = take_in(&mut terms, seen);
                    changes.extend((0..rises).map(|_| Change {
                        from_us: looked_at_us,
                        until_us: history.now_us(),
                    }));
                }
                looked_at_us = began_us;
                // A sample every so often, until it is told to end: it waits for nothing.
                std::thread::sleep(PAUSE);
            }
            changes
        });
        TermWatch { stop, thread }
    }

    /// Every change that was seen.
    pub(crate) fn end(self) -> Vec<Change> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic")
    }
}

/// How many sets have a higher term than was known.
fn take_in(terms: &mut BTreeMap<String, u64>, seen: BTreeMap<String, u64>) -> usize {
    let mut rises = 0;
    for (set, term) in seen {
        let known = terms.get(&set).copied();
        if known.is_some_and(|known| known < term) {
            rises += 1;
        }
        terms.insert(set, term.max(known.unwrap_or(0)));
    }
    rises
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_that_rises_is_one_change_and_one_that_lags_is_none() {
        let mut terms = BTreeMap::new();
        let seen = |term: u64| BTreeMap::from([("set=\"1\"".to_owned(), term)]);
        assert_eq!(take_in(&mut terms, seen(3)), 0);
        assert_eq!(take_in(&mut terms, seen(5)), 1);
        assert_eq!(take_in(&mut terms, seen(4)), 0);
        assert_eq!(take_in(&mut terms, seen(5)), 0);
        assert_eq!(take_in(&mut terms, seen(6)), 1);
    }
}
