//! How long a connection waits for sets that have no room for requests.
//!
//! A set takes requests in as fast as it can propose them, so a short wait is the usual way to slow
//! a fast client. A set that takes nothing for longer must not keep the connection from its other
//! requests: they are for other sets, or ask whether the broker is there.
//!
//! Invariant: a connection waits for one set at most [`FULL_WAIT_MAX`] from one request that the
//! set took to the next, however many it refuses in between.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::poll;
use sampan_cluster::Refused;
use sampan_protocol::{ErrorCode, SetId};
use tokio::time::{Instant, timeout_at};

/// How long a set may take nothing before requests for it are refused. Less than the time that a
/// client gives the broker to answer a ping.
const FULL_WAIT_MAX: Duration = Duration::from_secs(1);
/// Advice to a client whose request found no room, in milliseconds.
const FULL_RETRY_MS: u32 = 100;

/// See the module's documentation.
#[derive(Clone, Default)]
pub(super) struct Patience {
    /// Sets that had no room for the last request, and since when.
    full: BTreeMap<SetId, Instant>,
}

impl Patience {
    /// Waits until a set takes a request.
    ///
    /// # Errors
    ///
    /// Those of `handed_over`; `no leader` when the set has no room. It has not taken the request.
    pub(super) async fn within<F>(&mut self, set: SetId, handed_over: F) -> Result<(), Refused>
    where
        F: Future<Output = Result<(), Refused>>,
    {
        let mut handed_over = pin!(handed_over);
        // Nearly always there is room, and no need to look at the time.
        if let Poll::Ready(taken) = poll!(handed_over.as_mut()) {
            self.full.remove(&set);
            return taken;
        }
        let now = Instant::now();
        let since = self.full.get(&set).copied().unwrap_or(now);
        match timeout_at(since + FULL_WAIT_MAX, handed_over).await {
            Ok(taken) => {
                self.full.remove(&set);
                taken
            }
            Err(_) => {
                self.full.entry(set).or_insert(since);
                Err(Refused::retry_after(ErrorCode::NoLeader, FULL_RETRY_MS))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const SET: SetId = SetId(1);

    #[tokio::test]
    async fn requests_for_a_set_without_room_wait_a_second_together_and_are_refused() {
        let mut patience = Patience::default();
        let start = Instant::now();
        for _ in 0..1_000 {
            let refused = patience.within(SET, pending()).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::NoLeader);
            assert!(refused.retry_after_ms > 0);
        }
        assert!(start.elapsed() < 10 * FULL_WAIT_MAX);
    }

    #[tokio::test]
    async fn a_set_that_takes_requests_again_is_waited_for_again() {
        let mut patience = Patience::default();
        patience.within(SET, pending()).await.unwrap_err();
        patience.within(SET, ready(Ok(()))).await.unwrap();
        let start = Instant::now();
        patience.within(SET, pending()).await.unwrap_err();
        assert!(start.elapsed() >= FULL_WAIT_MAX);
    }
}
