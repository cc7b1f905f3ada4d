//! A message that was received and is hidden from others for as long as its visibility lasts.

use std::time::Duration;

use bytes::Bytes;
use sampan_protocol::{DeadLetter, MessageId, ReceiptHandle, ReceivedMessage, Timestamp};

use crate::error::Error;
use crate::queue::Queue;
use crate::submission::Deleting;

/// A received message.
///
/// Dropping it does nothing: the message comes back when its visibility timeout ends.
///
/// Body, headers and key share the memory of the reply they came in, up to 256 KiB. Copy a small
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
    /// The deduplication key that its sender gave it.
    pub dedup_key: Option<Bytes>,
    /// How often the message was handed out, this time included; 1 for the first.
    pub receive_count: u32,
    /// When the broker stored it, by the broker's clock.
    pub sent_at: Timestamp,
    /// When it was handed out for the first time.
    pub first_received_at: Timestamp,
    /// When it becomes visible to others again.
    pub visible_at: Timestamp,
    queue: Queue,
}

impl Delivery {
    pub(crate) fn new(queue: Queue, message: ReceivedMessage) -> Self {
        Delivery {
            id: message.id,
            handle: message.handle,
            body: message.body,
            headers: message.headers,
            dedup_key: Some(message.dedup_key).filter(|key| !key.is_empty()),
            receive_count: message.receive_count,
            sent_at: message.sent_at,
            first_received_at: message.first_received_at,
            visible_at: message.visible_at,
            queue,
        }
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
        self.queue.delete(self.handle)
    }

    /// Hides the message for `timeout` from now on: up to 12 h.
    ///
    /// # Errors
    ///
    /// As [`Delivery::delete`]; refused with `VisibilityTimeoutOutOfRange` when it is longer.
    /// A timeout under 1 ms releases the message.
    pub async fn extend(&self, timeout: Duration) -> Result<(), Error> {
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
