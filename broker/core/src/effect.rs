//! What an apply asks its surroundings to do. Data, in the order in which it happened.

use sampan_protocol::{MessageBatch, MessageId, QueueId, Timestamp};

/// One thing to do after an entry was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Keep the bodies of a run of messages: places `index` to `index + count` of the batch have
    /// the ids from `first` on.
    Stored {
        /// Their queue.
        queue: QueueId,
        /// The id of the first.
        first: MessageId,
        /// Its place in the batch.
        index: u16,
        /// How many they are.
        count: u32,
        /// When they were sent.
        sent_at: Timestamp,
        /// The batch as it came, shared.
        batch: MessageBatch,
    },
    /// The bodies of these messages are not needed any more: deleted or expired.
    Removed {
        /// Their queue.
        queue: QueueId,
        /// The lowest id.
        first: MessageId,
        /// How many they are; all ids of the run were there until now.
        count: u64,
    },
    /// The queue is gone with everything in it.
    QueueRemoved {
        /// Its id, which is never given again.
        queue: QueueId,
    },
    /// The queue gained ready messages, and has some left: waiters may be served. At most once per
    /// queue and entry. For the leader: every replica is told, those that have no waiters drop it.
    Ready {
        /// The queue.
        queue: QueueId,
    },
    /// The queue has messages for another one. For the leader, like `Ready`.
    Letters {
        /// The queue.
        queue: QueueId,
    },
    /// A redrive of the queue has begun. For the leader, like `Ready`.
    Redrive {
        /// The queue.
        queue: QueueId,
    },
    /// A catalog command was carried out; perhaps a repeat of one. At most once per entry.
    CatalogChanged,
}

/// Tells that messages are gone, and joins them with the run told of last when they follow it.
pub(crate) fn push_removed(
    effects: &mut Vec<Effect>,
    queue: QueueId,
    first: MessageId,
    count: u64,
) {
    if let Some(Effect::Removed {
        queue: last_queue,
        first: last,
        count: last_count,
    }) = effects.last_mut()
        && *last_queue == queue
        && last.plus(*last_count) == first
    {
        *last_count += count;
    } else {
        effects.push(Effect::Removed {
            queue,
            first,
            count,
        });
    }
}
