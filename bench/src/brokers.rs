//! The measured nodes together: one by itself, or a cluster of three, below one temporary folder.
//!
//! What a cluster says of itself is asked with a new connection each time: a connection that is
//! kept would follow the client's rules for repeating, and a measurement wants to know at once.
//!
//! Invariant: neither a node nor the folder outlives this value.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sampan_client::Client;
use serde_json::Value;
use tempfile::TempDir;

use crate::access::Access;
use crate::args::ClusterArguments;
use crate::node::{Node, NodeOptions};
use crate::progress;
use crate::status::Status;

/// How long a cluster may take until it is whole; only a bound for a broken one.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(300);
/// How often its status is asked for.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// How long a node may take to say how things are.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Brokers {
    nodes: Vec<Node>,
    // Dropped after the nodes were killed by `drop`.
    folder: TempDir,
}

impl Brokers {
    /// Starts the nodes; a cluster is whole when this returns.
    pub(crate) async fn start(arguments: &ClusterArguments) -> anyhow::Result<Self> {
        progress::say("starting nodes");
        let folder = tempfile::Builder::new().prefix("sampan-bench-").tempdir()?;
        let shared = folder.path().join("ca");
        let mut brokers = Brokers {
            nodes: Vec::new(),
            folder,
        };
        for id in 1..=u64::from(arguments.nodes) {
            let folder = brokers.folder.path().join(id.to_string());
            std::fs::create_dir(&folder)?;
            let mut node = Node::new(NodeOptions {
                id,
                folder,
                tls: arguments.tls,
                cores: arguments.core_count(),
                sets: arguments.set_count(),
                shared: (arguments.nodes > 1).then(|| shared.clone()),
            });
            node.start(&brokers.peer_addresses(id)).await?;
            brokers.nodes.push(node);
            if id == 1 && arguments.nodes > 1 {
                let request = serde_json::json!({ "set_count": arguments.set_count() });
                brokers.admin("cluster.init", &request).await?;
            }
        }
        brokers.wait_until_whole().await?;
        Ok(brokers)
    }

    /// All nodes, by id.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node by its id.
    pub(crate) fn node_mut(&mut self, id: u64) -> anyhow::Result<&mut Node> {
        let node = self.nodes.iter_mut().find(|node| node.id() == id);
        node.with_context(|| format!("there is no node {id}"))
    }

    /// Starts a node that does not run.
    pub(crate) async fn start_node(&mut self, id: u64) -> anyhow::Result<()> {
        let join = self.peer_addresses(id);
        self.node_mut(id)?.start(&join).await
    }

    /// How clients reach each node.
    pub(crate) fn accesses(&self) -> anyhow::Result<Vec<Access>> {
        self.nodes.iter().map(Node::access).collect()
    }

    /// Sends one verb of an operator to the first node that takes it.
    pub(crate) async fn admin(&self, verb: &str, request: &Value) -> anyhow::Result<String> {
        self.admin_without(None, verb, request).await
    }

    async fn admin_without(
        &self,
        without: Option<u64>,
        verb: &str,
        request: &Value,
    ) -> anyhow::Result<String> {
        let mut failures = String::new();
        let nodes = self.nodes.iter();
        for node in nodes.filter(|node| Some(node.id()) != without) {
            match tokio::time::timeout(STATUS_TIMEOUT, ask(node, verb, request)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => failures += &format!("; node {}: {error:#}", node.id()),
                Err(_) => failures += &format!("; node {} is silent", node.id()),
            }
        }
        bail!("nobody did {verb}{failures}")
    }

    /// How the cluster is. `without`: a node that is not asked, because it may know only how things
    /// were when it was there.
    pub(crate) async fn status(&self, without: Option<u64>) -> anyhow::Result<Status> {
        let request = serde_json::json!({});
        let answer = self.admin_without(without, "cluster.status", &request);
        serde_json::from_str(&answer.await?).context("the status has another form than expected")
    }

    /// Waits until every set has its leader and all its voters, up to date.
    pub(crate) async fn wait_until_whole(&self) -> anyhow::Result<()> {
        let count = self.nodes.len();
        if count == 1 {
            return Ok(());
        }
        self.wait_for(None, |status| status.is_whole(count)).await
    }

    /// Waits until the cluster's status is as wanted; `without` as for [`Brokers::status`].
    pub(crate) async fn wait_for(
        &self,
        without: Option<u64>,
        is_so: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + WHOLE_TIMEOUT;
        loop {
            let status = self.status(without).await;
            match status {
                Ok(status) if is_so(&status) => return Ok(()),
                status if tokio::time::Instant::now() > deadline => {
                    bail!(
                        "the cluster did not get whole: {status:?}\n{}",
                        self.log_tail()
                    );
                }
                _ => tokio::time::sleep(STATUS_INTERVAL).await,
            }
        }
    }

    /// The ends of all logs.
    pub(crate) fn log_tail(&self) -> String {
        let tail = |node: &Node| format!("log of node {}:\n{}", node.id(), node.log_tail());
        let tails: Vec<_> = self.nodes.iter().map(tail).collect();
        tails.join("\n")
    }

    /// Ends all nodes and starts them again. Returns how long it took from the first start until
    /// they serve, as a whole.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<Duration> {
        let ending = self.nodes.iter_mut().map(Node::end);
        futures::future::try_join_all(ending).await?;
        let ids = self.nodes.iter().map(Node::id);
        let peers: Vec<_> = ids.map(|id| self.peer_addresses(id)).collect();
        let began_at = Instant::now();
        let nodes = self.nodes.iter_mut().zip(&peers);
        let starting = nodes.map(|(node, peers)| node.start(peers));
        futures::future::try_join_all(starting).await?;
        self.wait_until_whole().await?;
        Ok(began_at.elapsed())
    }

    /// The memory that the largest node has now, in bytes.
    pub(crate) fn memory_now(&self) -> anyhow::Result<u64> {
        let sizes: Result<Vec<_>, _> = self.nodes.iter().map(Node::memory_now).collect();
        Ok(sizes?.into_iter().max().unwrap_or(0))
    }

    /// The memory that all nodes together have now, in bytes.
    pub(crate) fn memory_sum(&self) -> anyhow::Result<u64> {
        self.nodes.iter().map(Node::memory_now).sum()
    }

    /// The most memory that a node has had since its latest start, in bytes.
    pub(crate) fn memory_peak(&self) -> anyhow::Result<u64> {
        let sizes: Result<Vec<_>, _> = self.nodes.iter().map(Node::memory_peak).collect();
        Ok(sizes?.into_iter().max().unwrap_or(0))
    }

    /// CPU time of all nodes since their latest start.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        self.nodes.iter().map(Node::cpu_time).sum()
    }

    /// Ends all nodes; returns the blocks of their data folders in bytes.
    pub(crate) async fn stop(self) -> anyhow::Result<u64> {
        let mut disk_len = 0;
        for stopped in futures::future::join_all(self.nodes.into_iter().map(Node::stop)).await {
            disk_len += stopped?;
        }
        Ok(disk_len)
    }

    fn peer_addresses(&self, without: u64) -> Vec<String> {
        let others = self.nodes.iter().filter(|node| node.id() != without);
        others.filter_map(Node::peer_address).cloned().collect()
    }
}

async fn ask(node: &Node, verb: &str, request: &Value) -> anyhow::Result<String> {
    let client: Client = node.access()?.builder()?.connect().await?;
    let answer = client.admin(verb, request.to_string()).await?;
    client.close().await;
    Ok(answer)
}
