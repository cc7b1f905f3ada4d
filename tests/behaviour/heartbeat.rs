//! Goal: what the application of a stream works on stays in flight for longer than its visibility
//! timeout, by the heartbeat and not without it. Method: the SDK over TLS, and a rival whose
//! receives wait at the broker.

use std::time::Duration;

use futures::StreamExt;
use sampan_client::{Client, ErrorCode, Queue, QueueOptions};

use crate::broker::{Broker, Setup};
use crate::client::connect;

/// The longest wait of a receive.
const WAIT: Duration = Duration::from_secs(30);

/// A queue with one message.
async fn queue(client: &Client, seconds: u64) -> Queue {
    let options = QueueOptions::new().visibility_timeout(Duration::from_secs(seconds));
    let name = format!("orders-{seconds}");
    let queue = client.create_queue(name, options).await.unwrap();
    queue.send("slow").await.unwrap();
    queue
}

/// Whether a message is kept from a rival who waits for thrice its visibility timeout.
async fn is_kept(client: &Client, rival: &Client, seconds: u64) -> bool {
    let queue = queue(client, seconds).await;
    let rival = rival.queue(queue.name());
    let mut deliveries = queue.deliveries(10);
    let held = deliveries.next().await.unwrap().unwrap();
    let wait = 3 * Duration::from_secs(seconds);
    if !rival.receive().wait(wait).await.unwrap().is_empty() {
        return false;
    }
    assert!(!held.is_expired());
    held.release().await.unwrap();
    let next = rival.receive().wait(WAIT).await.unwrap();
    let counts: Vec<_> = next.iter().map(|next| next.receive_count).collect();
    assert_eq!((held.receive_count, counts), (1, vec![2]));
    true
}

#[tokio::test]
async fn a_message_that_is_worked_on_is_nobody_elses_for_as_long_as_it_takes() {
    let broker = Broker::start(Setup::default());
    let (client, rival) = (connect(&broker.env()).await, connect(&broker.env()).await);
    // A machine that stands still for half of a visibility timeout lets a message lapse, so a
    // longer one is tried then; without a heartbeat none would do.
    for seconds in [1, 2, 4, 10] {
        if is_kept(&client, &rival, seconds).await {
            return;
        }
    }
    panic!("the rival got it each time");
}

#[tokio::test]
async fn without_a_heartbeat_a_message_that_is_worked_on_for_long_is_somebody_elses() {
    let broker = Broker::start(Setup::default());
    let (client, rival) = (connect(&broker.env()).await, connect(&broker.env()).await);
    let queue = queue(&client, 1).await;
    let mut deliveries = queue.deliveries(10).without_heartbeat();
    let held = deliveries.next().await.unwrap().unwrap();
    let rival = rival.queue(queue.name());
    let taken = rival.receive().wait(WAIT).await.unwrap();
    let counts: Vec<_> = taken.iter().map(|taken| taken.receive_count).collect();
    assert_eq!((held.receive_count, counts), (1, vec![2]));
    let refused = held.delete().await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::ReceiptExpired));
}
