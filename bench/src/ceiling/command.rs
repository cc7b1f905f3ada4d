//! What the machine can do at most, by a program that somebody names.

use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

/// Its last line; other keys are ignored.
#[derive(Debug, Deserialize)]
struct Measured {
    msgs_per_s: f64,
}

/// Runs the command and returns its messages a second.
pub(crate) async fn measure(command: &str) -> anyhow::Result<u64> {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = tokio::task::spawn_blocking(move || shell.output()).await?;
    let output = output.context("cannot run the command of the ceiling")?;
    if !output.status.success() {
        bail!("the command of the ceiling ended with {}", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).context("the command of the ceiling did not end with a line with msgs_per_s")
}

fn parse(text: &str) -> Option<u64> {
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    let measured: Measured = serde_json::from_str(line).ok()?;
    // Saturates: a negative rate becomes 0, which is none.
    Some(measured.msgs_per_s.round() as u64).filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        assert_eq!(
            parse("x\n{\"a\":1,\"msgs_per_s\":250000.4}\n\n"),
            Some(250_000)
        );
        assert_eq!(parse("{\"msgs_per_s\":1}\nend"), None);
        assert_eq!(parse("{\"msgs_per_s\":0}"), None);
        assert_eq!(parse(""), None);
    }

    #[tokio::test]
    async fn a_command_that_fails_is_an_error() {
        let rate = measure("echo '{\"msgs_per_s\":7}'").await;
        assert_eq!(rate.expect("measured"), 7);
        assert!(measure("exit 3").await.is_err());
        assert!(measure("echo").await.is_err());
    }
}
