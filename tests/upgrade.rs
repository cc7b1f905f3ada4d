//! Goal: nodes go to the next release one by one, and back, while clients notice nothing; once the
//! upgrade is finished, the release before is refused by name, and takes nothing for damage.
//!
//! Method: three real processes under load. The build under test has the feature `next-version`: it
//! pretends to be the next release. `SAMPAN_BEFORE` names the binary of the release before: one
//! built without the feature (`.ci/run` makes it), or a real one.

#[path = "support/cluster/mod.rs"]
mod cluster;
#[path = "support/first_line.rs"]
mod first_line;
#[path = "support/patience.rs"]
mod patience;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/sender.rs"]
mod sender;
#[path = "support/waiting.rs"]
mod waiting;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::cluster::node::Launch;
use crate::cluster::{Cluster, ClusterOptions};
use crate::patience::{PATIENCE, block_on, connect, wait_for};
use crate::sender::{Sender, drain};

/// Enough that the upgrade happens under load.
const SEND_COUNT: u64 = 100;

fn before() -> Launch {
    let binary = std::env::var_os("SAMPAN_BEFORE");
    let binary = binary.expect("SAMPAN_BEFORE names the binary of the release before: see .ci/run");
    Launch {
        binary: Some(PathBuf::from(binary)),
        ..Launch::default()
    }
}

fn next() -> Launch {
    Launch::default()
}

fn restart(cluster: &mut Cluster, id: u64, launch: &Launch) {
    let node = cluster.nodes.get_mut(&id).expect("a node");
    assert!(node.terminate().success());
    cluster.launch(id, launch);
    let whole = cluster.wait_until_whole(PATIENCE, u64::MAX);
    whole.expect("the node is back");
}

/// Waits until the catalog knows what each node reads.
fn wait_for_formats(cluster: &Cluster, expected: [u64; 3]) {
    wait_for(&format!("nodes that read {expected:?}"), || {
        let ended = cluster.cli(1, &["cluster", "status", "--output", "json"]);
        let status: Value = serde_json::from_str(ended.stdout.trim()).ok()?;
        let nodes = status["nodes"].as_array()?.iter();
        let found: Option<Vec<u64>> = nodes
            .map(|node| node["format_version_max"].as_u64())
            .collect();
        (found? == expected).then_some(())
    });
}

fn assert_not_finished(cluster: &Cluster, node: u64) {
    let named = format!("node {node} runs release");
    wait_for(&format!("a refusal: {named}"), || {
        let refused = cluster.cli(1, &["cluster", "finish-upgrade"]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        // Or the catalog is between two leaders.
        refused.stderr.contains(&named).then_some(())
    });
}

/// The release before does not come up as this node, which is stopped, and sets nothing aside.
fn assert_refused(cluster: &mut Cluster, id: u64) {
    let from = cluster.nodes[&id].log().len();
    // Held: a node that cannot say that it is ready ends for that reason.
    let stdout = cluster.spawn(id, &before());
    wait_for("a refusal of the release before", || {
        let log = cluster.nodes[&id].log();
        let words = ["format version 2", "reads up to 1"];
        let says_so = |line: &&str| words.iter().all(|word| line.contains(word));
        log.get(from..)?.lines().find(says_so).map(drop)
    });
    let node = cluster.nodes.get_mut(&id).expect("a node");
    if node.ended().is_none() {
        node.kill();
    }
    drop(stdout);
    assert!(!node.data().join("quarantine").exists());
}

#[test]
fn nodes_go_to_the_next_release_and_back_until_the_upgrade_is_finished() {
    let options = ClusterOptions {
        node_count: 3,
        set_count: 3,
        storage: String::new(),
    };
    let mut cluster = Cluster::start(options, &before());
    wait_for_formats(&cluster, [1, 1, 1]);
    block_on(async {
        let client = connect(&cluster.env()).await;
        let created = client.create_queue("orders", Default::default()).await;
        created.expect("a queue");
    });
    let sender = Sender::start(&cluster, "orders");
    sender.wait_for_sends(SEND_COUNT);
    restart(&mut cluster, 1, &next());
    wait_for_formats(&cluster, [2, 1, 1]);
    assert_not_finished(&cluster, 2);
    restart(&mut cluster, 2, &next());
    restart(&mut cluster, 3, &next());
    wait_for_formats(&cluster, [2, 2, 2]);
    restart(&mut cluster, 2, &before());
    wait_for_formats(&cluster, [2, 1, 2]);
    assert_not_finished(&cluster, 2);
    restart(&mut cluster, 2, &next());
    wait_for_formats(&cluster, [2, 2, 2]);
    wait_for("the end of the upgrade", || {
        // Refused while the catalog is between two leaders: they go back to the node that came.
        let finished = cluster.cli(1, &["cluster", "finish-upgrade"]);
        (finished.code == Some(0)).then_some(())
    });
    wait_for("an entry that only the next release reads", || {
        let mut nodes = cluster.nodes.values();
        let has_written = nodes.any(|node| node.log().contains("of format version 2 was written"));
        has_written.then_some(())
    });
    let node = cluster.nodes.get_mut(&3).expect("a node");
    assert!(node.terminate().success());
    assert_refused(&mut cluster, 3);
    cluster.launch(3, &next());
    let whole = cluster.wait_until_whole(PATIENCE, u64::MAX);
    whole.expect("the node is back");
    // Nor does it with a data folder that has seen nothing of all this.
    let node = cluster.nodes.get_mut(&3).expect("a node");
    assert!(node.terminate().success());
    node.wipe();
    wait_for("leave for a fresh folder", || {
        // Refused while the others take it for connected.
        let replaced = cluster.cli(1, &["cluster", "replace-node", "3"]);
        (replaced.code == Some(0)).then_some(())
    });
    assert_refused(&mut cluster, 3);
    cluster.launch(3, &next());
    let whole = cluster.wait_until_whole(PATIENCE, u64::MAX);
    whole.expect("the node is back");
    let count = sender.finish();
    let received = drain(&cluster, "orders");
    assert!(count > 0);
    assert_eq!(received, (0..count).collect::<BTreeSet<_>>());
}
