//! What tests of several queues do with them.

use std::time::Duration;

use sampan_client::{Client, Queue, QueueCounts};

const PATIENCE: Duration = Duration::from_secs(120);
const WAIT: Duration = Duration::from_secs(10);

pub(crate) async fn counts(client: &Client, queue: &str) -> QueueCounts {
    client.show_queue(queue).await.unwrap().counts
}

/// Looks until the counts of a queue are as wanted.
pub(crate) async fn until(client: &Client, queue: &str, is_wanted: impl Fn(&QueueCounts) -> bool) {
    let look = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while !is_wanted(&counts(client, queue).await) {
            ticks.tick().await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, look).await;
    if reached.is_err() {
        panic!("{queue} stays at {:?}", counts(client, queue).await);
    }
}

/// Receives `count` messages and gives each of them back.
pub(crate) async fn give_up(queue: &Queue, count: usize) {
    let mut given_up = 0;
    while given_up < count {
        let deliveries = queue.receive().max(256).wait(WAIT).await.unwrap();
        assert!(!deliveries.is_empty(), "{given_up} of {count}");
        let handles: Vec<_> = deliveries.iter().map(|delivery| delivery.handle).collect();
        assert!(queue.release_batch(&handles).await.unwrap().is_empty());
        given_up += handles.len();
    }
}
