//! The demo's brokers: one that is alone, or several that form a cluster.
//!
//! A cluster is formed as an operator would do it: the first node is told to begin, the others
//! join it, and the demo begins when every set has all its voters.
//!
//! Invariant: the brokers of a cluster share one account, so one client can use them all.

use std::path::Path;
use std::time::{Duration, Instant};

use sampan_client::Client;
use serde::Deserialize;

use super::super::connect;
use super::super::failure::Failure;
use super::broker::{Broker, Membership};

/// How long it may take until every set has all its voters, or a leader again.
const FORM_TIMEOUT: Duration = Duration::from_secs(60);
/// How often that is looked at.
const FORM_PAUSE: Duration = Duration::from_millis(50);
/// For how long a killed node of a cluster stays away: the others have to do without it.
const AWAY_TIME: Duration = Duration::from_secs(2);
/// Voters that a set has when there are enough nodes.
const VOTER_COUNT_MAX: usize = 3;

/// What the demo needs of a cluster's status; other keys are ignored.
#[derive(Debug, Deserialize)]
struct Status {
    nodes: Vec<Node>,
    sets: Vec<Set>,
}

#[derive(Debug, Deserialize)]
struct Node {
    is_connected: bool,
}

#[derive(Debug, Deserialize)]
struct Set {
    set: u32,
    leader: Option<u64>,
    voters: Vec<u64>,
}

impl Status {
    /// Whether all nodes are there and every set has all the voters it will have.
    fn is_whole(&self, node_count: usize) -> bool {
        let voter_count = node_count.min(VOTER_COUNT_MAX);
        let whole = |set: &Set| set.leader.is_some() && set.voters.len() == voter_count;
        self.nodes.len() == node_count
            && self.nodes.iter().all(|node| node.is_connected)
            && !self.sets.is_empty()
            && self.sets.iter().all(whole)
    }

    fn leader(&self, set: u32) -> Option<u64> {
        self.sets.iter().find(|found| found.set == set)?.leader
    }
}

/// See the head of the file. Node `n` is at place `n - 1`.
#[derive(Debug)]
pub(super) struct Cluster {
    brokers: Vec<Broker>,
}

impl Cluster {
    /// Starts that many brokers with their data below `folder`; more than one form a cluster.
    pub(super) async fn start(folder: &Path, node_count: u8) -> Result<Self, Failure> {
        if node_count == 1 {
            let brokers = vec![Broker::start(folder, None).await?];
            return Ok(Cluster { brokers });
        }
        let mut cluster = Cluster {
            brokers: Vec::new(),
        };
        cluster.add(folder).await?;
        let client = cluster.client().await?;
        client.admin("cluster.init", "").await?;
        for _ in 1..node_count {
            cluster.add(folder).await?;
        }
        let whole = |status: &Status| status.is_whole(node_count.into()).then_some(());
        wait_for(&client, whole, "the cluster did not form in time").await?;
        Ok(cluster)
    }

    /// Starts one more node.
    async fn add(&mut self, folder: &Path) -> Result<(), Failure> {
        let node = self.brokers.len() as u64 + 1;
        let ca = folder.join("ca");
        let folder = folder.join(format!("node-{node}"));
        std::fs::create_dir_all(&folder).map_err(|source| Failure::System {
            what: "make a folder",
            source,
        })?;
        let join = self
            .brokers
            .iter()
            .filter_map(Broker::peer_address)
            .collect();
        let membership = Membership { node, ca, join };
        let broker = Broker::start(&folder, Some(membership)).await?;
        self.brokers.push(broker);
        Ok(())
    }

    /// A client that knows all nodes.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let (first, others) = self
            .brokers
            .split_first()
            .ok_or_else(|| Failure::Broker("there is no broker".to_owned()))?;
        let mut builder = connect::builder(Some(first.env_file()))?;
        for broker in others {
            builder = builder.server(format!("sampan+tls://{}", broker.client_address()));
        }
        Ok(builder.connect().await?)
    }

    /// The node that leads the set of a queue.
    pub(super) async fn leader_of(&self, client: &Client, queue: &str) -> Result<u64, Failure> {
        if self.brokers.len() == 1 {
            return Ok(1);
        }
        let set = client.show_queue(queue).await?.set.0;
        let leader = |status: &Status| status.leader(set);
        wait_for(client, leader, "the queue's set has no leader").await
    }

    /// Ends a node with SIGKILL and waits until it is gone.
    pub(super) fn kill(&mut self, node: u64) -> Result<(), Failure> {
        self.broker(node)?.kill()
    }

    /// Starts a killed node again; one of a cluster after some time.
    pub(super) async fn restart(&mut self, node: u64) -> Result<(), Failure> {
        if self.brokers.len() > 1 {
            tokio::time::sleep(AWAY_TIME).await;
        }
        self.broker(node)?.restart().await
    }

    fn broker(&mut self, node: u64) -> Result<&mut Broker, Failure> {
        let place = node
            .checked_sub(1)
            .and_then(|place| usize::try_from(place).ok());
        place
            .and_then(|place| self.brokers.get_mut(place))
            .ok_or_else(|| Failure::Broker(format!("there is no node {node}")))
    }
}

/// Asks for the status until `found` finds something in it.
async fn wait_for<T>(
    client: &Client,
    found: impl Fn(&Status) -> Option<T>,
    otherwise: &str,
) -> Result<T, Failure> {
    let began = Instant::now();
    loop {
        match client.admin("cluster.status", "").await {
            Ok(text) => {
                let status = serde_json::from_str(&text)
                    .map_err(|error| Failure::Broker(format!("cluster status: {error}")))?;
                if let Some(found) = found(&status) {
                    return Ok(found);
                }
                if began.elapsed() > FORM_TIMEOUT {
                    return Err(Failure::Broker(format!("{otherwise}: {status:?}")));
                }
            }
            Err(error) if !error.retry() || began.elapsed() > FORM_TIMEOUT => {
                return Err(error.into());
            }
            Err(_) => {}
        }
        tokio::time::sleep(FORM_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"cluster": "0a", "this_node": 1,
        "nodes": [{"node": 1, "is_connected": true}, {"node": 2, "is_connected": true}],
        "sets": [{"set": 3, "leader": 2, "term": 1, "voters": [1, 2]}]}"#;

    #[test]
    fn a_cluster_is_whole_when_all_nodes_and_voters_are_there() {
        let mut status: Status = serde_json::from_str(TEXT).expect("good JSON");
        assert!(status.is_whole(2));
        assert!(!status.is_whole(3));
        assert_eq!((status.leader(3), status.leader(4)), (Some(2), None));
        status.nodes[1].is_connected = false;
        assert!(!status.is_whole(2));
        status.nodes[1].is_connected = true;
        status.sets[0].leader = None;
        assert!(!status.is_whole(2));
    }
}
