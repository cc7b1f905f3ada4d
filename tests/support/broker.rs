//! A broker process of the test's own: its folder, its port and its output.
//!
//! A killed broker comes back on the same port, which in between belongs to nobody: another test's
//! socket could take it, and a client that tries to reconnect could be connected to itself. So the
//! port is bound for the whole test by a socket that never listens, which leaves it to the broker
//! and to nobody else.
//!
//! What a test target does with its broker beyond this is in the files beside this one; each
//! target names those it uses.
//!
//! Invariant: the process is gone when the value is dropped, whatever the test came to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::first_line::first_line;

/// The binary under test.
pub(crate) const SAMPAN: &str = env!("CARGO_BIN_EXE_sampan");

/// What is special about a test's broker.
#[derive(Default)]
pub(crate) struct Setup {
    /// Without TLS, so that bytes can be written and system calls be read.
    pub(crate) without_tls: bool,
    /// Lines of the section `[storage]` of its configuration.
    pub(crate) storage: String,
    /// A command that the broker is run by, such as `strace`.
    pub(crate) run_by: Vec<String>,
}

/// See the head of the file.
pub(crate) struct Broker {
    pub(super) setup: Setup,
    pub(super) address: SocketAddr,
    pub(super) child: Option<Child>,
    folder: TempDir,
    _port: Socket,
}

impl Broker {
    /// Starts a broker in a new folder and waits until it is ready.
    pub(crate) fn start(setup: Setup) -> Broker {
        let folder = tempfile::tempdir().expect("a folder for the broker");
        let (port, address) = reserve_port();
        let mut broker = Broker {
            setup,
            address,
            child: None,
            folder,
            _port: port,
        };
        broker.launch();
        broker
    }

    /// Starts the process and waits until it is ready.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "the broker runs already");
        let stdout = self.spawn();
        let line = first_line(stdout);
        let ready = line
            .strip_prefix("ready ")
            .and_then(|text| serde_json::from_str(text).ok());
        let ready: Value = ready.unwrap_or_else(|| {
            panic!(
                "the broker said {line:?} instead of ready; its log:\n{}",
                self.log()
            )
        });
        assert_eq!(ready["client"], self.address.to_string(), "{line}");
        assert_eq!(ready["node"], 1, "{line}");
    }

    /// Starts the process and returns its standard output.
    pub(super) fn spawn(&mut self) -> ChildStdout {
        let mut child = self.command().spawn().expect("the broker can be started");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        self.child = Some(child);
        stdout
    }

    pub(super) fn command(&self) -> Command {
        let config = self.folder.path().join("sampan.toml");
        // No test may depend on how much room the machine has.
        let text = format!(
            "[storage]\nfree_len_min = 1048576\n{}\n",
            self.setup.storage
        );
        fs::write(&config, text).expect("the configuration can be written");
        let mut words = self.setup.run_by.iter().map(String::as_str).chain([SAMPAN]);
        let mut command = Command::new(words.next().expect("the binary at least"));
        command
            .args(words)
            .args(["serve", "--dev", "--cores", "2", "--config"])
            .arg(config);
        command
            .arg("--data")
            .arg(self.data())
            .arg("--listen")
            .arg(self.address.to_string());
        if self.setup.without_tls {
            command.args(["--tls", "off"]);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file());
        command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command.stderr(log.expect("the broker's log can be opened"));
        command
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// All that it and its predecessors in this folder wrote to stderr.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("stderr.log")
    }

    /// The variables that a client program needs.
    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        read_env(&self.data().join("dev.env"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // One that has ended already cannot be killed, only reaped.
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            println!("the broker's log:\n{}", self.log());
        }
    }
}

fn reserve_port() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .set_reuse_address(true)
        .expect("the broker may bind the port too");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("a free port");
    let address = socket
        .local_addr()
        .expect("it is bound")
        .as_socket()
        .expect("an IP address");
    (socket, address)
}

fn read_env(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).expect("the broker wrote its env file");
    let pairs = text
        .lines()
        .map(|line| line.split_once('=').expect("NAME=VALUE"));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
