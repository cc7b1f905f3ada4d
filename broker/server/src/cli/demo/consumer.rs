//! Receives, checks and deletes until every message has come and the queue is empty.
//!
//! Deletes are pipelined behind the receives, and travel together by themselves. A delete that
//! fails, or whose outcome is unknown, is not repeated: the message comes again, is counted as
//! redelivered, and is deleted then.
//!
//! When nothing new has come for `STALL_TIMEOUT` after the last send was confirmed, what is missing
//! is given up as lost. That is longer than any message can be hidden: the visibility timeout, and
//! the restart of a broker.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use sampan_client::{Deleting, Delivery, Error, ErrorCode, MessageId, Queue};

use super::super::failure::Failure;
use super::ledger::Ledger;

/// Most messages of one receive.
const RECEIVE_COUNT: u16 = 256;
/// How long a receive waits; short, so that the end is noticed soon.
const RECEIVE_WAIT: Duration = Duration::from_millis(500);
/// Most deletes on their way for one consumer.
const DELETES_IN_FLIGHT_MAX: usize = 1_024;
/// Pause after a request that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// See the head of the file.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Deletes on their way, and what they delete; the oldest first.
type Deletes = VecDeque<(MessageId, Deleting)>;

/// See the head of the file.
pub(super) struct Consumer<'a> {
    pub(super) queue: Queue,
    pub(super) ledger: &'a RefCell<Ledger>,
    /// When the last send was confirmed, once it is.
    pub(super) sent_at: &'a Cell<Option<Instant>>,
    /// When a message came that had not come before.
    pub(super) received_at: &'a Cell<Instant>,
    pub(super) bar: &'a ProgressBar,
}

impl Consumer<'_> {
    /// Returns when everything has come, or what is missing is lost.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let mut deletes = Deletes::new();
        loop {
            match self.receive().await? {
                Some(deliveries) if deliveries.is_empty() => {
                    self.settle(&mut deletes, 0).await?;
                    if self.is_finished().await? {
                        return Ok(());
                    }
                }
                Some(deliveries) => {
                    self.take(&deliveries, &mut deletes);
                    self.settle(&mut deletes, DELETES_IN_FLIGHT_MAX).await?;
                }
                None => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// `None` when it failed and is worth another try.
    async fn receive(&self) -> Result<Option<Vec<Delivery>>, Failure> {
        or_retry(
            self.queue
                .receive()
                .max(RECEIVE_COUNT)
                .wait(RECEIVE_WAIT)
                .await,
        )
    }

    fn take(&self, deliveries: &[Delivery], deletes: &mut Deletes) {
        let mut ledger = self.ledger.borrow_mut();
        let mut new_count = 0;
        for delivery in deliveries {
            new_count += u64::from(ledger.on_received(delivery.id, &delivery.body));
            deletes.push_back((delivery.id, delivery.delete()));
        }
        if new_count > 0 {
            self.received_at.set(Instant::now());
            self.bar.inc(new_count);
        }
    }

    /// Waits until at most `left` deletes are on their way.
    async fn settle(&self, deletes: &mut Deletes, left: usize) -> Result<(), Failure> {
        while deletes.len() > left {
            let Some((id, deleting)) = deletes.pop_front() else {
                return Ok(());
            };
            match deleting.await {
                Ok(()) => self.ledger.borrow_mut().on_deleted(id),
                Err(error) if error.code() == Some(ErrorCode::ReceiptExpired) => {}
                Err(error) => drop(or_retry::<()>(Err(error))?),
            }
        }
        Ok(())
    }

    async fn is_finished(&self) -> Result<bool, Failure> {
        let Some(sent_at) = self.sent_at.get() else {
            return Ok(false);
        };
        let stalled = sent_at.max(self.received_at.get()).elapsed() > STALL_TIMEOUT;
        if !self.ledger.borrow().is_complete() {
            return Ok(stalled);
        }
        let shown = self.queue.client().show_queue(self.queue.name()).await;
        let counts = or_retry(shown)?.map(|queue| queue.counts);
        let empty =
            counts.is_some_and(|counts| counts.ready + counts.in_flight + counts.delayed == 0);
        Ok(empty || stalled)
    }
}

/// `None` for an error that may pass.
fn or_retry<T>(result: Result<T, Error>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.retry() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
