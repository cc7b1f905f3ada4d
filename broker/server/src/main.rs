//! `sampan`: a message queue broker, and its commands.
//!
//! `serve` runs a broker ([`serve`]), `check` looks at the folder of one that does not run,
//! `restore` makes one from a backup; every other command is a client ([`cli`]).
//! ARCHITECTURE.md shows how the pieces fit.

mod accounts;
mod allocator;
mod cli;
mod connection;
mod serve;

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

/// What `serve` exits with when it could not start or stop cleanly.
const SERVE_FAILED: u8 = 1;

fn main() -> ExitCode {
    match cli::parse() {
        cli::Invocation::Serve(arguments) => {
            allocator::keep_freed_memory();
            log_to_stderr();
            if let Err(error) = allocator::refuse_huge_pages() {
                tracing::warn!(%error, "huge pages stay on: some messages may take longer");
            }
            match serve::run(&arguments) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!("{error:#}");
                    ExitCode::from(SERVE_FAILED)
                }
            }
        }
        cli::Invocation::Client(command) => cli::run(command),
        cli::Invocation::Check(check) => cli::check(&check),
        cli::Invocation::Restore(restore) => cli::restore(&restore),
    }
}

/// What is logged unless `RUST_LOG` says otherwise. openraft tells each step of each checkpoint at
/// info, and each try to reach a peer at warn, which would bury what an operator has to see.
const LOG_FILTER_DEFAULT: &str = "info,openraft=error";

/// Logs go to stderr.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(LOG_FILTER_DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
