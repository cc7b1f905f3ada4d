//! The arguments of `sampan queue`, and the attributes of queues.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};

use sampan_client::Durability;

use super::super::{duration, instant, size};

/// What to do with queues.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueVerb {
    /// Create a queue.
    Create {
        /// 1 to 64 letters, digits, `-` or `_`, the first a letter.
        name: String,
        #[command(flatten)]
        attributes: AttributeArguments,
    },
    /// Change attributes of a queue; those not named stay as they are.
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(
        ["visibility_timeout", "retention", "delay", "max_message_size", "wait", "redelivery_delay",
         "max_messages", "max_bytes", "when_full", "max_in_flight", "max_delayed", "paused",
         "dead_letter_queue", "max_receives", "dead_letter_after", "dedup_window", "rewind",
         "groups", "durability"])))]
    Set {
        /// The queue.
        name: String,
        #[command(flatten)]
        attributes: AttributeArguments,
    },
    /// Show attributes and message counts of a queue.
    Show {
        /// The queue.
        name: String,
    },
    /// Let receives find nothing; sends, deletes and everything else go on.
    Pause {
        /// The queue.
        name: String,
    },
    /// Let receives find messages again.
    Resume {
        /// The queue.
        name: String,
    },
    /// Say why a receive gets nothing now, or that it would get something.
    Why {
        /// The queue.
        name: String,
    },
    /// List the queues, in order of their names.
    List {
        /// Only names that begin with this.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show messages of a queue without receiving them.
    Peek {
        /// The queue.
        name: String,
        /// Which messages: ready ones in the order of receiving, others in the order of their ids.
        #[arg(long, value_enum, default_value_t = PeekState::Ready)]
        state: PeekState,
        /// Most messages to show.
        #[arg(long, value_name = "N", default_value_t = 10,
            value_parser = clap::value_parser!(u16).range(1..=256))]
        count: u16,
        /// Only messages behind this one: the last of the page before.
        #[arg(long, value_name = "ID", default_value_t = 0)]
        after: u64,
    },
    /// Remove every message of a queue, in whatever state; the queue stays.
    Purge {
        /// The queue.
        name: String,
    },
    /// Make deleted messages ready again, as far as the queue keeps them (`--rewind`).
    Rewind {
        /// The queue.
        name: String,
        /// Those that were sent then or later: 2026-03-14T09:00:00Z, seconds since 1970, or how
        /// long ago by this machine's clock, for example -1h.
        #[arg(long, value_name = "TIME", value_parser = instant::parse_past,
            allow_hyphen_values = true)]
        to: SystemTime,
    },
    /// Delete a queue with all its messages.
    Delete {
        /// The queue.
        name: String,
    },
}

/// Which messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeekState {
    /// Those that can be received.
    Ready,
    /// Those that wait for their delay, or rest.
    Delayed,
    /// Those that were received, and neither deleted nor given back.
    InFlight,
}

/// What a full queue does with a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenFullArgument {
    /// Refuse it.
    Refuse,
    /// Give up as many of the oldest ready messages as it takes, to the dead-letter queue.
    DropOldestToDeadLetter,
}

/// When sends are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArgument {
    /// When a majority has synced them.
    Sync,
    /// When a majority has written them.
    Async,
}

impl From<DurabilityArgument> for Durability {
    fn from(argument: DurabilityArgument) -> Self {
        match argument {
            DurabilityArgument::Sync => Durability::Sync,
            DurabilityArgument::Async => Durability::Async,
        }
    }
}

/// What the group keys of messages do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupsArgument {
    /// They are carried along.
    Off,
    /// Messages of a group are handed out in the order of their sends, to one receiver at a time.
    Ordered,
    /// Groups take turns.
    Fair,
}

/// Attributes of a queue.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct AttributeArguments {
    /// How long a received message stays hidden from others, for example 30s.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) visibility_timeout: Option<Duration>,
    /// How long a message is kept, for example 4d.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) retention: Option<Duration>,
    /// How long a new message stays hidden when its sender names no delay.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) delay: Option<Duration>,
    /// Longest body, for example 64KiB.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) max_message_size: Option<u32>,
    /// How long a receive that names no wait waits for messages.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) wait: Option<Duration>,
    /// How long a message that came back unhandled waits: from the first to the second, doubled
    /// each time, for example 1s..10m. 0s..0s: not at all.
    #[arg(long, value_name = "MIN..MAX", value_parser = duration::parse_range)]
    pub(crate) redelivery_delay: Option<(Duration, Duration)>,
    /// Most messages, in whatever state; with so many, sends are refused.
    #[arg(long, value_name = "N")]
    pub(crate) max_messages: Option<u64>,
    /// Most bytes of headers, keys and bodies, in whatever state, for example 10GiB; a send that
    /// would pass it is refused.
    #[arg(long, value_name = "SIZE", value_parser = size::parse_long)]
    pub(crate) max_bytes: Option<u64>,
    /// What to do with a send that would pass --max-messages or --max-bytes.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) when_full: Option<WhenFullArgument>,
    /// Most messages in flight; with so many, receives are refused.
    #[arg(long, value_name = "N")]
    pub(crate) max_in_flight: Option<u64>,
    /// Most delayed messages; with so many, sends with a delay are refused.
    #[arg(long, value_name = "N")]
    pub(crate) max_delayed: Option<u64>,
    /// How long a message whose deduplication key was stored before is not stored again; at most
    /// 24h. 0s: off. Default 5m.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) dedup_window: Option<Duration>,
    /// How long after its send a deleted message is kept, so that `queue rewind` makes it ready
    /// again; at most the retention. 0s: not at all.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) rewind: Option<Duration>,
    /// When sends are acknowledged: synced on a majority, or only written there; then a majority
    /// that loses its power may lose the last tenths of a second. Default sync.
    #[arg(long, value_enum, value_name = "DURABILITY")]
    pub(crate) durability: Option<DurabilityArgument>,
    /// What the group keys of messages do.
    #[arg(long, value_name = "MODE")]
    pub(crate) groups: Option<GroupsArgument>,
    /// Let receives find nothing. `--paused=false` lets them find messages again.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) paused: Option<bool>,
    /// The queue that takes what this one gives up; an empty name: none.
    #[arg(long, value_name = "QUEUE")]
    pub(crate) dead_letter_queue: Option<String>,
    /// Receives after which a message that comes back goes to the dead-letter queue; 0: never.
    #[arg(long, value_name = "N")]
    pub(crate) max_receives: Option<u32>,
    /// How long after its send a message that nobody deleted goes to the dead-letter queue; 0s:
    /// never.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) dead_letter_after: Option<Duration>,
}
