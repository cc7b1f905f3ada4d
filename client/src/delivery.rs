//! A message that was received and is hidden from others for as long as its visibility lasts.

use std::time::Duration;

use bytes::Bytes;
use sampan_protocol::{DeadLetter, MessageId, ReceiptHandle, ReceivedMessage, Timestamp};

use crate::error::Error;
use crate::lease::Lease;
use crate::queue::Queue;
use crate::submission::Deleting;

/// A received message.
///
/// Dropping it tells the broker nothing: the message comes back when its visibility timeout ends.
///
/// One that a stream handed out stays in flight while it is held, for as long as
/// [`Deliveries::heartbeat`](crate::Deliveries::heartbeat) says: until the last clone is dropped,
/// or [`Delivery::delete`], [`Delivery::extend`] or [`Delivery::release`] is called.
///
/// Body, headers and keys share the memory of the reply they came in, up to 256 KiB. Copy a small
/// one out (`Bytes::copy_from_slice`) to keep it for long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The message inside its queue.
    pub id: MessageId,
    /// Proof of this receive.
    pub handle: ReceiptHandle,
    /// What was sent; its checksum was checked.
    pub body: Bytes,
    /// Encoded headers as `spec/wire.md` lays them out; see [`Delivery::headers`].
    pub headers: Bytes,
    /// The group key that its sender gave it.
    pub group_key: Option<Bytes>,
    /// The deduplication key that its sender gave it.
    pub dedup_key: Option<Bytes>,
    /// How often the message was handed out, this time included; 1 for the first.
    pub receive_count: u32,
    /// When the broker stored it, by the broker's clock.
    pub sent_at: Timestamp,
    /// When it was handed out for the first time.
    pub first_received_at: Timestamp,
    /// When it becomes visible to others again, as it was decided by the receive.
    pub visible_at: Timestamp,
    queue: Queue,
    /// Its part in the heartbeat of the stream that it came from.
    lease: Option<Lease>,
}

impl Delivery {
    pub(crate) fn new(queue: Queue, message: ReceivedMessage, lease: Option<Lease>) -> Self {
        Delivery {
            id: message.id,
            handle: message.handle,
            body: message.body,
            headers: message.headers,
            group_key: Some(message.group_key).filter(|key| !key.is_empty()),
            dedup_key: Some(message.dedup_key).filter(|key| !key.is_empty()),
            receive_count: message.receive_count,
            sent_at: message.sent_at,
            first_received_at: message.first_received_at,
            visible_at: message.visible_at,
            queue,
            lease,
        }
    }

    /// For a stream that hands it out; false when the message is not the stream's any more.
    pub(crate) fn hand_out(&self) -> bool {
        self.lease.as_ref().is_none_or(Lease::hand_out)
    }

    /// The queue it came from.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Its headers, name and value, in the order in which they were sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        sampan_protocol::headers::decode(&self.headers)
    }

    /// Where the message comes from and why, when a queue gave it up and it lies in a dead-letter
    /// queue.
    pub fn dead_letter(&self) -> Option<DeadLetter> {
        DeadLetter::of(&self.headers)
    }

    /// Deletes the message for good. The delete is on its way when this returns, and travels
    /// together with others: see [`Queue::delete`].
    ///
    /// After a break of the connection the delete is repeated. When the repeat is refused as
    /// `ReceiptExpired`, the first try may have done it, or the visibility may have ended: the
    /// error says so by [`applied`](Error::applied) `Unknown`. Success is reported only when it is
    /// known.
    ///
    /// # Errors
    ///
    /// Refused with `ReceiptExpired` when the visibility has ended or the message was received
    /// again since, or with `QueueNotFound`.
    pub fn delete(&self) -> Deleting {
        if let Some(lease) = &self.lease {
            lease.leave();
        }
        self.queue.delete(self.handle)
    }

    /// Whether the heartbeat of its stream has heard that the message is lost: its visibility had
    /// ended all the same, because the broker could not be reached for long, or somebody else
    /// deleted it. Others can receive it then, and a delete is refused with `ReceiptExpired`.
    ///
    /// Always false without a heartbeat, and not kept up once the message is left alone by it.
    pub fn is_expired(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_lost)
    }

    /// Hides the message for `timeout` from now on: up to 12 h. The heartbeat of its stream leaves
    /// it alone from here on, whether this succeeds or not.
    ///
    /// # Errors
    ///
    /// As [`Delivery::delete`]; refused with `VisibilityTimeoutOutOfRange` when it is longer.
    /// A timeout under 1 ms releases the message.
    pub async fn extend(&self, timeout: Duration) -> Result<(), Error> {
        if let Some(lease) = &self.lease {
            lease.leave_in_order().await;
        }
        let failures = self.queue.extend_batch(&[self.handle], timeout).await?;
        failures
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Makes the message visible to others: at once, or after the queue's redelivery delay.
    ///
    /// # Errors
    ///
    /// As [`Delivery::delete`].
    pub async fn release(&self) -> Result<(), Error> {
        self.extend(Duration::ZERO).await
    }
}
