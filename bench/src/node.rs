//! A measured node: a child process with a data folder, and what the kernel knows of it.
//!
//! It takes free ports at its first start and keeps them, so that others find it again.
//!
//! Invariant: the child does not outlive this value; the folder is its owner's.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::access::Access;
use crate::args::Switch;
use crate::first_line;
use crate::signals;
use crate::usage;

/// How long a node may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a node may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is looked at while it ends.
const STOP_POLL: Duration = Duration::from_millis(20);
/// How much of the log is shown when a node fails.
const LOG_TAIL_LEN: usize = 2_000;
/// What a node logs when it did not get on by its log alone.
const SNAPSHOT_INSTALLED: &str = "a snapshot was installed";

/// What distinguishes a node.
#[derive(Clone, Debug)]
pub(crate) struct NodeOptions {
    pub(crate) id: u64,
    /// Everything of the node is in here; it exists.
    pub(crate) folder: PathBuf,
    pub(crate) tls: Switch,
    pub(crate) cores: Option<u16>,
    /// How many sets a cluster of this node alone gets.
    pub(crate) sets: Option<u32>,
    /// The folder that the nodes of a cluster share; `None`: a node without peers.
    pub(crate) shared: Option<PathBuf>,
}

/// What a node says when it serves; other keys are ignored.
#[derive(Clone, Debug, Deserialize)]
struct Ready {
    client: String,
    peer: Option<String>,
    http: Option<String>,
    env_file: PathBuf,
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Node {
    options: NodeOptions,
    /// Absent while it does not run.
    child: Option<Child>,
    /// Of its latest start.
    ready: Option<Ready>,
}

impl Node {
    /// A node that does not run yet.
    pub(crate) fn new(options: NodeOptions) -> Self {
        Node {
            options,
            child: None,
            ready: None,
        }
    }

    /// Starts it and waits until it serves. `join`: peer addresses of the others.
    pub(crate) async fn start(&mut self, join: &[String]) -> anyhow::Result<()> {
        let program = find_program()?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let child = Command::new(&program)
            .args(self.arguments(join))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        // From here on the child is killed when anything fails.
        self.child = Some(child);
        self.ready = Some(self.wait_until_ready().await?);
        Ok(())
    }

    fn arguments(&self, join: &[String]) -> Vec<String> {
        let ready = self.ready.as_ref();
        let address =
            |known: Option<&String>| known.map_or("127.0.0.1:0", String::as_str).to_owned();
        let mut arguments = vec!["serve".to_owned(), "--dev".to_owned()];
        let mut put = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        put("--data", self.data().display().to_string());
        put("--tls", self.options.tls.name().to_owned());
        put("--listen", address(ready.map(|ready| &ready.client)));
        if let Some(cores) = self.options.cores {
            put("--cores", cores.to_string());
        }
        if let Some(sets) = self.options.sets {
            put("--sets", sets.to_string());
        }
        if let Some(shared) = &self.options.shared {
            put("--dev-ca", shared.display().to_string());
            put("--node-id", self.options.id.to_string());
            put(
                "--peer",
                address(ready.and_then(|ready| ready.peer.as_ref())),
            );
            put(
                "--http",
                address(ready.and_then(|ready| ready.http.as_ref())),
            );
            join.iter().for_each(|peer| put("--join", peer.clone()));
        }
        arguments
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<Ready> {
        let id = self.options.id;
        let stdout = self.child.as_mut().and_then(|child| child.stdout.take());
        let stdout = stdout.context("the node has no output")?;
        let line = match tokio::time::timeout(START_TIMEOUT, first_line::read(stdout)?).await {
            Err(_) => bail!(
                "node {id} did not get ready in time; its log:\n{}",
                self.log_tail()
            ),
            Ok(Ok(Ok(line))) if !line.is_empty() => line,
            Ok(_) => bail!(
                "node {id} ended before it was ready; its log:\n{}",
                self.log_tail()
            ),
        };
        parse_ready(&line).with_context(|| format!("node {id} said {line:?} instead of ready"))
    }

    pub(crate) fn id(&self) -> u64 {
        self.options.id
    }

    /// The end of what it logged.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL_LEN)..];
        String::from_utf8_lossy(tail).into_owned()
    }

    /// How many snapshots it has installed, all its starts together.
    pub(crate) fn snapshot_count(&self) -> anyhow::Result<usize> {
        let log = fs::read(self.log_file())?;
        let log = String::from_utf8_lossy(&log);
        Ok(log
            .lines()
            .filter(|line| line.contains(SNAPSHOT_INSTALLED))
            .count())
    }

    /// How a client reaches it.
    pub(crate) fn access(&self) -> anyhow::Result<Access> {
        Access::read(&self.ready.as_ref().context("the node never ran")?.env_file)
    }

    /// Where the other nodes reach it.
    pub(crate) fn peer_address(&self) -> Option<&String> {
        self.ready.as_ref()?.peer.as_ref()
    }

    /// Where it tells its figures.
    pub(crate) fn http_address(&self) -> Option<&str> {
        self.ready.as_ref()?.http.as_deref()
    }

    /// CPU time since its latest start, user and system, all threads.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        usage::cpu_time(self.running()?.id())
    }

    /// The most memory it has had, in bytes.
    pub(crate) fn memory_peak(&self) -> anyhow::Result<u64> {
        usage::memory_peak(self.running()?.id())
    }

    /// The memory it has now, in bytes.
    pub(crate) fn memory_now(&self) -> anyhow::Result<u64> {
        usage::memory_now(self.running()?.id())
    }

    /// SIGKILL. The process is gone when this returns.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the node does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        signals::send(self.running()?, libc::SIGSTOP)
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        signals::send(self.running()?, libc::SIGCONT)
    }

    /// Takes everything away that it has stored; it does not run. The files stay until the end:
    /// removing gigabytes holds up the syncs of the other nodes, which share a disk only here.
    pub(crate) fn wipe(&self) -> anyhow::Result<()> {
        Ok(fs::rename(self.data(), self.options.folder.join("lost"))?)
    }

    /// Ends it with SIGTERM for good; returns the blocks of its data folder in bytes.
    pub(crate) async fn stop(mut self) -> anyhow::Result<u64> {
        self.end().await?;
        usage::disk_len(&self.data())
    }

    /// Ends it with SIGTERM.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        signals::send(self.running()?, libc::SIGTERM)?;
        let status = tokio::time::timeout(STOP_TIMEOUT, self.ended()).await;
        let status = status.context("the node did not end after SIGTERM")??;
        if !status.success() {
            bail!(
                "node {} ended with {status}; its log:\n{}",
                self.id(),
                self.log_tail()
            );
        }
        Ok(())
    }

    async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        loop {
            let child = self.child.as_mut().context("the node does not run")?;
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            tokio::time::sleep(STOP_POLL).await;
        }
    }

    fn running(&self) -> anyhow::Result<&Child> {
        self.child.as_ref().context("the node does not run")
    }

    fn data(&self) -> PathBuf {
        self.options.folder.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.options.folder.join("node.log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Nothing can be done about a child that can't be killed, and we are ending.
            drop(child.kill().and_then(|()| child.wait()));
        }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        let ready = parse_ready(line).expect("ready");
        assert_eq!(ready.env_file, Path::new("/d/dev.env"));
        assert_eq!((ready.client.as_str(), ready.peer), ("127.0.0.1:1", None));
        assert!(parse_ready("listening").is_none());
    }

    fn node(shared: Option<&str>) -> Node {
        Node::new(NodeOptions {
            id: 2,
            folder: PathBuf::from("/n"),
            tls: Switch::Off,
            cores: Some(1),
            sets: None,
            shared: shared.map(PathBuf::from),
        })
    }

    #[test]
    fn a_node_by_itself_has_no_peer_port() {
        let arguments = node(None).arguments(&[]).join(" ");
        let all = "serve --dev --data /n/data --tls off --listen 127.0.0.1:0 --cores 1";
        assert_eq!(arguments, all);
    }

    #[test]
    fn a_node_that_starts_again_keeps_its_addresses() {
        let mut node = node(Some("/ca"));
        let ready =
            "ready {\"client\":\"a:1\",\"peer\":\"a:2\",\"http\":\"a:3\",\"env_file\":\"/e\"}";
        node.ready = parse_ready(ready);
        let arguments = node.arguments(&["b:2".to_owned()]).join(" ");
        assert!(arguments.contains("--listen a:1"), "{arguments}");
        let rest = "--dev-ca /ca --node-id 2 --peer a:2 --http a:3 --join b:2";
        assert!(arguments.ends_with(rest), "{arguments}");
    }
}
