//! A connection's sending side: keeps a window of unconfirmed sends full.
//!
//! Sends are confirmed in their order, and one whose frame was answered is ready without waiting,
//! so a whole frame's worth is confirmed and replaced in one go: no task, channel or wake-up per
//! message.
//!
//! Invariant: at most `window` sends are unconfirmed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use sampan_client::{Error, Queue, Sending};

use crate::backlog::Backlog;
use crate::body::Bodies;
use crate::meter::{Latencies, Meter, SAMPLE_EVERY};

/// See the head of the file.
pub(crate) struct Sender {
    /// At least one; they have their turns.
    pub(crate) queues: Vec<Queue>,
    /// Messages in a row to one of them.
    pub(crate) burst: u64,
    pub(crate) bodies: Bodies,
    pub(crate) window: usize,
    pub(crate) meter: Arc<Meter>,
    /// Absent: a confirmed send is all there is to do.
    pub(crate) backlog: Option<Arc<Backlog>>,
}

impl Sender {
    /// Sends until the meter says stop; returns how long sends took.
    pub(crate) async fn run(self) -> Result<Latencies, Error> {
        let mut latencies = Latencies::new();
        let mut sends: VecDeque<(Sending, Option<Instant>)> = VecDeque::with_capacity(self.window);
        let (mut number, mut turn) = (0_u64, 0);
        loop {
            while sends.len() < self.window && self.may_send() {
                number += 1;
                if self.queues.len() > 1 && number.is_multiple_of(self.burst) {
                    turn = (turn + 1) % self.queues.len();
                }
                sends.push_back(self.send(&self.queues[turn], number));
            }
            match (sends.pop_front(), &self.backlog) {
                (Some((sending, began_at)), backlog) => {
                    sending.await?;
                    if let Some(began_at) = began_at {
                        self.record(&mut latencies, began_at);
                    }
                    if backlog.is_none() {
                        self.meter.add_done(1);
                    }
                }
                (None, Some(backlog)) if !self.meter.is_stopping() => backlog.room().await,
                (None, _) => return Ok(latencies),
            }
        }
    }

    fn may_send(&self) -> bool {
        !self.meter.is_stopping() && self.backlog.as_ref().is_none_or(|backlog| backlog.enter())
    }

    fn send(&self, queue: &Queue, number: u64) -> (Sending, Option<Instant>) {
        if !number.is_multiple_of(SAMPLE_EVERY) {
            return (queue.send(self.bodies.untimed(number)), None);
        }
        let began_at = Instant::now();
        let body = match &self.backlog {
            Some(_) => self.bodies.timed(number, self.meter.now_ns()),
            None => self.bodies.untimed(number),
        };
        (queue.send(body), Some(began_at))
    }

    fn record(&self, latencies: &mut Latencies, began_at: Instant) {
        if self.meter.is_measuring() {
            latencies.record(began_at.elapsed());
        }
    }
}
