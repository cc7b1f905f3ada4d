//! What several claims need: a usual cluster, its clients, and waiting for what must come.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{Cluster, ClusterOptions};
use crate::patience::{block_on, connect, wait_for};

impl Cluster {
    /// The variables of a client that knows one node.
    pub(crate) fn env_of(&self, id: u64) -> BTreeMap<String, String> {
        self.env_with(&self.nodes[&id].client_address().to_string())
    }
}

/// Three nodes and a few sets.
pub(crate) fn three_nodes() -> Cluster {
    let options = ClusterOptions {
        node_count: 3,
        set_count: 3,
        storage: String::new(),
    };
    Cluster::start(options, &Default::default())
}

/// Waits until the log of a node, after what it had before, has a line with all these words.
pub(crate) fn wait_for_line(cluster: &Cluster, id: u64, from: usize, words: &[&str]) {
    let what = format!("{words:?} in the log of node {id}");
    wait_for(&what, || {
        let log = cluster.nodes[&id].log();
        let has_words = |line: &&str| words.iter().all(|word| line.contains(word));
        log.get(from..)?.lines().find(has_words).map(drop)
    });
}

/// A message goes through the cluster and comes out again.
pub(crate) fn assert_works(cluster: &Cluster, queue: &str) {
    block_on(async {
        let client = connect(&cluster.env()).await;
        // It may be there from an earlier call.
        drop(client.create_queue(queue, Default::default()).await);
        let queue = client.queue(queue);
        queue.send("a message").await.expect("the cluster takes it");
        let receive = queue.receive().wait(Duration::from_secs(10));
        let deliveries = receive.await.expect("the cluster answers");
        assert_eq!(deliveries.len(), 1);
        deliveries[0].delete().await.expect("it is ours");
    });
}

/// The leader of a queue's set.
pub(crate) fn leader_of(cluster: &Cluster, queue: &str) -> u64 {
    let set = block_on(async {
        let client = connect(&cluster.env()).await;
        client.show_queue(queue).await.expect("there is one").set.0
    });
    wait_for("a leader", || {
        let id = cluster.nodes.values().find(|node| node.child.is_some())?.id;
        let status = cluster.status_at(id)?;
        let found = status
            .sets
            .into_iter()
            .find(|found| found.set == u64::from(set));
        found?.leader
    })
}
