//! Moving messages of a queue back to where they came from.

use std::time::SystemTime;

use bytes::Bytes;
use sampan_protocol::{DeathReason, Name, RedriveFilter, Reply, Request, Timestamp};

use crate::client::unexpected;
use crate::error::Error;
use crate::queue::Queue;

/// A redrive to be begun; see [`Queue::redrive`].
///
/// ```no_run
/// # async fn example(dead: sampan_client::Queue) -> Result<(), sampan_client::Error> {
/// # use sampan_client::DeathReason;
/// let of_age = dead.redrive().reason(DeathReason::Age).rate(500);
/// println!("{} messages would move", of_age.dry_run().await?);
/// of_age.begin().await?;
/// let status = dead.redrive_status().await?;
/// println!("{} of {} moved", status.moved, status.looked);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing moves before it is begun"]
pub struct Redrive {
    queue: Queue,
    to: String,
    filter: RedriveFilter,
    rate: u32,
}

impl Redrive {
    pub(crate) fn new(queue: Queue) -> Self {
        Redrive {
            queue,
            to: String::new(),
            filter: RedriveFilter::default(),
            rate: 0,
        }
    }

    /// All messages go to this queue. Default: each goes to the queue that it came from, and stays
    /// when that is not there, or when it came from none.
    pub fn to(mut self, queue: &str) -> Self {
        queue.clone_into(&mut self.to);
        self
    }

    /// Only messages that were given up then or later.
    pub fn since(mut self, at: SystemTime) -> Self {
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        self.filter.since = Timestamp(u64::try_from(millis).unwrap_or(u64::MAX));
        self
    }

    /// Only messages that were given up for this.
    pub fn reason(mut self, reason: DeathReason) -> Self {
        self.filter.reason = Some(reason);
        self
    }

    /// Only messages that the queue of this name gave up.
    pub fn source(mut self, queue: &str) -> Self {
        queue.clone_into(&mut self.filter.source_queue);
        self
    }

    /// Only messages that have this header with this value.
    pub fn header(mut self, name: &str, value: impl Into<Bytes>) -> Self {
        name.clone_into(&mut self.filter.header_name);
        self.filter.header_value = value.into();
        self
    }

    /// At most so many messages a second; 0, the default: as fast as it goes.
    pub fn rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// Begins, and returns the number of the job. It goes on by itself; see
    /// [`Queue::redrive_status`]. It is never begun twice by one call: when nobody knows whether it
    /// was, the error says [`Applied::Unknown`](crate::Applied::Unknown).
    ///
    /// # Errors
    ///
    /// Refused with `RedriveRunning`, `QueueNotFound`, `InvalidDeadLetterQueue` (to itself),
    /// `HeadersOutOfRange`.
    pub async fn begin(&self) -> Result<u64, Error> {
        self.ask(false).await.map(|begun| begun.job)
    }

    /// Counts the messages that would move, and moves none. Takes its time when there are many:
    /// unless all messages move to one queue, each is looked at.
    ///
    /// # Errors
    ///
    /// As [`Redrive::begin`], and `TooManyRequests`.
    pub async fn dry_run(&self) -> Result<u64, Error> {
        self.ask(true).await.map(|begun| begun.count)
    }

    async fn ask(&self, is_dry_run: bool) -> Result<sampan_protocol::RedriveBegun, Error> {
        // What is over a limit is told by the same check on both sides.
        let checked = self.filter.check();
        checked.map_err(|error| Error::refused_with(error.code, &error.text))?;
        let request = Request::Redrive(sampan_protocol::Redrive {
            queue: self.queue.wire_name(),
            to: Name::from(&*self.to),
            filter: self.filter.clone(),
            rate: self.rate,
            is_dry_run,
        });
        match self.queue.shared().call_for_reply(request).await? {
            Reply::RedriveBegun(begun) => Ok(begun),
            _ => Err(unexpected()),
        }
    }
}
