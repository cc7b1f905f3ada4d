//! Goal: nodes become a cluster, and every node serves all of it. Method: three processes, clients
//! that know one of them each.

use std::time::Duration;

use super::support::three_nodes;
use crate::patience::{block_on, connect};

#[test]
fn three_nodes_form_a_cluster_and_a_queue_made_at_one_is_used_at_another() {
    let cluster = three_nodes();
    block_on(async {
        let first = connect(&cluster.env_of(1)).await;
        let made = first.create_queue("orders", Default::default()).await;
        made.expect("a new queue")
            .send("a message")
            .await
            .expect("it is stored");
        for (id, count) in [(2, 1), (3, 0)] {
            let client = connect(&cluster.env_of(id)).await;
            let receive = client
                .queue("orders")
                .receive()
                .wait(Duration::from_secs(1));
            let deliveries = receive.await.expect("the node serves the queue");
            assert_eq!(deliveries.len(), count, "node {id}");
            for delivery in deliveries {
                assert_eq!(delivery.body, "a message");
                delivery.delete().await.expect("it is ours");
            }
        }
    });
    let status = cluster.status_at(2).expect("any node tells the status");
    assert_eq!(status.nodes.len(), 3);
    assert_eq!(
        status.sets.len(),
        3,
        "the catalog's set is one of the three: {status:?}"
    );
    assert!(
        status.sets.iter().all(|set| set.voters == [1, 2, 3]),
        "{status:?}"
    );
}

#[test]
fn a_cluster_that_was_stopped_whole_comes_back_whole() {
    let mut cluster = three_nodes();
    super::support::assert_works(&cluster, "orders");
    for id in [1, 2, 3] {
        let node = cluster.nodes.get_mut(&id).expect("three nodes");
        assert!(node.terminate().success());
    }
    for id in [3, 1, 2] {
        cluster.launch(id, &Default::default());
    }
    let whole = cluster.wait_until_whole(crate::patience::PATIENCE, 0);
    whole.expect("all come back");
    super::support::assert_works(&cluster, "orders");
}
