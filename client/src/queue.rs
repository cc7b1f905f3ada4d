//! A queue as its senders and receivers see it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::{
    ChangeVisibility, Delete, ErrorCode, Handles, MessageId, Name, PeekOf, PeekedMessage,
    QueueRewind, ReceiptHandle, RedriveStatus, Reply, Request, Reschedule, Timestamp,
};

use crate::call::Answer;
use crate::client::{Client, unexpected};
use crate::deliveries::Deliveries;
use crate::error::Error;
use crate::message::Message;
use crate::peek::Peek;
use crate::queue_options::millis_u32;
use crate::receive::Receive;
use crate::redrive::Redrive;
use crate::replies::handle_error;
use crate::send_frame::SendUnit;
use crate::shared::Shared;
use crate::submission::{Deleting, Sending, SendingBatch, Submission};

/// A queue of a broker. Clones are cheap.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    name: Arc<str>,
}

impl Queue {
    pub(crate) fn new(client: Client, name: &str) -> Self {
        Queue {
            inner: Arc::new(Inner {
                client,
                name: name.into(),
            }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The client that it belongs to.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.inner.client.shared()
    }

    /// Sends a message of 1 byte to 1 MiB. The future resolves once it is durable.
    ///
    /// The message is on its way when this returns, not when the future is polled, so
    ///
    /// ```no_run
    /// # async fn example(queue: sampan_client::Queue) -> Result<(), sampan_client::Error> {
    /// let first = queue.send("one");
    /// let second = queue.send("two");
    /// first.await?;
    /// second.await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// sends both at once, in this order, probably in one frame.
    ///
    /// When the client has accepted its limit of unanswered messages or bytes
    /// ([`ClientBuilder::messages_in_flight_max`](crate::ClientBuilder::messages_in_flight_max)),
    /// the message waits in a line for room, first come, first served, and goes out from there
    /// whether or not the future is polled. The line is as long as the futures that callers hold:
    /// dropping a future takes its message out of the line, and a caller that awaits its futures
    /// before making many more is slowed to the broker's pace. Time in the line does not count
    /// towards the request timeout.
    ///
    /// **A message is stored once**, however often the client has to send it: after a break of the
    /// connection, a change of leaders, a refusal that passes. Only a caller that calls again,
    /// after an error that says [`Applied::Unknown`](crate::Applied::Unknown), can store it twice.
    ///
    /// Messages of one queue are stored in the order of the calls. While one of them waits to be
    /// repeated, so do those behind it; other queues do not. The order is of one client and what it
    /// told its callers: a message of unknown outcome may be stored after later ones.
    ///
    /// # Errors
    ///
    /// Refused with `QueueNotFound`, `BodyEmpty`, `MessageTooLarge`, `StorageFull` and others; the
    /// refusal of one message does not touch others. [`Error::applied`] says
    ///
    /// - `No`: the message is not stored, and never will be by this call.
    /// - `Unknown`: it is stored once or not at all, or will be. The request timeout was over, the
    ///   client was closed, or no node could be reached for long, when a try was unanswered; or the
    ///   broker refused for good to say more about it: the queue was deleted after the first try,
    ///   its disk is full, or a day passed (`ProducerExpired`).
    ///
    /// A send whose time was over goes on without its caller until the broker has answered it,
    /// takes room of the limits meanwhile, and ends with the client.
    ///
    /// Without [`ClientBuilder::resend_unknown`](crate::ClientBuilder::resend_unknown) nothing of
    /// unknown outcome is sent again, and messages that the broker refused at first may be stored
    /// after later ones.
    pub fn send(&self, body: impl Into<Bytes>) -> Sending {
        self.send_with(Message::new(body))
    }

    /// Like [`Queue::send`], with headers, a delay and a deduplication key.
    pub fn send_with(&self, message: Message) -> Sending {
        Sending(Submission::new(
            self.shared(),
            &self.inner.name,
            SendUnit::one(message),
        ))
    }

    /// Sends 1 to 256 messages of at most 4 MiB together: all of them are stored, or none.
    ///
    /// Otherwise like [`Queue::send`]. For throughput it is not needed: single sends travel
    /// together by themselves.
    pub fn send_batch(&self, messages: Vec<Message>) -> SendingBatch {
        // More than 256 are refused, so the count of those that go out fits.
        let count = u16::try_from(messages.len()).unwrap_or(u16::MAX);
        let unit = SendUnit::many(messages);
        SendingBatch {
            submission: Submission::new(self.shared(), &self.inner.name, unit),
            count,
        }
    }

    /// Receives messages: one, without waiting beyond the queue's own wait, unless told otherwise.
    pub fn receive(&self) -> Receive {
        Receive::new(self.clone())
    }

    /// Looks at messages: nothing is received, and nothing changes. The head of the queue, one
    /// message, unless told otherwise.
    pub fn peek(&self) -> Peek {
        Peek::new(self.clone())
    }

    /// Looks at one message, whatever its state; `None` when it is gone, or never was.
    ///
    /// # Errors
    ///
    /// As [`Peek`].
    pub async fn message(&self, id: MessageId) -> Result<Option<PeekedMessage>, Error> {
        let messages = self.peek().of(PeekOf::Message).after(id).await?;
        Ok(messages.into_iter().next())
    }

    /// A stream of deliveries that keeps up to `prefetch` messages (at least 1) at hand. They stay
    /// in flight until they are deleted, released or dropped: see
    /// [`Deliveries::heartbeat`](crate::Deliveries::heartbeat).
    pub fn deliveries(&self, prefetch: usize) -> Deliveries {
        Deliveries::new(self.clone(), prefetch)
    }

    /// Deletes the message of a receipt handle. Deletes travel together, as sends do: the handle is
    /// on its way when this returns, and the broker's limit of 65,536 unanswered deletes per client
    /// works as described at [`Queue::send`].
    ///
    /// # Errors
    ///
    /// As [`Delivery::delete`](crate::Delivery::delete).
    pub fn delete(&self, handle: ReceiptHandle) -> Deleting {
        Deleting(Submission::new(self.shared(), &self.inner.name, Ok(handle)))
    }

    /// Deletes the messages of 1 to 256 receipt handles with one request of its own.
    ///
    /// Returns the handles that failed, by their 0-based place, and why; all others are deleted.
    ///
    /// # Errors
    ///
    /// Refused as a whole with `BatchOutOfRange` or `QueueNotFound`.
    pub async fn delete_batch(
        &self,
        handles: &[ReceiptHandle],
    ) -> Result<Vec<(usize, Error)>, Error> {
        let handles = checked(handles)?;
        let queue = self.wire_name();
        let delete = Delete { queue, handles };
        handle_results(self.shared(), Request::Delete(delete)).await
    }

    /// Hides the messages of 1 to 256 receipt handles for `timeout` from now on: up to 12 h.
    ///
    /// Returns the handles that failed, by their 0-based place, and why. A timeout under 1 ms
    /// releases the messages.
    ///
    /// # Errors
    ///
    /// Refused as a whole with `BatchOutOfRange`, `VisibilityTimeoutOutOfRange` or `QueueNotFound`.
    pub async fn extend_batch(
        &self,
        handles: &[ReceiptHandle],
        timeout: Duration,
    ) -> Result<Vec<(usize, Error)>, Error> {
        let change = ChangeVisibility {
            queue: self.wire_name(),
            visibility_timeout_ms: millis_u32(timeout),
            handles: checked(handles)?,
        };
        let request = Request::ChangeVisibility(change);
        handle_results(self.shared(), request).await
    }

    /// Makes the messages of 1 to 256 receipt handles visible to others: at once, or after the
    /// queue's redelivery delay.
    ///
    /// Returns the handles that failed, by their 0-based place, and why.
    ///
    /// # Errors
    ///
    /// Refused as a whole with `BatchOutOfRange` or `QueueNotFound`.
    pub async fn release_batch(
        &self,
        handles: &[ReceiptHandle],
    ) -> Result<Vec<(usize, Error)>, Error> {
        self.extend_batch(handles, Duration::ZERO).await
    }

    /// Removes every message that was sent to the queue before, in whatever state; returns how many
    /// there were. Their receipt handles are worth nothing any more.
    ///
    /// It is never repeated by itself: when nobody knows whether it was carried out, the error says
    /// [`Applied::Unknown`](crate::Applied::Unknown), and a second call would take what was sent
    /// meanwhile along.
    ///
    /// # Errors
    ///
    /// Refused with `QueueNotFound`.
    pub async fn purge(&self) -> Result<u64, Error> {
        let name = self.wire_name();
        let request = Request::QueuePurge { name };
        match self.shared().call_for_reply(request).await? {
            Reply::QueuePurged(count) => Ok(count),
            _ => Err(unexpected()),
        }
    }

    /// Moves messages back to the queues that they came from, or to another: all, unless told
    /// otherwise.
    pub fn redrive(&self) -> Redrive {
        Redrive::new(self.clone())
    }

    /// How far the newest redrive of the queue is.
    ///
    /// # Errors
    ///
    /// Refused with `NoRedrive` or `QueueNotFound`.
    pub async fn redrive_status(&self) -> Result<RedriveStatus, Error> {
        let name = self.wire_name();
        let request = Request::RedriveStatus { name };
        match self.shared().call_for_reply(request).await? {
            Reply::RedriveShown(status) => Ok(status),
            _ => Err(unexpected()),
        }
    }

    /// Ends the redrive of the queue, and tells how far it came. What is on its way goes on. One
    /// that has ended already stays as it is.
    ///
    /// # Errors
    ///
    /// Refused with `NoRedrive` or `QueueNotFound`.
    pub async fn cancel_redrive(&self) -> Result<RedriveStatus, Error> {
        let name = self.wire_name();
        let request = Request::RedriveCancel { name };
        match self.shared().call_for_reply(request).await? {
            Reply::RedriveCancelled(status) => Ok(status),
            _ => Err(unexpected()),
        }
    }

    /// Makes every deleted message that was sent at `to` or later ready again, in the order of
    /// their sends and as if it had never been received; returns how many there are. Messages that
    /// were sent shortly before may be among them. See [`QueueOptions::rewind`].
    ///
    /// Most of them are ready at once, the others within the next moments. Like [`Queue::purge`] it
    /// is never repeated by itself: what was deleted meanwhile would come back.
    ///
    /// # Errors
    ///
    /// Refused with `RewindOutOfRange` when `to` is longer ago than the queue's window, or still to
    /// come, by the broker's clock, or when the queue keeps nothing; with `QueueBusy` while the
    /// messages of an earlier rewind are coming back; or with `QueueNotFound`.
    ///
    /// [`QueueOptions::rewind`]: crate::QueueOptions::rewind
    pub async fn rewind(&self, to: SystemTime) -> Result<u64, Error> {
        let since_1970 = to.duration_since(SystemTime::UNIX_EPOCH);
        let to = Timestamp(0).after(since_1970.unwrap_or_default());
        let name = self.wire_name();
        let request = Request::QueueRewind(QueueRewind { name, to });
        match self.shared().call_for_reply(request).await? {
            Reply::QueueRewound(count) => Ok(count),
            _ => Err(unexpected()),
        }
    }

    /// Removes a message that was sent with a delay and is not due yet.
    ///
    /// # Errors
    ///
    /// Refused with `MessageNotFound` when there is no delayed message of this id: it was due, or
    /// an earlier try removed it, of which nobody heard ([`Error::applied`] is `Unknown` then).
    pub async fn cancel(&self, id: MessageId) -> Result<(), Error> {
        self.reschedule_to(id, None).await
    }

    /// Makes a message that was sent with a delay, and is not due yet, fall due `delay` from now
    /// on; under 1 ms: at once.
    ///
    /// # Errors
    ///
    /// Refused with `MessageNotFound` as [`Queue::cancel`] is, with `DelayOutOfRange` when the
    /// delay is longer than the queue's retention, or with `QueueNotFound`.
    pub async fn reschedule(&self, id: MessageId, delay: Duration) -> Result<(), Error> {
        // What does not fit is over every retention all the same.
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.reschedule_to(id, Some(delay_ms.min(u64::MAX - 1)))
            .await
    }

    async fn reschedule_to(&self, id: MessageId, delay_ms: Option<u64>) -> Result<(), Error> {
        let queue = self.wire_name();
        let request = Request::Reschedule(Reschedule {
            queue,
            id,
            delay_ms,
        });
        match self.shared().call_for_reply(request).await? {
            Reply::Rescheduled => Ok(()),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn wire_name(&self) -> Name {
        Name::from(&*self.inner.name)
    }
}

/// Carries out a request about handles; the places that failed, and why.
pub(crate) async fn handle_results(
    shared: &Shared,
    request: Request,
) -> Result<Vec<(usize, Error)>, Error> {
    let Answer::Reply { reply, repeated } = shared.call(request).await? else {
        return Err(unexpected());
    };
    let (Reply::Deleted(results) | Reply::VisibilityChanged(results)) = reply else {
        return Err(unexpected());
    };
    let failures = results.failures.into_iter();
    Ok(failures
        .map(|(place, code)| (place.into(), handle_error(code, repeated)))
        .collect())
}

/// The handles of one request, when there are not too few or too many.
fn checked(handles: &[ReceiptHandle]) -> Result<Handles, Error> {
    if handles.is_empty() || handles.len() > BATCH_COUNT_MAX {
        let text = format!("{} receipt handles; 1 to {BATCH_COUNT_MAX}", handles.len());
        return Err(Error::refused_with(ErrorCode::BatchOutOfRange, &text));
    }
    Ok(Handles::from_iter(handles.iter().copied()))
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
