//! The task behind a client: runs its connection, and gets it another one when that breaks.
//!
//! While there is no connection, callers go on as before within the gates' limits; their requests
//! wait, and time out as they would with one. When the attempts are used up, everything that waits
//! fails, and the next call starts a new series: a client is not lost because its broker was away
//! for a night.
//!
//! Invariant: however the task ends, `Shared::finish` is called, so that nobody waits for ever.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backoff;
use crate::connection::{Connection, End};
use crate::dial::{Dialed, dial};
use crate::error::Error;
use crate::shared::Shared;
use crate::state::Phase;
use crate::timing::sweep_interval;

/// Longest time until a client that closes without a connection notices that it has.
const HOUSEKEEPING_INTERVAL_MAX: Duration = Duration::from_millis(100);

/// Runs until the client is closed.
pub(crate) async fn run(shared: Arc<Shared>, first: Dialed) {
    let _finish = FinishOnDrop(Arc::clone(&shared));
    let mut dialed = first;
    loop {
        let mut connection = Connection::new(Arc::clone(&shared), dialed);
        match poll_fn(|cx| connection.poll(cx)).await {
            End::Finished => return connection.shut_down().await,
            End::Broken(reason) => connection.settle(&reason),
        }
        drop(connection);
        dialed = tokio::select! {
            dialed = redial(&shared) => match dialed {
                Some(dialed) => dialed,
                None => return,
            },
            () = keep_house(&shared) => return,
        };
    }
}

struct FinishOnDrop(Arc<Shared>);

impl Drop for FinishOnDrop {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Connects again. `None` when the client is closed and has nothing left to say.
async fn redial(shared: &Arc<Shared>) -> Option<Dialed> {
    loop {
        match redial_series(shared).await {
            Ok(dialed) => return Some(dialed),
            Err(error) => shared.fail_waiting(|applied| error.clone().with_applied(applied)),
        }
        if !demand(shared).await {
            return None;
        }
    }
}

/// Attempts until one succeeds, or the limits are reached, or there is no point in another.
async fn redial_series(shared: &Arc<Shared>) -> Result<Dialed, Error> {
    let config = &shared.config;
    let started_at = Instant::now();
    let mut attempt = 0;
    loop {
        sleep(backoff::delay(attempt)).await;
        let error = match dial(config).await {
            Ok(dialed) => return Ok(dialed),
            Err(error) => error,
        };
        attempt += 1;
        let used_up = attempt >= config.reconnect_attempts_max
            || started_at.elapsed() >= config.reconnect_deadline;
        if used_up || !error.retry() {
            return Err(error);
        }
    }
}

/// Waits until somebody wants something; false when the client was closed instead.
async fn demand(shared: &Arc<Shared>) -> bool {
    poll_fn(|cx| {
        let mut state = shared.lock();
        if state.has_work() {
            return Poll::Ready(true);
        }
        if state.phase != Phase::Open {
            return Poll::Ready(false);
        }
        state.sleep(cx.waker());
        Poll::Pending
    })
    .await
}

/// Times requests out while there is no connection; returns when the client is closed and nobody
/// waits for anything.
async fn keep_house(shared: &Arc<Shared>) {
    let interval = sweep_interval(&shared.config).min(HOUSEKEEPING_INTERVAL_MAX);
    loop {
        {
            let state = shared.lock();
            if state.phase != Phase::Open && state.is_unawaited() {
                return;
            }
        }
        sleep(interval).await;
        shared.fail_expired(Instant::now());
    }
}
