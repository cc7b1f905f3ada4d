//! `sampan-bench`: a load generator that starts real nodes, drives them through the SDK, and
//! measures them from outside.
//!
//! It runs on one thread, for it shares the machine with the nodes, and spends as little per
//! message as it can: no task, no channel, no clock reading for most of them.

mod access;
mod args;
mod backlog;
mod body;
mod body_len;
mod brokers;
mod catchup;
mod ceiling;
mod charts;
mod checkpoint;
mod cluster;
mod compare;
mod consumers;
mod date;
mod delayed;
mod disturb;
mod drain;
mod figures;
mod filler;
mod first_line;
mod html;
mod idle;
mod journal;
mod latency;
mod load;
mod machine;
mod many_queues;
mod meter;
mod mix;
mod node;
mod paced_sender;
mod parked;
mod progress;
mod ready;
mod receiver;
mod report;
mod schedule;
mod sender;
mod signals;
mod single;
mod status;
mod suite;
mod throughput;
mod ticker;
mod usage;
mod wakeup;

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Arguments, Verb};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let verb = Arguments::parse().verb;
    if let Verb::Cluster(arguments) = &verb
        && let Err(error) = arguments.check()
    {
        error.exit();
    }
    match run(&verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::end();
            // There is nowhere left to say that standard error is closed.
            writeln!(std::io::stderr(), "sampan-bench: {error:#}").unwrap_or(());
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> anyhow::Result<()> {
    if let Verb::CeilingPart(part) = verb {
        return part.run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(do_verb(verb));
    // The thread that reads a child's output must not keep the process.
    runtime.shutdown_background();
    done
}

/// A signal ends it, and with it what was started for it.
async fn do_verb(verb: &Verb) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let doing = async {
        match verb {
            Verb::Cluster(arguments) => cluster::run(arguments).await,
            Verb::Ceiling(arguments) => ceiling::run(arguments).await,
            Verb::Suite(arguments) => suite::run(arguments).await,
            Verb::Compare(arguments) => compare::run(arguments),
            // It has a runtime of its own.
            Verb::CeilingPart(_) => Ok(()),
        }
    };
    tokio::select! {
        done = doing => done,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    }
}
