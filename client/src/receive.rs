//! One receive: how many messages, for how long to wait, and how to look at what comes.
//!
//! Every body is compared with the checksum that its sender gave it. When one differs, the receive
//! fails and the others are released; the damaged message stays hidden until its visibility timeout
//! ends, so that it does not come back at once, again and again.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sampan_protocol::Request;

use crate::call::{Answer, Unclaimed};
use crate::client::unexpected;
use crate::delivery::Delivery;
use crate::error::Error;
use crate::queue::Queue;
use crate::queue_options::millis_u32;
use crate::watch::Watch;

/// A receive to be carried out; see [`Queue::receive`].
///
/// ```no_run
/// # async fn example(queue: sampan_client::Queue) -> Result<(), sampan_client::Error> {
/// # use std::time::Duration;
/// for delivery in queue.receive().max(32).wait(Duration::from_secs(20)).await? {
///     println!("{:?}", delivery.body);
///     delivery.delete().await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Refused with `QueueNotFound`, `ReceiveOutOfRange`, `WaitOutOfRange`,
/// `VisibilityTimeoutOutOfRange`, `TooManyInFlight` or `TooManyWaiting`; [`Error::Corrupt`].
/// When the connection breaks, the receive is repeated with the rest of its wait.
#[derive(Clone, Debug)]
#[must_use = "nothing is received before it is awaited"]
pub struct Receive {
    queue: Queue,
    count_max: u16,
    len_max: u32,
    wait: Option<Duration>,
    visibility_timeout: Option<Duration>,
    /// The heartbeat of a stream.
    watch: Option<Arc<Watch>>,
}

impl Receive {
    pub(crate) fn new(queue: Queue) -> Self {
        Receive {
            queue,
            count_max: 1,
            len_max: 0,
            wait: None,
            visibility_timeout: None,
            watch: None,
        }
    }

    /// At most this many messages: 1 to 256. Default 1.
    pub fn max(mut self, count: u16) -> Self {
        self.count_max = count;
        self
    }

    /// At most this many bytes of messages, but at least one message: up to 16 MiB. 0 is the
    /// default, 4 MiB.
    pub fn max_len(mut self, len: u32) -> Self {
        self.len_max = len;
        self
    }

    /// How long to wait for the first message: 0 to 30 s. Default: as the queue says.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// How long the messages stay hidden: 1 s to 12 h. Default: as the queue says.
    pub fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.visibility_timeout = Some(timeout);
        self
    }

    /// For a stream: what comes is kept by its heartbeat, if it has one.
    pub(crate) fn watched(mut self, watch: Option<Arc<Watch>>) -> Self {
        self.watch = watch;
        self
    }

    pub(crate) async fn run(self) -> Result<Vec<Delivery>, Error> {
        let request = sampan_protocol::Receive {
            queue: self.queue.wire_name(),
            count_max: self.count_max,
            len_max: self.len_max,
            wait_ms: self.wait.map(millis_u32),
            visibility_timeout_ms: self.visibility_timeout.map(millis_u32),
        };
        let request = Request::Receive(request);
        let called = self.queue.shared().call_watched(request, self.watch);
        match called.await? {
            Answer::Received(unclaimed) => checked(&self.queue, unclaimed),
            Answer::Reply { .. } => Err(unexpected()),
        }
    }
}

fn checked(queue: &Queue, mut unclaimed: Unclaimed) -> Result<Vec<Delivery>, Error> {
    let is_damaged = |message: &sampan_protocol::ReceivedMessage| message.check_body().is_err();
    if let Some(damaged) = unclaimed
        .messages
        .iter()
        .find(|message| is_damaged(message))
    {
        let error = Error::Corrupt { id: damaged.id };
        // What stays in is released when it is dropped.
        unclaimed.messages.retain(|message| !is_damaged(message));
        return Err(error);
    }
    let messages = unclaimed.claim().into_iter();
    Ok(messages
        .map(|(message, lease)| Delivery::new(queue.clone(), message, lease))
        .collect())
}

impl IntoFuture for Receive {
    type Output = Result<Vec<Delivery>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Dropping the future before it is ready releases what the broker may still send for it.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
