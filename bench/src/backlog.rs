//! The bound on messages that were sent and whose delete is not confirmed yet.
//!
//! It makes `pipeline` a steady state: without it, senders would run ahead of receivers, the
//! broker would measure as fast at sending as it is slow at receiving, and end-to-end latencies
//! would be those of an ever longer queue.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Backlog {
    count: AtomicU64,
    /// Raised to the largest number when the run ends.
    count_max: AtomicU64,
    left: Notify,
}

impl Backlog {
    pub(crate) fn new(count_max: u64) -> Self {
        Backlog {
            count: AtomicU64::new(0),
            count_max: AtomicU64::new(count_max),
            left: Notify::new(),
        }
    }

    /// A backlog without a bound that holds `count` messages already.
    pub(crate) fn holding(count: u64) -> Self {
        let backlog = Backlog::new(u64::MAX);
        backlog.count.store(count, Ordering::Relaxed);
        backlog
    }

    /// Takes a message in when there is room.
    pub(crate) fn enter(&self) -> bool {
        let count_max = self.count_max();
        let raise = |count: u64| (count < count_max).then_some(count + 1);
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise)
            .is_ok()
    }

    /// Lets `count` messages out.
    pub(crate) fn leave(&self, count: u64) {
        if self.count.fetch_sub(count, Ordering::Relaxed) >= self.count_max() {
            self.left.notify_waiters();
        }
    }

    /// Waits until there is room.
    pub(crate) async fn room(&self) {
        loop {
            let left = self.left.notified();
            if self.count.load(Ordering::Relaxed) < self.count_max() {
                return;
            }
            left.await;
        }
    }

    /// Lets everybody in from now on, because the run ends.
    pub(crate) fn open(&self) {
        self.count_max.store(u64::MAX, Ordering::Relaxed);
        self.left.notify_waiters();
    }

    fn count_max(&self) -> u64 {
        self.count_max.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_bound_get_in() {
        let backlog = Backlog::new(2);
        assert!(backlog.enter() && backlog.enter());
        assert!(!backlog.enter());
        backlog.leave(1);
        assert!(backlog.enter() && !backlog.enter());
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_when_one_leaves() {
        let backlog = Backlog::new(1);
        assert!(backlog.enter());
        tokio::join!(backlog.room(), async { backlog.leave(1) });
        assert!(backlog.enter());
        tokio::join!(backlog.room(), async { backlog.open() });
    }
}
