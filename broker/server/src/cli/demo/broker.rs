//! A broker of the demo's own: a child process that is killed without mercy and started again on
//! the same data and the same ports.
//!
//! Its standard error goes to a file beside the data, whose end is shown when it does not start.
//!
//! Invariant: the child never outlives this value; dropping it kills and reaps it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::oneshot;

use super::super::failure::Failure;

/// How long a broker may take until it serves, recovery included.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of the log is shown when the broker does not start.
const LOG_TAIL_LEN: usize = 2_000;

/// What the broker says when it serves; other keys are ignored.
#[derive(Debug, Deserialize)]
struct Ready {
    client: SocketAddr,
    /// Of a node of a cluster.
    peer: Option<SocketAddr>,
    env_file: PathBuf,
}

/// What makes a broker a node of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) node: u64,
    /// Where the CA and the account are that all nodes share.
    pub(super) ca: PathBuf,
    /// Peer addresses of nodes that are there already.
    pub(super) join: Vec<SocketAddr>,
}

impl Membership {
    fn arguments(&self, peer: SocketAddr) -> Vec<String> {
        let (node, ca) = (self.node.to_string(), self.ca.display().to_string());
        let options = [
            ("--node-id", node),
            ("--dev-ca", ca),
            ("--peer", peer.to_string()),
        ];
        let options = options.into_iter().chain(
            self.join
                .iter()
                .map(|address| ("--join", address.to_string())),
        );
        options
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect()
    }
}

/// A broker that runs, or has been killed.
#[derive(Debug)]
pub(super) struct Broker {
    folder: PathBuf,
    membership: Option<Membership>,
    child: Child,
    ready: Ready,
}

impl Broker {
    /// Starts a broker with its data below `folder`, on free ports.
    pub(super) async fn start(
        folder: &Path,
        membership: Option<Membership>,
    ) -> Result<Self, Failure> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut starting = Starting::spawn(folder, any, &arguments(membership.as_ref(), any))?;
        let ready = starting.ready().await?;
        Ok(Broker {
            folder: folder.to_owned(),
            membership,
            child: starting.into_child()?,
            ready,
        })
    }

    /// Ends the broker with SIGKILL and waits until it is gone.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(drop).map_err(|source| Failure::System {
            what: "kill the broker",
            source,
        })
    }

    /// Starts it again with the data and on the ports it had.
    pub(super) async fn restart(&mut self) -> Result<(), Failure> {
        let Ready { client, peer, .. } = self.ready;
        let arguments = arguments(self.membership.as_ref(), peer.unwrap_or(client));
        let mut starting = Starting::spawn(&self.folder, client, &arguments)?;
        self.ready = starting.ready().await?;
        self.child = starting.into_child()?;
        Ok(())
    }

    /// The variables that a client of this broker needs.
    pub(super) fn env_file(&self) -> &Path {
        &self.ready.env_file
    }

    /// Where clients reach it.
    pub(super) fn client_address(&self) -> SocketAddr {
        self.ready.client
    }

    /// Where other nodes reach it.
    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        self.ready.peer
    }
}

fn arguments(membership: Option<&Membership>, peer: SocketAddr) -> Vec<String> {
    membership.map_or_else(Vec::new, |membership| membership.arguments(peer))
}

impl Drop for Broker {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that has not said yet that it serves; dropped, it is killed.
struct Starting {
    child: Option<Child>,
    line: oneshot::Receiver<io::Result<String>>,
    log: PathBuf,
}

impl Starting {
    fn spawn(folder: &Path, listen: SocketAddr, more: &[String]) -> Result<Self, Failure> {
        let failed = |source| Failure::System {
            what: "start the broker",
            source,
        };
        let log = folder.join("broker.log");
        let log_file = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .args(["serve", "--dev", "--listen", &listen.to_string(), "--data"])
            .arg(folder.join("data"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take();
        let mut starting = Starting {
            child: Some(child),
            line: oneshot::channel().1,
            log,
        };
        if let Some(stdout) = stdout {
            starting.line = read_first_line(stdout).map_err(failed)?;
        }
        Ok(starting)
    }

    async fn ready(&mut self) -> Result<Ready, Failure> {
        let line = match tokio::time::timeout(START_TIMEOUT, &mut self.line).await {
            Err(_) => return Err(self.failure("did not get ready in time")),
            Ok(Ok(Ok(line))) if !line.is_empty() => line,
            Ok(_) => return Err(self.failure("ended before it was ready")),
        };
        parse_ready(&line).ok_or_else(|| self.failure(&format!("said {line:?} instead of ready")))
    }

    fn failure(&self, what: &str) -> Failure {
        let log = fs::read(&self.log).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL_LEN)..];
        Failure::Broker(format!(
            "the broker {what}; its log:\n{}",
            String::from_utf8_lossy(tail)
        ))
    }

    fn into_child(mut self) -> Result<Child, Failure> {
        self.child.take().ok_or_else(|| self.failure("is gone"))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

/// Kills and reaps a child; one that has ended already is only reaped.
fn end(child: &mut Child) {
    // Nothing can be done about a child that can't be killed, and we are ending.
    drop(child.kill().and_then(|()| child.wait()));
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

fn parse_ready(line: &str) -> Option<Ready> {
    serde_json::from_str(line.trim().strip_prefix("ready ")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_gives_address_and_env_file_and_may_have_more_keys() {
        let line = "ready {\"node\":1,\"client\":\"127.0.0.1:7411\",\"env_file\":\"/d/dev.env\",\"x\":[]}\n";
        let ready = parse_ready(line).expect("ready");
        assert_eq!(ready.client.port(), 7411);
        assert_eq!(ready.env_file, Path::new("/d/dev.env"));
    }

    #[test]
    fn a_node_names_its_peer_port_and_what_it_joins() {
        let membership = Membership {
            node: 2,
            ca: "/d/ca".into(),
            join: vec![SocketAddr::from(([127, 0, 0, 1], 7413))],
        };
        let arguments = membership.arguments(SocketAddr::from(([127, 0, 0, 1], 7423)));
        let expected = "--node-id 2 --dev-ca /d/ca --peer 127.0.0.1:7423 --join 127.0.0.1:7413";
        assert_eq!(arguments.join(" "), expected);
    }

    #[test]
    fn any_other_line_is_not_ready() {
        for line in [
            "",
            "ready",
            "ready {}",
            "{\"client\":\"127.0.0.1:1\"}",
            "error: x",
        ] {
            assert!(parse_ready(line).is_none(), "{line}");
        }
    }
}
