//! The processes of a ceiling: what each is asked to do, and the handle that ends it.
//!
//! Each says one line when it is ready (its address, or the client what came out), and ends when
//! its standard input does: so none outlives the program that started it, however that ends.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;

use super::{client, follower, server};
use crate::first_line;

/// How long a process may take until it says its line, beside what it measures.
const LINE_TIMEOUT: Duration = Duration::from_secs(86_460);

/// Which of the processes.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Part {
    /// Takes frames and acknowledges them.
    Server {
        /// Its log.
        log: PathBuf,
        /// Addresses of its followers.
        followers: Vec<SocketAddr>,
    },
    /// Writes the server's batches to a log of its own.
    Follower {
        /// Its log.
        log: PathBuf,
    },
    /// Sends.
    Client {
        /// Address of the server.
        server: SocketAddr,
        /// What to send.
        load: String,
    },
}

impl Part {
    /// Does it; returns for the client only.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        std::thread::Builder::new()
            .name("standard input".to_owned())
            .spawn(end_with_input)?;
        match self {
            Part::Server { log, followers } => server::run(log, followers),
            Part::Follower { log } => follower::run(log),
            Part::Client { server, load } => client::run(*server, serde_json::from_str(load)?),
        }
    }
}

fn end_with_input() {
    let mut byte = [0];
    while std::io::stdin().read(&mut byte).is_ok_and(|len| len > 0) {}
    std::process::exit(0);
}

/// Says the one line.
pub(super) fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// A running process; it ends with this value.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    said: String,
}

impl Process {
    /// Starts this program as a part, and waits for its line.
    pub(super) async fn start(arguments: &[String]) -> anyhow::Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .arg("ceiling-part")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start this program again")?;
        // From here on the child is killed when anything fails.
        let mut process = Process {
            child,
            said: String::new(),
        };
        let stdout = process.child.stdout.take();
        let line = first_line::read(stdout.context("the child has no output")?)?;
        let line = tokio::time::timeout(LINE_TIMEOUT, line).await??;
        process.said = line?.trim().to_owned();
        if process.said.is_empty() {
            bail!("the {} of the ceiling failed", arguments[0]);
        }
        Ok(process)
    }

    /// Its line.
    pub(super) fn said(&self) -> &str {
        &self.said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a child that can't be killed.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}
