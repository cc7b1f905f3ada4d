//! Goal: what operators ask for is done, and what would cost a majority is refused. Method: the
//! command line on a cluster of three.

use super::support::{assert_works, three_nodes};
use crate::patience::{PATIENCE, wait_for};

#[test]
fn a_node_can_be_stopped_only_while_the_others_are_a_majority() {
    let mut cluster = three_nodes();
    let can_stop = |cluster: &crate::cluster::Cluster, node: &str| {
        cluster.cli(1, &["cluster", "can-stop", node])
    };
    assert_eq!(can_stop(&cluster, "3").code, Some(0));
    cluster.nodes.get_mut(&2).expect("a node").kill();
    let refused = wait_for("a refusal", || {
        let ended = can_stop(&cluster, "3");
        (ended.code == Some(1)).then_some(ended)
    });
    assert!(!refused.stderr.trim().is_empty(), "no reason: {refused:?}");
    cluster.launch(2, &Default::default());
    wait_for("a yes", || {
        (can_stop(&cluster, "3").code == Some(0)).then_some(())
    });
}

#[test]
fn a_drained_node_leads_nothing_until_it_is_told_to_again() {
    let cluster = three_nodes();
    cluster.must(1, &["cluster", "drain", "1"]);
    wait_for("no leader at node 1", || {
        let status = cluster.status_at(2)?;
        let elsewhere = status
            .sets
            .iter()
            .all(|set| set.leader.is_some_and(|id| id != 1));
        elsewhere.then_some(())
    });
    assert_works(&cluster, "orders");
    cluster.must(1, &["cluster", "drain", "1", "--undo"]);
    cluster.must(1, &["cluster", "rebalance"]);
    wait_for("a leader at node 1", || {
        let status = cluster.status_at(2)?;
        status
            .sets
            .iter()
            .any(|set| set.leader == Some(1))
            .then_some(())
    });
}

#[test]
fn a_leadership_is_handed_to_the_node_that_is_named() {
    let cluster = three_nodes();
    for to in [1, 2, 3] {
        wait_for("the set's new leader", || {
            // Refused while the set is between two leaders, or has it there already.
            drop(cluster.cli(1, &["cluster", "transfer-leader", "1", &to.to_string()]));
            let status = cluster.status_at(1)?;
            status
                .sets
                .iter()
                .any(|set| set.set == 1 && set.leader == Some(to))
                .then_some(())
        });
    }
}

#[test]
fn a_wiped_node_is_refused_until_it_is_replaced() {
    let mut cluster = three_nodes();
    assert_works(&cluster, "orders");
    let node = cluster.nodes.get_mut(&3).expect("a node");
    node.kill();
    node.wipe();
    let from = node.log().len();
    let others = cluster.nodes[&1].log().len();
    cluster.launch(3, &Default::default());
    super::support::wait_for_line(&cluster, 3, from, &["ERROR", "replace-node"]);
    super::support::wait_for_line(&cluster, 1, others, &["refused"]);
    assert_works(&cluster, "orders");
    cluster.must(1, &["cluster", "replace-node", "3"]);
    let node = cluster.nodes.get_mut(&3).expect("a node");
    if node.ended().is_some() {
        cluster.launch(3, &Default::default());
    }
    cluster
        .wait_until_whole(PATIENCE, u64::MAX)
        .expect("the node is a member again");
}
