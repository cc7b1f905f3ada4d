//! The command line: every command but `serve`, which is only named here.
//!
//! [`parse`] reads the arguments and tells them apart; [`run`] carries out a client command on a
//! runtime of its own, one thread, [`check()`] and [`restore()`] need none; all turn the outcome
//! into an exit code (`failure`).

mod args;
mod backup;
mod check;
mod cluster;
mod connect;
mod dead_letter;
mod delete;
mod demo;
mod duration;
mod env_file;
mod failure;
mod host_port;
mod instant;
mod message;
mod output;
mod peek;
mod queue;
mod receive;
mod restore;
mod send;
mod size;
mod stdin_lines;

use std::process::ExitCode;

use clap::Parser;

pub(crate) use self::args::{SET_COUNT_MAX, ServeArguments, TlsMode};
pub(crate) use self::host_port::{ListenAddress, parse as parse_host_port};

use self::args::{Arguments, CheckArguments, ClientOptions, ClientVerb, RestoreArguments, Verb};
use self::connect::connect;
use self::failure::Failure;
use self::output::Output;

/// What the arguments ask for.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// Run a broker.
    Serve(ServeArguments),
    /// Anything else, for [`run`].
    Client(Command),
    /// The check of a data folder, for [`check()`].
    Check(Check),
    /// The restoring of a backup, for [`restore()`].
    Restore(Restore),
}

/// A restoring with its options.
#[derive(Debug)]
pub(crate) struct Restore {
    options: ClientOptions,
    arguments: RestoreArguments,
}

/// A check with its options.
#[derive(Debug)]
pub(crate) struct Check {
    options: ClientOptions,
    arguments: CheckArguments,
}

/// A client command with its options.
#[derive(Debug)]
pub(crate) struct Command {
    options: ClientOptions,
    verb: ClientVerb,
}

/// Reads the arguments of this process; ends it with code 2 when they are wrong.
pub(crate) fn parse() -> Invocation {
    let Arguments { options, verb } = Arguments::parse();
    match verb {
        Verb::Serve(arguments) => Invocation::Serve(arguments),
        Verb::Check(arguments) => Invocation::Check(Check { options, arguments }),
        Verb::Restore(arguments) => Invocation::Restore(Restore { options, arguments }),
        Verb::Client(verb) => Invocation::Client(Command { options, verb }),
    }
}

/// Carries out a client command.
pub(crate) fn run(command: Command) -> ExitCode {
    let mut output = Output::stdout(command.options.output);
    let done = run_on_runtime(command, &mut output);
    ended(done, output)
}

/// Verifies a data folder.
pub(crate) fn check(Check { options, arguments }: &Check) -> ExitCode {
    let mut output = Output::stdout(options.output);
    let done = check::run(&arguments.data, &mut output);
    ended(done, output)
}

/// Makes a data folder from a backup.
pub(crate) fn restore(Restore { options, arguments }: &Restore) -> ExitCode {
    let mut output = Output::stdout(options.output);
    let done = restore::run(arguments, &mut output);
    ended(done, output)
}

fn ended(done: Result<(), Failure>, mut output: Output) -> ExitCode {
    // What was printed before a failure is true all the same.
    let flushed = output.flush();
    match done.and(flushed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            if code != 0 {
                output::complain(&failure.to_string());
            }
            ExitCode::from(code)
        }
    }
}

fn run_on_runtime(command: Command, output: &mut Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::System {
            what: "start a runtime",
            source,
        })?;
    let done = runtime.block_on(run_verb(command, output));
    // A thread that waits for standard input or for a broker must not keep the process.
    runtime.shutdown_background();
    done
}

async fn run_verb(command: Command, output: &mut Output) -> Result<(), Failure> {
    let Command { options, verb } = command;
    match verb {
        ClientVerb::Queue(verb) => queue::run(&connect(&options).await?, verb, output).await,
        ClientVerb::Send(arguments) => {
            let source = send::Source::new(&arguments)?;
            send::run(&connect(&options).await?, arguments, source, output).await
        }
        ClientVerb::Receive(arguments) => {
            receive::run(&connect(&options).await?, &arguments, output).await
        }
        ClientVerb::Delete(arguments) => {
            delete::run(&connect(&options).await?, &arguments, output).await
        }
        ClientVerb::Message(verb) => message::run(&connect(&options).await?, &verb, output).await,
        ClientVerb::DeadLetter(verb) => {
            dead_letter::run(&connect(&options).await?, &verb, output).await
        }
        ClientVerb::Cluster(verb) => cluster::run(&connect(&options).await?, &verb, output).await,
        ClientVerb::Backup(arguments) => backup::run(&options, &arguments.folder, output).await,
        ClientVerb::Demo(arguments) => demo::run(&arguments, output).await,
    }
}
