//! The measured broker: a child process with a fresh data folder, and what the kernel knows of it.
//!
//! Invariant: neither the child nor its folder outlives this value.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::args::Switch;
use crate::usage;

/// How long the broker may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the broker may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is looked at while it ends.
const STOP_POLL: Duration = Duration::from_millis(20);
/// How much of the log is shown when the broker fails.
const LOG_TAIL_LEN: usize = 2_000;

/// What the broker says when it serves; other keys are ignored.
#[derive(Debug, Deserialize)]
struct Ready {
    env_file: PathBuf,
}

/// A broker that runs.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    ready: Ready,
    // Dropped after the child was killed by `drop`.
    folder: TempDir,
}

impl Broker {
    /// Starts a broker on a free port.
    pub(crate) async fn start(tls: Switch) -> anyhow::Result<Self> {
        let program = find_program()?;
        let folder = tempfile::Builder::new().prefix("sampan-bench-").tempdir()?;
        let log = File::create(folder.path().join("broker.log"))?;
        let tls = match tls {
            Switch::On => "on",
            Switch::Off => "off",
        };
        let child = Command::new(&program)
            .args([
                "serve",
                "--dev",
                "--listen",
                "127.0.0.1:0",
                "--tls",
                tls,
                "--data",
            ])
            .arg(folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        // From here on the child is killed when anything fails.
        let mut broker = Broker {
            child,
            ready: Ready {
                env_file: PathBuf::new(),
            },
            folder,
        };
        broker.ready = broker.wait_until_ready().await?;
        Ok(broker)
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<Ready> {
        let stdout = self
            .child
            .stdout
            .take()
            .context("the broker has no output")?;
        let line = match tokio::time::timeout(START_TIMEOUT, read_first_line(stdout)?).await {
            Err(_) => bail!(
                "the broker did not get ready in time; its log:\n{}",
                self.log_tail()
            ),
            Ok(Ok(Ok(line))) if !line.is_empty() => line,
            Ok(_) => bail!(
                "the broker ended before it was ready; its log:\n{}",
                self.log_tail()
            ),
        };
        parse_ready(&line).with_context(|| format!("the broker said {line:?} instead of ready"))
    }

    /// The end of what the broker logged.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.folder.path().join("broker.log")).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL_LEN)..];
        String::from_utf8_lossy(tail).into_owned()
    }

    /// The file with the variables that a client of this broker needs.
    pub(crate) fn env_file(&self) -> &Path {
        &self.ready.env_file
    }

    /// CPU time used so far, user and system, all threads.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        usage::cpu_time(self.child.id())
    }

    /// The most memory it has had, in bytes.
    pub(crate) fn memory_peak(&self) -> anyhow::Result<u64> {
        usage::memory_peak(self.child.id())
    }

    /// Ends the broker with SIGTERM; returns the blocks of its data folder in bytes.
    pub(crate) async fn stop(mut self) -> anyhow::Result<u64> {
        terminate(&self.child)?;
        let status = tokio::time::timeout(STOP_TIMEOUT, self.ended()).await;
        let status = status.context("the broker did not end after SIGTERM")??;
        if !status.success() {
            bail!(
                "the broker ended with {status}; its log:\n{}",
                self.log_tail()
            );
        }
        usage::disk_len(&self.folder.path().join("data"))
    }

    async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(STOP_POLL).await;
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Nothing can be done about a child that can't be killed, and we are ending.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

/// `sampan` beside this program, then `$SAMPAN_BIN`, then in PATH.
fn find_program() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("sampan");
    let named = std::env::var_os("SAMPAN_BIN");
    let path = std::env::var_os("PATH").unwrap_or_default();
    choose_program(beside, named.as_deref(), &path).context(
        "no sampan program beside this one, in $SAMPAN_BIN or in PATH; \
         build it with: cargo build --release -p sampan -p sampan-bench",
    )
}

fn choose_program(beside: PathBuf, named: Option<&OsStr>, path: &OsStr) -> Option<PathBuf> {
    let candidates = std::iter::once(beside)
        .chain(named.map(PathBuf::from))
        .chain(std::env::split_paths(path).map(|folder| folder.join("sampan")));
    candidates.into_iter().find(|candidate| candidate.is_file())
}

fn parse_ready(line: &str) -> Option<Ready> {
    serde_json::from_str(line.trim().strip_prefix("ready ")?).ok()
}

/// Reads one line on a thread, and then whatever follows, so that the child never blocks on us.
fn read_first_line(stdout: ChildStdout) -> io::Result<oneshot::Receiver<io::Result<String>>> {
    let (sender, line) = oneshot::channel();
    std::thread::Builder::new()
        .name("broker output".to_owned())
        .spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut first = String::new();
            let read = stdout.read_line(&mut first).map(|_| first);
            // Whoever waited may be gone by now.
            drop(sender.send(read));
            io::copy(&mut stdout, &mut io::sink()).unwrap_or(0);
        })?;
    Ok(line)
}

#[expect(unsafe_code, reason = "the standard library can only send SIGKILL")]
fn terminate(child: &Child) -> anyhow::Result<()> {
    let pid = libc::pid_t::try_from(child.id())?;
    // SAFETY: kill takes no pointers; the child is not reaped yet, so the id is still its own.
    if unsafe { libc::kill(pid, libc::SIGTERM) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error()).context("cannot send SIGTERM to the broker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_beside_wins_over_the_variable_and_that_over_the_path() {
        let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
        let programs = folders
            .each_ref()
            .map(|folder| folder.path().join("sampan"));
        let path = folders[2].path().as_os_str();
        let choose = || choose_program(programs[0].clone(), Some(programs[1].as_os_str()), path);
        assert_eq!(choose(), None);
        for program in programs.iter().rev() {
            fs::write(program, "").expect("written");
            assert_eq!(choose().as_ref(), Some(program));
        }
    }

    #[test]
    fn the_ready_line_names_the_env_file_and_may_have_more_keys() {
        let line =
            "ready {\"node\":1,\"client\":\"127.0.0.1:1\",\"env_file\":\"/d/dev.env\",\"x\":1}\n";
        assert_eq!(
            parse_ready(line).expect("ready").env_file,
            Path::new("/d/dev.env")
        );
        assert!(parse_ready("listening").is_none());
    }
}
