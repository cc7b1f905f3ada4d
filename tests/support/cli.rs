//! The command line as a script uses it.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::broker::{Broker, SAMPAN};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Each line of stdout as a JSON object; the command must have succeeded.
    pub(crate) fn objects(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{self:?}");
        let parse = |line| serde_json::from_str(line).expect("one JSON object per line");
        self.stdout.lines().map(parse).collect()
    }

    /// Fails unless the command ended with `code`.
    pub(crate) fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

/// `sampan` with `arguments` and no broker named.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(SAMPAN);
    command.args(arguments).stdin(Stdio::null());
    for name in [
        "SAMPAN_SERVER",
        "SAMPAN_CA",
        "SAMPAN_SECRET_ID",
        "SAMPAN_SECRET_KEY",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end, with `input` on its stdin.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Ended {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command can be started");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    // A command that ends without reading all of it is judged by how it ends.
    drop(stdin.write_all(input));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    Ended {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

impl Broker {
    /// `sampan` with `arguments` as a client of this broker.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Ended {
        self.cli_with_input(arguments, b"")
    }

    /// The same with `input` on stdin.
    pub(crate) fn cli_with_input(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut command = command(arguments);
        command.envs(self.env());
        run(command, input)
    }

    /// A command with JSON output that must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        self.cli(&[arguments, &["--output", "json"]].concat())
            .objects()
    }
}
