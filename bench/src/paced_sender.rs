//! A sender at a fixed rate: a send is due when it is due, however long those before it take.
//!
//! Latencies count from when a send was due, so that a pause of the nodes counts for every send
//! that it held up. Sends are confirmed in their order: one that overtook another counts when that
//! other is confirmed.
//!
//! Invariant: at most [`UNCONFIRMED_MAX`] sends are unconfirmed; those that find no room are late
//! by their own fault, and count as late.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use sampan_client::{Error, Queue, Sending};

use crate::backlog::Backlog;
use crate::body::Bodies;
use crate::journal::Journal;
use crate::meter::Meter;
use crate::schedule::Schedule;
use crate::ticker::Ticker;

/// How often it is looked at what is due, where a millisecond more or less does not matter.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// See the head of the file.
const UNCONFIRMED_MAX: usize = 200_000;

/// See the head of the file.
pub(crate) struct PacedSender {
    pub(crate) queue: Queue,
    pub(crate) bodies: Bodies,
    /// Messages a second.
    pub(crate) rate: f64,
    /// How often it is looked at what is due.
    pub(crate) tick: Duration,
    /// The first send is due after this time, so that connections do not send all at once.
    pub(crate) offset: Duration,
    pub(crate) meter: Arc<Meter>,
    pub(crate) journal: Arc<Journal>,
    /// What is sent and not deleted; absent when nothing is received.
    pub(crate) backlog: Option<Arc<Backlog>>,
}

impl PacedSender {
    /// Sends until the meter says stop and every send has its outcome.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let mut sends = VecDeque::new();
        let mut due_at = Vec::new();
        let began_at = Instant::now() + self.offset;
        let mut schedule = Schedule::new(self.rate);
        // A timer of 0 would never tick.
        let first = self.offset.max(Duration::from_nanos(1));
        let ticker = Ticker::new(first, self.tick).expect("the kernel has timers");
        loop {
            let may_send = !self.meter.is_stopping();
            tokio::select! {
                biased;
                failed = outcomes(&mut sends, &mut due_at), if !sends.is_empty() => {
                    self.journal.confirmed(&due_at, Instant::now());
                    due_at.clear();
                    failed.into_iter().for_each(|error| self.journal.failed(error));
                }
                ticked = ticker.tick(), if may_send => {
                    ticked.expect("a timer can be read");
                    let elapsed = began_at.elapsed();
                    while sends.len() < UNCONFIRMED_MAX
                        && let Some(due) = schedule.take(elapsed)
                    {
                        sends.push_back((self.send(schedule.taken()), began_at + due));
                    }
                }
                else => return Ok(()),
            }
        }
    }

    fn send(&self, number: u64) -> Sending {
        if let Some(backlog) = &self.backlog {
            // It only counts: a fixed rate leaves no room to wait.
            backlog.enter();
        }
        self.queue.send(self.bodies.untimed(number))
    }
}

/// Waits for the oldest outcome and takes out all that are there in a row: when the successful ones
/// were due, and at most one failure, which ends the row.
async fn outcomes(
    sends: &mut VecDeque<(Sending, Instant)>,
    due_at: &mut Vec<Instant>,
) -> Option<Error> {
    poll_fn(|context| poll_outcomes(sends, due_at, context)).await
}

fn poll_outcomes(
    sends: &mut VecDeque<(Sending, Instant)>,
    due_at: &mut Vec<Instant>,
    context: &mut Context<'_>,
) -> Poll<Option<Error>> {
    while let Some((sending, due)) = sends.front_mut() {
        match Pin::new(sending).poll(context) {
            Poll::Ready(Ok(_)) => due_at.push(*due),
            Poll::Ready(Err(error)) => {
                sends.pop_front();
                return Poll::Ready(Some(error));
            }
            Poll::Pending if due_at.is_empty() => return Poll::Pending,
            Poll::Pending => return Poll::Ready(None),
        }
        sends.pop_front();
    }
    Poll::Ready(None)
}
