//! `sampan-bench`: a load generator that starts a real broker, drives it through the SDK, and
//! measures it from outside.
//!
//! It runs on one thread, for it shares the machine with the broker, and spends as little per
//! message as it can: no task, no channel, no clock reading for most of them.

mod args;
mod backlog;
mod body;
mod broker;
mod cluster;
mod meter;
mod receiver;
mod report;
mod sender;
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
    // The thread that reads the broker's output must not keep the process.
    runtime.shutdown_background();
    done
}
