//! The arguments of `sampan dead-letter`.

use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};

use super::super::instant;

/// What to do with messages that queues gave up.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetterVerb {
    /// Move messages back to the queues that they came from. Goes on by itself; see `status`.
    Redrive(RedriveArguments),
    /// Show how far the newest redrive of a queue is.
    Status {
        /// The queue whose messages move.
        name: String,
    },
    /// End the redrive of a queue; what is on its way goes on.
    Cancel {
        /// The queue whose messages move.
        name: String,
    },
}

/// Arguments of `sampan dead-letter redrive`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RedriveArguments {
    /// The queue whose messages move: a dead-letter queue, or any other with --to.
    pub(crate) name: String,
    /// The queue that gets them all; absent: each goes to the queue that it came from.
    #[arg(long, value_name = "QUEUE")]
    pub(crate) to: Option<String>,
    /// Only messages given up then or later, for example 2026-03-14T09:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = instant::parse)]
    pub(crate) since: Option<SystemTime>,
    /// Only messages given up for this.
    #[arg(long, value_enum)]
    pub(crate) reason: Option<ReasonArgument>,
    /// Only messages that this queue gave up.
    #[arg(long, value_name = "QUEUE")]
    pub(crate) source: Option<String>,
    /// Only messages that have this header.
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    pub(crate) header: Option<(String, String)>,
    /// At most so many messages a second; absent: as fast as it goes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Count the messages that would move, and move none.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReasonArgument {
    /// It was received too often.
    ReceiveCount,
    /// It was too old.
    Age,
    /// It made room in a full queue.
    Overflow,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or_default();
    match name {
        "" => Err("expected a name and a value, like tenant=acme".to_owned()),
        name => Ok((name.to_owned(), value.to_owned())),
    }
}
