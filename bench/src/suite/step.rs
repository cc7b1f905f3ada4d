//! One run of this program as part of a suite.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::args::SuiteArguments;
use crate::signals;

/// How often it is looked whether a step has ended.
const POLL: Duration = Duration::from_millis(50);

/// How long a step is measured.
#[derive(Clone, Copy, Debug)]
pub(super) enum Time {
    /// As long as the suite says.
    Suite,
    /// So many seconds; with `--quick` fewer.
    Own { seconds: u32, quick: u32 },
    /// It ends by itself.
    None,
}

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    /// Verb and options.
    pub(super) line: &'static str,
    /// Further options with `--quick`; the last of two that say the same counts.
    pub(super) quick: &'static str,
    pub(super) time: Time,
}

impl Step {
    fn words(&self, arguments: &SuiteArguments) -> Vec<String> {
        let quick = if arguments.quick { self.quick } else { "" };
        let words = self.line.split_whitespace().chain(quick.split_whitespace());
        let mut words: Vec<_> = words.map(str::to_owned).collect();
        let seconds = match self.time {
            Time::Suite => Some(arguments.seconds()),
            Time::Own { quick, .. } if arguments.quick => Some(quick),
            Time::Own { seconds, .. } => Some(seconds),
            Time::None => None,
        };
        if let Some(seconds) = seconds {
            words.extend(["--seconds".to_owned(), seconds.to_string()]);
        }
        words
    }

    /// How anybody repeats it.
    pub(super) fn command(&self, arguments: &SuiteArguments) -> String {
        format!("sampan-bench {}", self.words(arguments).join(" "))
    }

    /// Its JSON object.
    pub(super) async fn run(&self, arguments: &SuiteArguments) -> anyhow::Result<Value> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(self.words(arguments))
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().context("cannot start this program again")?;
        let mut running = Running(child);
        let (stdout, stderr) = (running.0.stdout.take(), running.0.stderr.take());
        let stdout = tokio::task::spawn_blocking(move || read(stdout));
        let stderr = tokio::task::spawn_blocking(move || read(stderr));
        let status = running.ended().await?;
        let (stdout, stderr) = (stdout.await?, stderr.await?);
        if !status.success() {
            bail!("{}", String::from_utf8_lossy(&stderr).trim());
        }
        serde_json::from_slice(&stdout).context("the step printed no JSON object")
    }
}

/// All that comes; what can't be read is as if it had not been said.
fn read(output: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    output
        .map_or(Ok(0), |mut output| output.read_to_end(&mut bytes))
        .unwrap_or(0);
    bytes
}

/// A step under way. One that is given up is told to end, and ends what it has started.
struct Running(Child);

impl Running {
    async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // Nothing can be done about a child that takes no signal, and we are ending.
            drop(signals::send(&self.0, libc::SIGTERM).map(|()| self.0.wait()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_the_suites_time_unless_it_has_its_own() {
        let mut arguments = SuiteArguments {
            out: "x".into(),
            only: Vec::new(),
            runs: None,
            seconds: None,
            quick: false,
            list: false,
        };
        let mut step = Step {
            name: "a",
            line: "cluster --workload parked",
            quick: "--parked 5",
            time: Time::Suite,
        };
        let command = Step::command;
        let line = "sampan-bench cluster --workload parked";
        assert_eq!(command(&step, &arguments), format!("{line} --seconds 5"));
        step.time = Time::Own {
            seconds: 30,
            quick: 6,
        };
        assert_eq!(command(&step, &arguments), format!("{line} --seconds 30"));
        arguments.quick = true;
        let quick = format!("{line} --parked 5 --seconds 6");
        assert_eq!(command(&step, &arguments), quick);
        step.time = Time::None;
        assert_eq!(command(&step, &arguments), format!("{line} --parked 5"));
    }
}
