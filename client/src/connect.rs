//! The first connection: to whichever of the given servers answers first.
//!
//! The servers are tried in the order given, the next when one fails, or does not answer within
//! [`HEAD_START`]. Trying all at once would put every client on the fastest node and leave
//! half-open connections on the others; one after the other would wait ten seconds for a node that
//! hangs.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::config::Config;
use crate::dial::{Dialed, dial};
use crate::error::Error;

/// How long a server may take before the next one is tried too.
const HEAD_START: Duration = Duration::from_millis(500);

/// Connects to one of the servers: its slot, and the connection.
///
/// # Errors
///
/// A refused account at once; else that of the server that failed last.
pub(crate) async fn connect(config: &Config) -> Result<(usize, Dialed), Error> {
    let config = Arc::new(config.clone());
    let mut attempts = JoinSet::new();
    let mut rest = config.servers.iter().cloned().enumerate();
    let mut next_at = Instant::now();
    let mut failed = Error::configuration("no server address");
    loop {
        if attempts.is_empty() || next_at <= Instant::now() {
            match rest.next() {
                Some((slot, address)) => {
                    let config = Arc::clone(&config);
                    attempts.spawn(async move { (slot, dial(&config, &address).await) });
                    next_at = Instant::now() + HEAD_START;
                }
                None if attempts.is_empty() => return Err(failed),
                None => next_at = Instant::now() + config.connect_timeout,
            }
        }
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok((slot, Ok(dialed))) => return Ok((slot, dialed)),
                Ok((_, Err(error))) if !error.retry() => return Err(error),
                Ok((_, Err(error))) => {
                    failed = error;
                    next_at = Instant::now();
                }
                Err(_) => next_at = Instant::now(),
            },
            () = sleep_until(next_at) => {}
        }
    }
}
