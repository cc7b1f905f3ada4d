//! Goal: a cluster is made anew from a backup that a follower took. Method: three processes, whose
//! folders are all lost; one is restored, the others come in empty.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::support::{assert_works, leader_of, three_nodes};
use crate::cluster::Cluster;
use crate::cluster::node::SAMPAN;
use crate::patience::{PATIENCE, block_on, connect};

const MESSAGE_COUNT: u64 = 300;

fn send_all(cluster: &Cluster) {
    block_on(async {
        let client = connect(&cluster.env()).await;
        let created = client.create_queue("orders", Default::default()).await;
        let queue = created.expect("a new queue");
        let sends: Vec<_> = (0..MESSAGE_COUNT)
            .map(|number| queue.send(number.to_string()))
            .collect();
        for send in sends {
            send.await.expect("it is stored");
        }
    });
}

fn assert_all_there(cluster: &Cluster) {
    block_on(async {
        let client = connect(&cluster.env()).await;
        let queue = client.queue("orders");
        let mut found = Vec::new();
        while (found.len() as u64) < MESSAGE_COUNT {
            let receive = queue.receive().max(256).wait(Duration::from_secs(1));
            let deliveries = receive.await.expect("the cluster answers");
            assert!(!deliveries.is_empty(), "only {} are there", found.len());
            found.extend(deliveries.into_iter().map(|delivery| delivery.body));
        }
        let sent: Vec<String> = (0..MESSAGE_COUNT)
            .map(|number| number.to_string())
            .collect();
        assert_eq!(found, sent);
    });
}

/// The cluster's id, as node 3 knows it.
fn id_of(cluster: &Cluster) -> Value {
    let status = cluster.must(3, &["cluster", "status", "--output", "json"]);
    let status: Value = serde_json::from_str(status.trim()).expect("the status is JSON");
    status["cluster"].clone()
}

#[test]
fn a_cluster_whose_folders_are_all_lost_is_made_anew_from_a_backup_of_a_follower() {
    let mut cluster = three_nodes();
    send_all(&cluster);
    let follower = leader_of(&cluster, "orders") % 3 + 1;
    let backup = cluster.folder().join("backup").display().to_string();
    cluster.must(follower, &["backup", &backup]);
    let old_id = id_of(&cluster);
    for id in [1, 2, 3] {
        let node = cluster.nodes.get_mut(&id).expect("three nodes");
        node.kill();
        fs::remove_dir_all(node.data()).expect("its folder can be removed");
    }
    let data = cluster.nodes[&1].data();
    let mut restore = Command::new(SAMPAN);
    restore.args(["restore", &backup, "--data"]).arg(data);
    let restored = restore.status().expect("the command can be started");
    assert!(restored.success(), "{restored}");
    for id in [1, 2, 3] {
        cluster.launch(id, &Default::default());
    }
    let whole = cluster.wait_until_whole(PATIENCE, 0);
    whole.expect("the others come in");
    assert_ne!(id_of(&cluster), old_id);
    assert_all_there(&cluster);
    assert_works(&cluster, "more");
}
