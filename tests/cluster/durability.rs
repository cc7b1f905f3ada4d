//! Goal: an async queue asks a majority like any other, and loses nothing that it acknowledged when
//! processes are killed, all of them at once even. Method: three nodes; SIGKILL.

use std::time::{Duration, Instant};

use sampan_client::{Durability, ErrorCode, QueueOptions};

use super::support::{assert_works, leader_of, three_nodes};
use crate::cluster::Cluster;
use crate::patience::{PATIENCE, block_on, builder, connect};
use crate::sender::{Sender, drain};

const SEND_COUNT: u64 = 200;

fn cluster_with_async_queue() -> Cluster {
    let cluster = three_nodes();
    block_on(async {
        let client = connect(&cluster.env()).await;
        let options = QueueOptions::new().durability(Durability::Async);
        let created = client.create_queue("fast", options).await;
        let queue = created.expect("the cluster makes it");
        let mut sending = queue.send("0");
        (&mut sending).await.expect("the cluster takes it");
        assert_eq!(sending.durability(), Some(Durability::Async));
    });
    assert_eq!(drain(&cluster, "fast").len(), 1);
    cluster
}

#[test]
fn killed_nodes_lose_nothing_that_an_async_queue_acknowledged() {
    let mut cluster = cluster_with_async_queue();
    let sender = Sender::start(&cluster, "fast");
    sender.wait_for_sends(SEND_COUNT);
    let leader = leader_of(&cluster, "fast");
    cluster.nodes.get_mut(&leader).expect("a node").kill();
    sender.wait_for_sends(SEND_COUNT);
    cluster.launch(leader, &Default::default());
    cluster
        .wait_until_whole(PATIENCE, u64::MAX)
        .expect("the node comes back");
    sender.wait_for_sends(SEND_COUNT);
    let count = sender.finish();
    for id in 1..=3 {
        cluster.nodes.get_mut(&id).expect("a node").kill();
    }
    for id in 1..=3 {
        cluster.launch(id, &Default::default());
    }
    cluster
        .wait_until_whole(PATIENCE, u64::MAX)
        .expect("the nodes come back");
    assert!(drain(&cluster, "fast").into_iter().eq(0..count));
}

#[test]
fn an_async_queue_without_a_majority_acknowledges_nothing() {
    let mut cluster = cluster_with_async_queue();
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
            let sent = client.queue("fast").send("lost?").await;
            let error = sent.expect_err("there is no majority");
            if [Some(ErrorCode::NoLeader), Some(ErrorCode::NotLeader)].contains(&error.code()) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{error}");
        }
    });
    for id in [2, 3] {
        cluster.launch(id, &Default::default());
    }
    cluster
        .wait_until_whole(PATIENCE, u64::MAX)
        .expect("the nodes come back");
    assert_works(&cluster, "orders");
}
