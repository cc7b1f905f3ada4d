//! A cluster of real processes on this machine, whose peers reach one another through proxies.
//!
//! Owns the nodes, the network between them and the folder with all their data. The folder is kept
//! when a test fails, for what is in it tells why.
//!
//! Invariants: every node listens on the same ports for as long as the cluster lives. A node that
//! was replaced or removed never comes back under its number.

pub(crate) mod node;
pub(crate) mod ports;
pub(crate) mod status;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use self::node::{Launch, Node, SAMPAN};
use self::status::Status;
use crate::proxy::Network;
use crate::waiting::looks;

/// A cluster that is not whole by then never will be; only a bound for broken ones.
const WHOLE_MAX: Duration = Duration::from_secs(120);
/// Voters of a set when there are enough nodes.
const VOTER_COUNT: usize = 3;

/// What kind of cluster a test needs.
#[derive(Clone, Debug)]
pub(crate) struct ClusterOptions {
    pub(crate) node_count: u64,
    pub(crate) set_count: u32,
    /// More lines of the section `[storage]` of every node's configuration.
    pub(crate) storage: String,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// See the head of the file.
pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) network: Network,
    options: ClusterOptions,
    folder: TempDir,
    /// Where its peers reach each node: a proxy.
    pub(crate) advertised: BTreeMap<u64, String>,
    env: BTreeMap<String, String>,
    next_id: u64,
}

impl Cluster {
    /// Forms a cluster of nodes that are all started in one way, and waits until it is whole.
    pub(crate) fn start(options: ClusterOptions, launch: &Launch) -> Cluster {
        let (node_count, set_count) = (options.node_count, options.set_count);
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            network: Network::new(),
            options,
            folder: tempfile::tempdir().expect("a folder for the cluster"),
            advertised: BTreeMap::new(),
            env: BTreeMap::new(),
            next_id: 1,
        };
        let first = cluster.add_node();
        cluster.launch(first, launch);
        cluster.env = read_env(&cluster.nodes[&first].data().join("dev.env"));
        if cluster.is_single() {
            return cluster;
        }
        let sets = set_count.to_string();
        cluster.must(first, &["cluster", "init", "--sets", &sets]);
        for _ in 1..node_count {
            let id = cluster.add_node();
            cluster.launch(id, launch);
        }
        cluster
            .wait_until_whole(WHOLE_MAX, u64::MAX)
            .expect("the cluster forms");
        cluster
    }

    /// A cluster of one node knows nothing of others: no peers, no status.
    pub(crate) fn is_single(&self) -> bool {
        self.options.node_count == 1
    }

    /// Where everything of it is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes another node, without starting it; returns its number.
    pub(crate) fn add_node(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let node = Node::new(id, self.folder(), &self.options.storage);
        let advertised = self.network.add(id, node.peer_address());
        self.advertised.insert(id, advertised.to_string());
        self.nodes.insert(id, node);
        id
    }

    /// Starts a node and waits until it is ready.
    pub(crate) fn launch(&mut self, id: u64, launch: &Launch) {
        let stdout = self.spawn(id, launch);
        let ready = self.nodes[&id].wait_until_ready(stdout);
        assert_eq!(ready["node"], id, "{ready}");
    }

    /// Starts a node that may refuse to run.
    pub(crate) fn spawn(&mut self, id: u64, launch: &Launch) -> ChildStdout {
        let mut launch = launch.clone();
        if launch.join.is_empty() && !launch.is_alone {
            let others = self.advertised.iter().filter(|(other, _)| **other != id);
            launch.join = others.map(|(_, address)| address.clone()).collect();
        }
        let arguments = self.arguments(id, &launch);
        let node = self.nodes.get_mut(&id).expect("a node of this cluster");
        let stdout = node.spawn(&arguments, &launch);
        self.network.set_pid(id, node.pid());
        stdout
    }

    fn arguments(&self, id: u64, launch: &Launch) -> Vec<String> {
        if self.is_single() {
            return Vec::new();
        }
        let node = &self.nodes[&id];
        let ca = self.folder().join("ca").display().to_string();
        let options = [
            ("--dev-ca", ca),
            ("--node-id", id.to_string()),
            ("--peer", node.peer_address().to_string()),
            ("--advertise-peer", self.advertised[&id].clone()),
            ("--http", node.http_address().to_string()),
        ];
        let options = options
            .into_iter()
            .map(|(name, value)| [name.to_owned(), value]);
        let joins = launch
            .join
            .iter()
            .map(|address| ["--join".to_owned(), address.clone()]);
        options.chain(joins).flatten().collect()
    }

    /// The variables of a client that knows all nodes.
    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        let addresses = self
            .nodes
            .values()
            .map(|node| node.client_address().to_string());
        let addresses: Vec<String> = addresses.collect();
        self.env_with(&addresses.join(","))
    }

    /// The variables of a client that knows the nodes at these addresses.
    pub(crate) fn env_with(&self, addresses: &str) -> BTreeMap<String, String> {
        let mut env = self.env.clone();
        let server = env
            .get_mut("SAMPAN_SERVER")
            .expect("the node names its address");
        *server = format!("sampan+tls://{addresses}");
        env
    }

    /// `sampan` with `arguments` as a client of one node.
    pub(crate) fn cli(&self, id: u64, arguments: &[&str]) -> Ended {
        self.cli_at(&self.nodes[&id].client_address().to_string(), arguments)
    }

    /// `sampan` with `arguments` as a client of whoever listens at `address`.
    pub(crate) fn cli_at(&self, address: &str, arguments: &[&str]) -> Ended {
        let mut command = Command::new(SAMPAN);
        command
            .args(arguments)
            .envs(self.env_with(address))
            .stdin(Stdio::null());
        let output = command.output().expect("the command can be started");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ended {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// A command that must succeed; returns its output.
    pub(crate) fn must(&self, id: u64, arguments: &[&str]) -> String {
        let ended = self.cli(id, arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    /// What a node says of the cluster; `None` when it does not answer.
    pub(crate) fn status_at(&self, id: u64) -> Option<Status> {
        let ended = self.cli(id, &["cluster", "status", "--output", "json"]);
        (ended.code == Some(0))
            .then(|| Status::parse(&ended.stdout))
            .flatten()
    }

    /// Waits until every node of the cluster runs and is up to date, by what each of them says.
    pub(crate) fn wait_until_whole(&self, at_most: Duration, lag_max: u64) -> Result<(), String> {
        if self.is_single() {
            return Ok(());
        }
        let nodes: Vec<u64> = self.nodes.keys().copied().collect();
        let trouble = || {
            nodes.iter().find_map(|id| {
                let Some(status) = self.status_at(*id) else {
                    return Some(format!("node {id} does not answer"));
                };
                let trouble = status.trouble(&nodes, nodes.len().min(VOTER_COUNT), lag_max);
                trouble.map(|trouble| format!("node {id} says: {trouble}"))
            })
        };
        let mut last = None;
        let whole = looks(at_most, || {
            last = trouble();
            last.is_none().then_some(())
        });
        match (whole, last) {
            (None, Some(trouble)) => Err(trouble),
            _ => Ok(()),
        }
    }

    /// Keeps the folder after the end; returns where it is.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.clear();
        if std::thread::panicking() {
            println!("the nodes' folders are kept: {}", self.keep().display());
        }
    }
}

fn read_env(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).expect("the node wrote its env file");
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
