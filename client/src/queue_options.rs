//! Attributes to create a queue with, or to change.

use std::time::Duration;

use sampan_protocol::{AttributeChanges, Durability, GroupMode, QueueId, WhenFull};

/// Attributes of a queue. What is not named keeps its default in a new queue, and its value in one
/// that is there. The broker checks the ranges, and refuses with
/// [`AttributeOutOfRange`](crate::ErrorCode::AttributeOutOfRange). Fractions of a millisecond are
/// dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueOptions {
    changes: AttributeChanges,
}

impl QueueOptions {
    /// Names nothing.
    pub fn new() -> Self {
        QueueOptions::default()
    }

    /// How long a received message stays hidden: 1 s to 12 h. Default 30 s.
    #[must_use]
    pub fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.changes.visibility_timeout_ms = Some(millis_u32(timeout));
        self
    }

    /// How long a message is kept: 1 minute to 400 days. Default 4 days.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.changes.retention_ms = Some(millis(retention));
        self
    }

    /// How long a message that names no delay stays hidden at first: 0 to the retention. Default 0.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.changes.delay_ms = Some(millis(delay));
        self
    }

    /// The longest body, in bytes: 1 to 1,048,576, which is the default.
    #[must_use]
    pub fn message_size_max(mut self, len: u32) -> Self {
        self.changes.message_size_max = Some(len);
        self
    }

    /// How long a receive that names no wait waits for a message: 0 to 30 s. Default 0.
    #[must_use]
    pub fn receive_wait(mut self, wait: Duration) -> Self {
        self.changes.receive_wait_ms = Some(millis_u32(wait));
        self
    }

    /// Whether receives find nothing; everything else goes on. Default false.
    #[must_use]
    pub fn paused(mut self, is_paused: bool) -> Self {
        self.changes.is_paused = Some(is_paused);
        self
    }

    /// How long a message that came back unhandled waits until it is ready again: `min`, doubled
    /// with each receive up to `max`, less up to a half of that which depends on the message. 1 ms
    /// to 12 h, and `min` not above `max`; 0 for both, the default: it is ready at once.
    #[must_use]
    pub fn redelivery_delay(mut self, min: Duration, max: Duration) -> Self {
        self.changes.redelivery_delay_min_ms = Some(millis_u32(min));
        self.changes.redelivery_delay_max_ms = Some(millis_u32(max));
        self
    }

    /// The most messages that it holds, in whatever state: 1 to 10^12, which is the default. With
    /// so many, sends are refused with [`QueueFull`](crate::ErrorCode::QueueFull).
    #[must_use]
    pub fn message_count_max(mut self, count: u64) -> Self {
        self.changes.message_count_max = Some(count);
        self
    }

    /// The most bytes of headers, keys and bodies that it holds, in whatever state: 1 to 2^50,
    /// which is the default. A send that would pass it is refused with
    /// [`QueueFull`](crate::ErrorCode::QueueFull).
    #[must_use]
    pub fn byte_count_max(mut self, bytes: u64) -> Self {
        self.changes.byte_count_max = Some(bytes);
        self
    }

    /// What it does with a send that would pass its most messages or bytes: refuses it, which is
    /// the default, or gives up its oldest ready messages; then it needs a dead-letter queue.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.changes.when_full = Some(when_full);
        self
    }

    /// The most messages in flight: 1 to 1,000,000, which is the default. With so many, receives
    /// are refused with [`TooManyInFlight`](crate::ErrorCode::TooManyInFlight).
    #[must_use]
    pub fn in_flight_count_max(mut self, count: u64) -> Self {
        self.changes.in_flight_count_max = Some(count);
        self
    }

    /// The most delayed messages: 0 to 100,000,000, which is the default. With so many, sends with
    /// a delay are refused with [`TooManyDelayed`](crate::ErrorCode::TooManyDelayed).
    #[must_use]
    pub fn delayed_count_max(mut self, count: u64) -> Self {
        self.changes.delayed_count_max = Some(count);
        self
    }

    /// The queue that takes what this one gives up, by the id that
    /// [`show_queue`](crate::Client::show_queue) tells. Refused with
    /// [`InvalidDeadLetterQueue`](crate::ErrorCode::InvalidDeadLetterQueue) when it has a
    /// dead-letter queue itself, or this queue is one.
    #[must_use]
    pub fn dead_letter_queue(mut self, queue: QueueId) -> Self {
        self.changes.dead_letter_queue = Some(queue.0);
        self
    }

    /// Nothing is given up any more, which is the default.
    #[must_use]
    pub fn without_dead_letter_queue(mut self) -> Self {
        self.changes.dead_letter_queue = Some(0);
        self.changes.receive_count_max = Some(0);
        self.changes.dead_letter_after_ms = Some(0);
        self.changes.when_full = Some(WhenFull::Refuse);
        self
    }

    /// A message that comes back after so many receives goes to the dead-letter queue: 1 to 1,000.
    /// 0, the default: none does for that.
    #[must_use]
    pub fn receive_count_max(mut self, count: u32) -> Self {
        self.changes.receive_count_max = Some(count);
        self
    }

    /// So long after its send a message that nobody deleted goes to the dead-letter queue: 1 s to
    /// the retention. 0, the default: none does for that.
    #[must_use]
    pub fn dead_letter_after(mut self, age: Duration) -> Self {
        self.changes.dead_letter_after_ms = Some(millis(age));
        self
    }

    /// How long a message whose [deduplication key](crate::Message::dedup_key) was stored before is
    /// not stored again: 0, which is off, to 24 h. Default 5 minutes. A queue remembers at most
    /// 1,048,576 keys; then sends with others are refused with
    /// [`TooManyKeys`](crate::ErrorCode::TooManyKeys).
    #[must_use]
    pub fn dedup_window(mut self, window: Duration) -> Self {
        self.changes.dedup_window_ms = Some(millis_u32(window));
        self
    }

    /// How long after its send a deleted message is kept, so that [`Queue::rewind`] makes it ready
    /// again: up to the retention. 0, the default: what is deleted is gone. A shorter window lets
    /// what is older go, and 0 all of it.
    ///
    /// [`Queue::rewind`]: crate::Queue::rewind
    #[must_use]
    pub fn rewind(mut self, window: Duration) -> Self {
        self.changes.rewind_ms = Some(millis(window));
        self
    }

    /// When sends are acknowledged: when a majority has synced them, the default, or when one has
    /// written them. Then killed brokers lose nothing, but a majority that loses its power may
    /// lose the last tenths of a second. Each acknowledgement says which one it is
    /// ([`Sending::durability`](crate::Sending::durability)).
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.changes.durability = Some(durability);
        self
    }

    /// What the [group keys](crate::Message::group_key) of messages do. Off, the default: nothing.
    /// Ordered: messages of a group are handed out in the order of their sends, and while one of
    /// them is in flight or rests, no other receive gets one of that group. Fair: groups take
    /// turns. Not together with [`rewind`](QueueOptions::rewind).
    #[must_use]
    pub fn groups(mut self, groups: GroupMode) -> Self {
        self.changes.groups = Some(groups);
        self
    }

    pub(crate) fn changes(&self) -> AttributeChanges {
        self.changes
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// In whole milliseconds. `u32::MAX` means "none" in some fields, so what is longer becomes one
/// less, which is out of every range too.
pub(crate) fn millis_u32(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis())
        .unwrap_or(u32::MAX)
        .min(u32::MAX - 1)
}
