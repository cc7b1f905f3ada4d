//! Goal: whoever leads can go, and clients notice nothing but a pause. Method: sends by the SDK
//! without a break while a leader is killed or cut off, and in the end every message that was
//! acknowledged must come; sends to a node that is left without a majority.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sampan_client::ErrorCode;

use super::support::{assert_works, leader_of, three_nodes};
use crate::cluster::Cluster;
use crate::patience::{PATIENCE, block_on, builder, wait_for};
use crate::sender::{Sender, drain};

/// Enough that a fault falls into the load.
const SEND_COUNT: u64 = 200;

/// Everything that was acknowledged comes, and nothing else.
fn assert_all_come(cluster: &Cluster, queue: &str, count: u64) {
    let received = drain(cluster, queue);
    assert_eq!(received, (0..count).collect::<BTreeSet<_>>());
}

#[test]
fn sends_go_on_without_an_error_when_the_leader_is_killed() {
    let mut cluster = three_nodes();
    assert_works(&cluster, "orders");
    let leader = leader_of(&cluster, "orders");
    let sender = Sender::start(&cluster, "orders");
    sender.wait_for_sends(SEND_COUNT);
    cluster.nodes.get_mut(&leader).expect("a node").kill();
    sender.wait_for_sends(SEND_COUNT);
    let new = wait_for("another leader", || {
        let new = leader_of(&cluster, "orders");
        (new != leader).then_some(new)
    });
    cluster.launch(leader, &Default::default());
    cluster
        .wait_until_whole(PATIENCE, u64::MAX)
        .expect("the node comes back");
    let count = sender.finish();
    println!("{count} sends, leader {leader} and then {new}");
    assert_all_come(&cluster, "orders", count);
}

#[test]
fn a_node_without_a_majority_says_so_and_serves_again_with_one() {
    let mut cluster = three_nodes();
    assert_works(&cluster, "orders");
    for id in [2, 3] {
        cluster.nodes.get_mut(&id).expect("a node").kill();
    }
    let env = cluster.env_of(1);
    block_on(async {
        let impatient = builder(&env).retry_deadline(Duration::ZERO);
        let client = impatient.connect().await.expect("the node is there");
        let began = Instant::now();
        loop {
            // It may believe for a moment that it leads; what it then takes is never acknowledged.
            let error = client.queue("orders").send("lost?").await;
            let error = error.expect_err("nothing is acknowledged without a majority");
            if error.code() == Some(ErrorCode::NoLeader) {
                break assert!(error.retry());
            }
            assert!(began.elapsed() < PATIENCE, "never `no leader` but {error}");
        }
    });
    for id in [2, 3] {
        cluster.launch(id, &Default::default());
    }
    cluster
        .wait_until_whole(PATIENCE, u64::MAX)
        .expect("the cluster comes back");
    assert_works(&cluster, "others");
}

#[test]
fn a_leader_that_is_cut_off_is_followed_by_another() {
    let cluster = three_nodes();
    assert_works(&cluster, "orders");
    let leader = leader_of(&cluster, "orders");
    let sender = Sender::start(&cluster, "orders");
    let others: Vec<u64> = cluster
        .nodes
        .keys()
        .copied()
        .filter(|id| *id != leader)
        .collect();
    for other in &others {
        cluster
            .network
            .change(leader, *other, |link| link.blocked = true);
        cluster
            .network
            .change(*other, leader, |link| link.blocked = true);
    }
    wait_for("another leader", || {
        let status = cluster.status_at(others[0])?;
        let led =
            |set: &crate::cluster::status::SetStatus| set.leader.is_some_and(|new| new != leader);
        status.sets.iter().all(led).then_some(())
    });
    sender.wait_for_sends(SEND_COUNT);
    cluster.network.heal();
    let count = sender.finish();
    cluster
        .wait_until_whole(PATIENCE, u64::MAX)
        .expect("the cluster heals");
    assert_all_come(&cluster, "orders", count);
}
