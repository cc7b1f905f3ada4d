//! Goal: a node that knows nobody can be brought in, and taken out again. Method: a fourth process
//! beside a cluster of three, which is told of no node to join.

use serde_json::Value;

use super::support::{assert_works, three_nodes};
use crate::cluster::Cluster;
use crate::cluster::node::Launch;
use crate::patience::{PATIENCE, block_on, connect, wait_for};

/// Whether a node is a replica of the catalog's set, as node 1 describes it.
fn has_catalog(cluster: &Cluster, id: u64) -> bool {
    let text = cluster.must(1, &["cluster", "status", "--output", "json"]);
    let status: Value = serde_json::from_str(text.trim()).expect("the status is JSON");
    let replicas = status["sets"][0]["replicas"].as_array();
    let mut replicas = replicas.expect("the catalog has replicas").iter();
    replicas.any(|replica| replica["node"] == id)
}

#[test]
fn a_node_that_is_invited_takes_part_until_it_is_removed() {
    let mut cluster = three_nodes();
    assert_works(&cluster, "orders");
    let id = cluster.add_node();
    let alone = Launch {
        is_alone: true,
        ..Launch::default()
    };
    cluster.launch(id, &alone);
    let address = cluster.advertised[&id].clone();
    cluster.must(1, &["cluster", "add-node", &address]);
    let whole = cluster.wait_until_whole(PATIENCE, u64::MAX);
    whole.expect("the node is taken in");
    wait_for("a replica of the catalog", || {
        has_catalog(&cluster, id).then_some(())
    });
    block_on(async {
        let client = connect(&cluster.env_of(id)).await;
        let sent = client.queue("orders").send("by the new node").await;
        sent.expect("the new node knows the queues and who leads them");
    });
    let again = cluster.cli(2, &["cluster", "add-node", &address]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(
        again.stderr.contains("belongs to a cluster already"),
        "{again:?}"
    );
    let number = id.to_string();
    cluster.must(1, &["cluster", "remove-node", &number]);
    wait_for("a cluster of three", || {
        let status = cluster.status_at(1)?;
        let is_gone = !status.nodes.contains_key(&id);
        (is_gone && !has_catalog(&cluster, id)).then_some(())
    });
    cluster.nodes.remove(&id);
    let whole = cluster.wait_until_whole(PATIENCE, u64::MAX);
    whole.expect("three nodes are a cluster as before");
}
