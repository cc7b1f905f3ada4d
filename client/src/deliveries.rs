//! A stream of deliveries with a bounded number of messages at hand.
//!
//! Owns the messages that came and were not taken, and the receives that are under way. No task
//! takes messages in: the stream goes on when it is polled, and dropping it gives back everything
//! that was not taken, including what is still to come. Its heartbeat is a task of its own, and
//! begins with the first receive.
//!
//! While the queue has plenty, up to [`RECEIVES_AHEAD_MAX`] receives are under way, so that the
//! next messages are here before the last are worked off; when it is empty, one long poll waits.
//!
//! Invariant: messages at hand and messages asked for are together at most `prefetch`.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use sampan_protocol::limits::BATCH_COUNT_MAX;
use tokio::time::Sleep;

use crate::backoff;
use crate::delivery::Delivery;
use crate::error::Error;
use crate::heartbeat::{HEARTBEAT_CEILING_DEFAULT, Heartbeat};
use crate::queue::Queue;
use crate::watch::Watch;

/// Receives under way at one time.
const RECEIVES_AHEAD_MAX: usize = 4;
/// How long one receive waits, unless told otherwise.
const WAIT_DEFAULT: Duration = Duration::from_secs(20);

type Receiving = Pin<Box<dyn Future<Output = Result<Vec<Delivery>, Error>> + Send>>;

/// A stream of deliveries; see [`Queue::deliveries`].
///
/// ```no_run
/// # async fn example(queue: sampan_client::Queue) -> Result<(), sampan_client::Error> {
/// use futures::StreamExt;
///
/// let mut deliveries = queue.deliveries(100);
/// while let Some(delivery) = deliveries.next().await {
///     let delivery = delivery?;
///     println!("{:?}", delivery.body);
///     // Not awaited one by one, deletes travel together.
///     let deleting = delivery.delete();
///     tokio::spawn(deleting);
/// }
/// # Ok(())
/// # }
/// ```
///
/// Messages at hand are received: they are hidden from others. The stream's heartbeat keeps them,
/// and those that the application has, in flight: see [`Deliveries::heartbeat`].
///
/// It never ends by itself while the broker answers. An error that a later try can mend
/// ([`Error::retry`]) is passed on, and the stream goes on after a pause; any other is passed on,
/// and the stream ends. Dropping the stream releases what was not taken from it.
#[must_use = "streams do nothing unless polled"]
pub struct Deliveries {
    queue: Queue,
    prefetch: usize,
    wait: Duration,
    visibility_timeout: Option<Duration>,
    /// How long the heartbeat keeps a message; `None`: there is none.
    ceiling: Option<Duration>,
    /// Begun with the first receive.
    heartbeat: Option<Heartbeat>,
    at_hand: VecDeque<Delivery>,
    /// In the order in which they were made, each with the number of messages it asked for.
    receiving: VecDeque<(usize, Receiving)>,
    /// Whether the last receive got all that it asked for.
    plenty: bool,
    /// Errors in a row.
    error_count: u32,
    pause: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Deliveries {
    pub(crate) fn new(queue: Queue, prefetch: usize) -> Self {
        Deliveries {
            queue,
            prefetch: prefetch.max(1),
            wait: WAIT_DEFAULT,
            visibility_timeout: None,
            ceiling: Some(HEARTBEAT_CEILING_DEFAULT),
            heartbeat: None,
            at_hand: VecDeque::new(),
            receiving: VecDeque::new(),
            plenty: false,
            error_count: 0,
            pause: None,
            ended: false,
        }
    }

    /// How long one receive waits before the stream asks again: 0 to 30 s. Default 20 s.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How long the messages stay hidden: 1 s to 12 h. Default: as the queue says.
    pub fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.visibility_timeout = Some(timeout);
        self
    }

    /// For how long a message is kept in flight beyond its visibility timeout while the application
    /// has its [`Delivery`]. Default 15 minutes. To be called before the stream is polled.
    ///
    /// Whenever half of the visibility timeout has passed, what is neither deleted, released nor
    /// dropped is hidden for a whole one again, many messages with one request; so a handler may
    /// take longer than the visibility timeout, and that timeout can be short, for a message comes
    /// back within it when the process dies or drops the delivery. What is handled in less costs
    /// nothing. The ceiling is for handlers that hang: it should be longer than the slowest good
    /// one. A message that is held for so long is left alone, and comes back within one visibility
    /// timeout after it; it never lapses before.
    ///
    /// Messages at hand are kept likewise. When the stream is not polled for so long, they are
    /// given back as if they had not been received; the application never gets those.
    ///
    /// When the broker says that a message is lost, because it could not be reached for longer than
    /// the visibility timeout, [`Delivery::is_expired`] is true from then on; what is lost while it
    /// is at hand is not handed out. All ends with the stream: keep it for as long as handlers are
    /// at work, also when nothing more is to be taken.
    ///
    /// Handles that are deleted or extended without their delivery, as by
    /// [`Queue::extend_batch`], are extended all the same while it is held.
    pub fn heartbeat(mut self, ceiling: Duration) -> Self {
        self.ceiling = Some(ceiling);
        self
    }

    /// Messages stay hidden for their visibility timeout and no longer. Choose `prefetch` so that
    /// those at hand are worked off well within it.
    pub fn without_heartbeat(mut self) -> Self {
        self.ceiling = None;
        self
    }

    /// Where the messages that come are entered.
    fn watch(&mut self) -> Option<Arc<Watch>> {
        let ceiling = self.ceiling?;
        let heartbeat = self.heartbeat.get_or_insert_with(|| {
            let (shared, name) = (self.queue.shared(), self.queue.wire_name());
            Heartbeat::start(shared, name, self.visibility_timeout, ceiling)
        });
        Some(Arc::clone(heartbeat.watch()))
    }

    /// Starts the receives for which there is room.
    fn ask(&mut self) {
        let receives_max = if self.plenty { RECEIVES_AHEAD_MAX } else { 1 };
        while self.receiving.len() < receives_max {
            let asked: usize = self.receiving.iter().map(|(count, _)| count).sum();
            let room = self.prefetch - self.at_hand.len() - asked;
            let count = room.min(BATCH_COUNT_MAX);
            // Asking for every single message that was taken would cost a request each.
            let worth_it = BATCH_COUNT_MAX.min(self.prefetch.div_ceil(2));
            if count < worth_it {
                return;
            }
            let count_max = u16::try_from(count).expect("a batch has at most 256 messages");
            let mut receive = self.queue.receive().max(count_max).wait(self.wait);
            if let Some(timeout) = self.visibility_timeout {
                receive = receive.visibility_timeout(timeout);
            }
            let receive = receive.watched(self.watch());
            self.receiving.push_back((count, Box::pin(receive.run())));
        }
    }

    /// Takes in what has come. Returns an error to be passed on.
    fn take_in(&mut self, cx: &mut Context<'_>) -> Option<Error> {
        let mut at = 0;
        while let Some((count, receiving)) = self.receiving.get_mut(at) {
            let Poll::Ready(received) = receiving.as_mut().poll(cx) else {
                at += 1;
                continue;
            };
            let count = *count;
            drop(self.receiving.remove(at));
            match received {
                Ok(deliveries) => {
                    self.plenty = deliveries.len() >= count;
                    self.error_count = 0;
                    self.at_hand.extend(deliveries);
                }
                Err(error) => return Some(self.on_error(error)),
            }
        }
        None
    }

    fn on_error(&mut self, error: Error) -> Error {
        self.plenty = false;
        if error.retry() {
            self.pause = Some(Box::pin(tokio::time::sleep(backoff::delay(
                self.error_count,
            ))));
            self.error_count += 1;
        } else {
            self.ended = true;
            self.receiving.clear();
        }
        error
    }

    fn is_pausing(&mut self, cx: &mut Context<'_>) -> bool {
        if self
            .pause
            .as_mut()
            .is_some_and(|pause| pause.as_mut().poll(cx).is_pending())
        {
            return true;
        }
        self.pause = None;
        false
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivery, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if !this.ended && !this.is_pausing(cx) {
                this.ask();
            }
            if let Some(error) = this.take_in(cx) {
                return Poll::Ready(Some(Err(error)));
            }
            if let Some(delivery) = this.at_hand.pop_front() {
                if delivery.hand_out() {
                    return Poll::Ready(Some(Ok(delivery)));
                }
                // It is lost, or was given back, and makes room for another.
                continue;
            }
            if this.ended {
                return Poll::Ready(None);
            }
            if !this.receiving.is_empty() || this.pause.is_some() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        let handles: Vec<_> = self
            .at_hand
            .iter()
            .map(|delivery| delivery.handle)
            .collect();
        self.queue
            .shared()
            .release(&self.queue.wire_name(), &handles);
    }
}

impl std::fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deliveries")
            .field("queue", &self.queue)
            .field("at_hand", &self.at_hand.len())
            .finish_non_exhaustive()
    }
}
