//! The arguments of `sampan message`.

use std::time::{Duration, SystemTime};

use clap::Subcommand;

use super::super::{duration, instant};

/// What to do with single messages.
#[derive(Debug, Subcommand)]
pub(crate) enum MessageVerb {
    /// Hide messages from others for so long from now on.
    Extend {
        /// The queue.
        queue: String,
        /// Receipt handles, as `sampan receive` prints them.
        #[arg(required = true, value_name = "HANDLE")]
        handles: Vec<u64>,
        /// From now on, for example 5m; at most 12h.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
        timeout: Duration,
    },
    /// Make messages visible to others: at once, or after the queue's redelivery delay.
    Release {
        /// The queue.
        queue: String,
        /// Receipt handles, as `sampan receive` prints them.
        #[arg(required = true, value_name = "HANDLE")]
        handles: Vec<u64>,
    },
    /// Show one message, whatever its state, without receiving it.
    Show {
        /// The queue.
        queue: String,
        /// The message's id, as `sampan send` and `sampan queue peek` print it.
        id: u64,
    },
    /// Remove a message that was sent with a delay and is not due yet.
    Cancel {
        /// The queue.
        queue: String,
        /// The message's id, as `sampan send` prints it.
        id: u64,
    },
    /// Give a message that was sent with a delay, and is not due yet, another instant.
    #[command(group(clap::ArgGroup::new("instant").required(true).args(["delay", "at"])))]
    Reschedule {
        /// The queue.
        queue: String,
        /// The message's id, as `sampan send` prints it.
        id: u64,
        /// From now on, for example 10m; 0s: ready at once.
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        delay: Option<Duration>,
        /// By this machine's clock, for example 2026-03-14T09:00:00Z; what is past is at once.
        #[arg(long, value_name = "TIME", value_parser = instant::parse)]
        at: Option<SystemTime>,
    },
}
