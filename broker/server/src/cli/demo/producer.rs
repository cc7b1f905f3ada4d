//! Sends every number, and again whatever failed, until each send is confirmed.
//!
//! Invariant: at most `WINDOW_COUNT` sends are on their way, so the numbers to send again are
//! bounded too.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sampan_client::{Applied, Error, Queue};
use tokio::sync::Notify;

use super::super::failure::Failure;
use super::body;
use super::ledger::Ledger;

/// Sends on their way at one time.
const WINDOW_COUNT: usize = 1_024;
/// Bytes of bodies on their way, beyond which fewer are sent at one time.
const WINDOW_LEN: usize = 16 * 1024 * 1024;
/// For how long failures that may pass are put up with when no send gets through.
const GIVE_UP_AFTER: Duration = Duration::from_secs(90);
/// Pause after a send that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// See the head of the file.
pub(super) struct Producer<'a> {
    pub(super) queue: Queue,
    pub(super) message_count: u32,
    pub(super) body_len: usize,
    pub(super) ledger: &'a RefCell<Ledger>,
    /// Told when half of the messages are confirmed.
    pub(super) half: &'a Notify,
    /// The longest time between two confirmations.
    pub(super) longest_pause: &'a Cell<Duration>,
}

impl Producer<'_> {
    /// Sends everything; returns when the last send was confirmed.
    pub(super) async fn run(&self) -> Result<Instant, Failure> {
        let window_count = (WINDOW_LEN / self.body_len).clamp(1, WINDOW_COUNT);
        let half_count = u64::from(self.message_count).div_ceil(2);
        let mut next = 0..u64::from(self.message_count);
        let mut again = VecDeque::new();
        let mut window = VecDeque::with_capacity(window_count);
        let mut confirmed_at = Instant::now();
        loop {
            while window.len() < window_count
                && let Some(number) = again.pop_front().or_else(|| next.next())
            {
                window.push_back((number, self.queue.send(body::make(number, self.body_len))));
            }
            let Some((number, send)) = window.pop_front() else {
                return Ok(Instant::now());
            };
            match send.await {
                Ok(_) => {
                    self.ledger.borrow_mut().on_sent(number);
                    self.note_pause(confirmed_at);
                    confirmed_at = Instant::now();
                }
                Err(error) => {
                    self.check_failed(number, error, confirmed_at)?;
                    again.push_back(number);
                    if window.is_empty() {
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                }
            }
            if self.ledger.borrow().sent_count() == half_count {
                self.half.notify_one();
            }
        }
    }

    fn note_pause(&self, confirmed_at: Instant) {
        let pause = self.longest_pause.get().max(confirmed_at.elapsed());
        self.longest_pause.set(pause);
    }

    /// Notes a failed send that may be repeated; fails for any other.
    fn check_failed(
        &self,
        number: u64,
        error: Error,
        confirmed_at: Instant,
    ) -> Result<(), Failure> {
        if error.applied() != Applied::No {
            self.ledger.borrow_mut().on_unknown(number);
        } else if !error.retry() {
            return Err(error.into());
        }
        if confirmed_at.elapsed() > GIVE_UP_AFTER {
            Err(error.into())
        } else {
            Ok(())
        }
    }
}
