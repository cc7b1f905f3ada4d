//! One node of a test's cluster: its process, ports, folder and output.
//!
//! Ports and folder stay the same over restarts, so a node that comes back is the same node.
//! Invariant: the process is gone when the value is dropped, whatever the test came to.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::ports::Port;
use crate::first_line::first_line;
use crate::waiting::looks;

/// The binary under test.
pub(crate) const SAMPAN: &str = env!("CARGO_BIN_EXE_sampan");
/// A node that has not ended by then hangs; only a bound for broken ones.
const STOP_MAX: Duration = Duration::from_secs(60);
/// Small, so that checkpoints happen during a test.
const OVERLAY_LEN: u32 = 4 * 1024 * 1024;

/// What distinguishes a start of a node from others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    /// Peer addresses of nodes to join.
    pub(crate) join: Vec<String>,
    /// More arguments of `sampan serve`.
    pub(crate) arguments: Vec<String>,
    /// It is told of no node to join.
    pub(crate) is_alone: bool,
    /// Another build than the one under test.
    pub(crate) binary: Option<PathBuf>,
    /// In a simulating build: what was not synced when the process was killed is gone.
    pub(crate) after_power_cut: bool,
}

/// See the head of the file.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) child: Option<Child>,
    folder: PathBuf,
    /// More lines of the section `[storage]` of its configuration.
    storage: String,
    client: Port,
    peer: Port,
    http: Port,
}

impl Node {
    /// A node with its files below `folder`, not started.
    pub(crate) fn new(id: u64, folder: &Path, storage: &str) -> Node {
        let folder = folder.join(format!("node{id}"));
        fs::create_dir_all(&folder).expect("a folder for the node");
        Node {
            id,
            child: None,
            folder,
            storage: storage.to_owned(),
            client: Port::reserve(),
            peer: Port::reserve(),
            http: Port::reserve(),
        }
    }

    /// Where clients reach it.
    pub(crate) fn client_address(&self) -> SocketAddr {
        self.client.address()
    }

    /// Where it listens for peers.
    pub(crate) fn peer_address(&self) -> SocketAddr {
        self.peer.address()
    }

    /// Where it answers questions about its health.
    pub(crate) fn http_address(&self) -> SocketAddr {
        self.http.address()
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A file that holds how many milliseconds its wall clock is wrong, in a simulating build.
    pub(crate) fn clock_file(&self) -> PathBuf {
        self.folder.join("clock")
    }

    /// All that its processes wrote to stderr.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("stderr.log")
    }

    /// Starts the process with these arguments; returns its output.
    pub(crate) fn spawn(&mut self, arguments: &[String], launch: &Launch) -> ChildStdout {
        assert!(self.child.is_none(), "node {} runs already", self.id);
        let mut child = self
            .command(arguments, launch)
            .spawn()
            .expect("a node can be started");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        self.child = Some(child);
        stdout
    }

    fn command(&self, arguments: &[String], launch: &Launch) -> Command {
        let config = self.folder.join("sampan.toml");
        // No test may depend on how much room the machine has.
        let text = format!(
            "[storage]\nfree_len_min = 1048576\noverlay_len = {OVERLAY_LEN}\n{}\n",
            self.storage
        );
        fs::write(&config, text).expect("the configuration can be written");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file());
        let power_cut = if launch.after_power_cut { "1" } else { "0" };
        let mut command = Command::new(launch.binary.as_deref().unwrap_or(SAMPAN.as_ref()));
        command
            .args(["serve", "--dev", "--cores", "1", "--config"])
            .arg(config)
            .arg("--data")
            .arg(self.data())
            .args(["--listen", &self.client_address().to_string()])
            .args(arguments)
            .args(&launch.arguments)
            .env("SAMPAN_SIMULATED_CLOCK", self.clock_file())
            .env("SAMPAN_SIMULATED_POWER_CUT", power_cut)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("the node's log can be opened"));
        command
    }

    /// Waits until the process says that it is ready.
    pub(crate) fn wait_until_ready(&self, stdout: ChildStdout) -> Value {
        let line = first_line(stdout);
        let ready = line
            .strip_prefix("ready ")
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        ready.unwrap_or_else(|| {
            let log = self.log();
            panic!("node {} said {line:?} instead of ready:\n{log}", self.id)
        })
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("the node runs").id()
    }

    /// SIGKILL. The process is gone when this returns.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the node runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be reaped");
    }

    /// Sends a signal by its name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        // A shell knows `kill` by itself; the program of this name is not everywhere.
        let sent = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{name} {}", self.pid()))
            .status();
        assert!(sent.expect("there is a shell").success());
    }

    /// How it ended, if it has by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let status = child.try_wait().expect("a child can be waited for");
        if status.is_some() {
            self.child = None;
        }
        status
    }

    /// SIGTERM, and waits until it has ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let status = looks(STOP_MAX, || self.ended());
        status.unwrap_or_else(|| panic!("node {} did not end:\n{}", self.id, self.log()))
    }

    /// Removes everything from its data folder.
    pub(crate) fn wipe(&self) {
        assert!(self.child.is_none(), "the node runs");
        fs::remove_dir_all(self.data()).expect("the data can be removed");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // One that has ended already cannot be killed, only reaped.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
