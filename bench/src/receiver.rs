//! A connection's receiving side: receives up to 256 messages at a time and deletes them; the
//! deletes travel together by themselves.
//!
//! A message counts as done when its delete is confirmed. Deletes are looked after while the next
//! receive waits, for only a confirmed delete makes room for a new message, and a receive that
//! waits for that message would wait for ever.
//!
//! Invariant: a further receive starts only when at most `DELETES_IN_FLIGHT_MAX` deletes are
//! unconfirmed.

use std::collections::VecDeque;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use sampan_client::{Deleting, Delivery, Error, Queue};

use crate::backlog::Backlog;
use crate::body::stamp;
use crate::meter::{Latencies, Meter};

/// Most messages of one receive.
const RECEIVE_COUNT: u16 = 256;
/// How long a receive waits; bounds how long a run takes to end.
const RECEIVE_WAIT: Duration = Duration::from_secs(1);
/// See the head of the file.
const DELETES_IN_FLIGHT_MAX: usize = 4_096;

/// From when on the latencies of timed messages count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// The send; the body has its time.
    Send,
    /// When the message was due, by the broker's clock, which on the same machine is ours to the
    /// millisecond; the body has the delay in milliseconds.
    Due,
}

/// See the head of the file.
pub(crate) struct Receiver {
    pub(crate) queue: Queue,
    pub(crate) meter: Arc<Meter>,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) since: Since,
}

impl Receiver {
    /// Receives until the meter says stop; returns how long messages took until they were received.
    pub(crate) async fn run(self) -> Result<Latencies, Error> {
        let mut latencies = Latencies::new();
        let mut deletes = VecDeque::new();
        while !self.meter.is_stopping() {
            let mut receive = self
                .queue
                .receive()
                .max(RECEIVE_COUNT)
                .wait(RECEIVE_WAIT)
                .into_future();
            let deliveries = loop {
                tokio::select! {
                    biased;
                    count = confirmed(&mut deletes), if !deletes.is_empty() => self.finish(count?),
                    deliveries = &mut receive => break deliveries?,
                }
            };
            self.record(&deliveries, &mut latencies);
            deletes.extend(deliveries.iter().map(Delivery::delete));
            while deletes.len() > DELETES_IN_FLIGHT_MAX {
                self.finish(confirmed(&mut deletes).await?);
            }
        }
        while !deletes.is_empty() {
            confirmed(&mut deletes).await?;
        }
        Ok(latencies)
    }

    fn record(&self, deliveries: &[Delivery], latencies: &mut Latencies) {
        if !self.meter.is_measuring() {
            return;
        }
        match self.since {
            Since::Send => {
                let now = Duration::from_nanos(self.meter.now_ns());
                let stamps = deliveries
                    .iter()
                    .filter_map(|delivery| stamp(&delivery.body));
                stamps.for_each(|stamp| latencies.record(since(now, Duration::from_nanos(stamp))));
            }
            Since::Due => {
                let now = wall_clock();
                for delivery in deliveries {
                    if let Some(delay_ms) = stamp(&delivery.body) {
                        let due = Duration::from_millis(delivery.sent_at.0 + delay_ms);
                        latencies.record(since(now, due));
                    }
                }
            }
        }
    }

    fn finish(&self, count: u64) {
        self.meter.add_done(count);
        self.backlog.leave(count);
    }
}

/// What has not begun yet by our clock begins now.
fn since(now: Duration, began: Duration) -> Duration {
    now.saturating_sub(began)
}

/// Time since the Unix epoch.
fn wall_clock() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // Before 1970, nothing is due.
    now.unwrap_or_default()
}

/// Waits for the oldest delete and takes out all that are confirmed in a row; at least one.
async fn confirmed(deletes: &mut VecDeque<Deleting>) -> Result<u64, Error> {
    poll_fn(|cx| {
        let mut count = 0;
        while let Some(deleting) = deletes.front_mut() {
            match Pin::new(deleting).poll(cx) {
                Poll::Ready(done) => {
                    deletes.pop_front();
                    if let Err(error) = done {
                        return Poll::Ready(Err(error));
                    }
                    count += 1;
                }
                Poll::Pending => break,
            }
        }
        if count == 0 {
            Poll::Pending
        } else {
            Poll::Ready(Ok(count))
        }
    })
    .await
}
