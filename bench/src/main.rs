//! `sampan-bench`: a load generator that starts real nodes, drives them through the SDK, and
//! measures them from outside.
//!
//! It runs on one thread, for it shares the machine with the nodes, and spends as little per
//! message as it can: no task, no channel, no clock reading for most of them.

mod access;
mod args;
mod backlog;
mod body;
mod brokers;
mod catchup;
mod ceiling;
mod cluster;
mod consumers;
mod delayed;
mod disturb;
mod drain;
mod filler;
mod idle;
mod journal;
mod load;
mod meter;
mod node;
mod paced_sender;
mod receiver;
mod report;
mod sender;
mod status;
mod throughput;
mod usage;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Verb};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Arguments {
        verb: Verb::Cluster(arguments),
    } = Arguments::parse();
    if let Err(error) = arguments.check() {
        error.exit();
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nowhere left to say that standard error is closed.
            writeln!(std::io::stderr(), "sampan-bench: {error:#}").unwrap_or(());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &args::ClusterArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(cluster::run(arguments));
    // The thread that reads a node's output must not keep the process.
    runtime.shutdown_background();
    done
}
