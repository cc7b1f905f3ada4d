//! The identifiers that everything else speaks of: one newtype each, so that no two integers of
//! one call can be exchanged by mistake.

use std::fmt;
use std::time::Duration;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $raw);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A queue for as long as it exists; never given to another one.
    QueueId(u64)
}
id! {
    /// A Raft group. Set 0 holds the catalog too.
    SetId(u32)
}
id! {
    /// A message inside its queue: its sequence there, from 1, below 2^63.
    ///
    /// Messages sent with a delay have a sequence of their own, with [`MessageId::DELAYED_BIT`]
    /// set, and so have those of groups, with [`MessageId::GROUPED_BIT`], so that the others lie
    /// in the queue without gaps.
    MessageId(u64)
}
id! {
    /// Proof of one receive, below 2^63. Valid for the latest receive of a message only.
    ReceiptHandle(u64)
}
id! {
    /// Milliseconds since the Unix epoch, by the replicated clock of a set.
    Timestamp(u64)
}

/// What a producer calls one run of numbered sends: drawn by the client, never drawn twice.
///
/// Six bytes of milliseconds since the Unix epoch, big-endian, by the broker's clock; then ten
/// random ones. The time is what lets a queue forget sessions without ever taking one for new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerSession(pub [u8; 16]);

impl ProducerSession {
    /// The session drawn at `at`.
    pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&at.0.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        ProducerSession(bytes)
    }

    /// When it was drawn.
    pub fn drawn_at(self) -> Timestamp {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.0[..6]);
        Timestamp(u64::from_be_bytes(bytes))
    }
}

/// The place of a send among those of its session and queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProducerNumber {
    /// Not all zeros.
    pub session: ProducerSession,
    /// From 1, one more for each send that was stored.
    pub number: u64,
}

/// One of the sequences from which a queue gives ids; in the order of the ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdSpace {
    /// Messages without a delay, and in no group.
    Immediate,
    /// Messages that lie in groups.
    Grouped,
    /// Messages that were sent with a delay.
    Delayed,
}

impl IdSpace {
    /// Every one, in the order of the ids.
    pub const ALL: [IdSpace; 3] = [IdSpace::Immediate, IdSpace::Grouped, IdSpace::Delayed];

    /// The bit that its ids have; no id is just that.
    pub const fn base(self) -> u64 {
        match self {
            IdSpace::Immediate => 0,
            IdSpace::Grouped => MessageId::GROUPED_BIT,
            IdSpace::Delayed => MessageId::DELAYED_BIT,
        }
    }
}

impl MessageId {
    /// Marks the ids of messages that lie in groups; with the next bit, it is a part of the number.
    pub const GROUPED_BIT: u64 = 1 << 61;
    /// Marks the ids of messages that were sent with a delay.
    pub const DELAYED_BIT: u64 = 1 << 62;

    /// The sequence that the id was given from.
    pub const fn space(self) -> IdSpace {
        if self.is_delayed() {
            IdSpace::Delayed
        } else if self.0 & Self::GROUPED_BIT != 0 {
            IdSpace::Grouped
        } else {
            IdSpace::Immediate
        }
    }

    /// Whether the message lies in a group.
    pub const fn is_grouped(self) -> bool {
        matches!(self.space(), IdSpace::Grouped)
    }

    /// Whether the message was sent with a delay.
    pub const fn is_delayed(self) -> bool {
        self.0 & Self::DELAYED_BIT != 0
    }

    /// The id `count` places further on.
    pub const fn plus(self, count: u64) -> MessageId {
        MessageId(self.0 + count)
    }
}

impl Timestamp {
    /// The instant `duration` after this one; fractions of a millisecond are dropped.
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.after_ms(millis)
    }

    /// The instant `millis` milliseconds after this one.
    pub const fn after_ms(self, millis: u64) -> Self {
        Timestamp(self.0.saturating_add(millis))
    }
}
