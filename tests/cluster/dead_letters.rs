//! Goal: what a queue gives up arrives once, whoever leads either queue meanwhile. Method: two
//! queues in two sets of three nodes; messages are received once and given up while the leader of
//! the one set and then that of the other is killed; in the end each is there once.

use std::time::Duration;

use sampan_client::{Client, Queue, QueueCounts, QueueOptions};

use super::support::{leader_of, three_nodes};
use crate::patience::{PATIENCE, block_on, connect, wait_for};

const COUNT: usize = 1_200;
const WAIT: Duration = Duration::from_secs(2);

async fn bind(client: &Client) {
    client
        .create_queue("dead", QueueOptions::new())
        .await
        .expect("a queue");
    let target = client.show_queue("dead").await.expect("it is there");
    let options = QueueOptions::new()
        .dead_letter_queue(target.id)
        .receive_count_max(1);
    client.create_queue("orders", options).await.expect("one");
    let source = client.show_queue("orders").await.expect("it is there");
    assert_ne!(source.set, target.set);
}

/// Sends the numbers and gives each of them up once. What was received and could not be released
/// is given up when its visibility ends.
async fn send_and_give_up(client: &Client, numbers: std::ops::Range<usize>) {
    let orders = client.queue("orders");
    let sends: Vec<_> = numbers
        .map(|number| orders.send(number.to_string()))
        .collect();
    for send in sends {
        send.await.expect("the SDK goes to whoever leads");
    }
    loop {
        let receive = orders.receive().max(100).wait(WAIT);
        let receive = receive.visibility_timeout(Duration::from_secs(1));
        let deliveries = receive.await.expect("the cluster answers");
        let handles: Vec<_> = deliveries.iter().map(|delivery| delivery.handle).collect();
        if !handles.is_empty() {
            let released = orders.release_batch(&handles).await;
            released.expect("a repeat finds them given up");
            continue;
        }
        let counts = client
            .show_queue("orders")
            .await
            .expect("it is there")
            .counts;
        if counts.ready + counts.in_flight == 0 {
            return;
        }
    }
}

#[test]
fn what_is_given_up_arrives_once_while_both_leaders_are_killed() {
    let mut cluster = three_nodes();
    block_on(async { bind(&connect(&cluster.env()).await).await });
    for (part, queue) in ["orders", "dead"].into_iter().enumerate() {
        let leader = leader_of(&cluster, queue);
        let env = cluster.env();
        let numbers = part * COUNT / 2..(part + 1) * COUNT / 2;
        let load = std::thread::spawn(move || {
            block_on(async {
                send_and_give_up(&connect(&env).await, numbers).await;
            });
        });
        wait_for("messages on their way", || {
            let arrived = block_on(async {
                let client = connect(&cluster.env()).await;
                client.show_queue("dead").await.ok()
            });
            arrived.filter(|dead| dead.counts.ready > part as u64 * COUNT as u64 / 2)
        });
        cluster.nodes.get_mut(&leader).expect("a node").kill();
        load.join().expect("the load goes on");
        cluster.launch(leader, &Default::default());
        let whole = cluster.wait_until_whole(PATIENCE, u64::MAX);
        whole.expect("the node comes back");
    }
    block_on(async {
        let client = connect(&cluster.env()).await;
        let mut numbers = drain(&client.queue("dead")).await;
        numbers.sort_unstable();
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
        let left = client.show_queue("orders").await.expect("it is there");
        assert_eq!(left.counts, QueueCounts::default());
    });
}

/// Every number that comes, as often as it comes.
async fn drain(dead: &Queue) -> Vec<usize> {
    let mut numbers = Vec::new();
    let mut silence = 0;
    while numbers.len() < COUNT || silence == 0 {
        let deliveries = dead.receive().max(256).wait(WAIT).await;
        let deliveries = deliveries.expect("the cluster answers");
        silence = if deliveries.is_empty() {
            silence + 1
        } else {
            0
        };
        assert!(silence < 30, "{} of {COUNT} came", numbers.len());
        for delivery in deliveries {
            let text = std::str::from_utf8(&delivery.body).expect("bodies are text");
            numbers.push(text.parse().expect("bodies are numbers"));
            delivery.delete().await.expect("it is ours");
        }
    }
    numbers
}
