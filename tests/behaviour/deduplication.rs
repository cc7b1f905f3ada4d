//! Goal: a message whose key was stored within the window is not stored again, whoever sends it and
//! whatever happened to the broker, and a key is never mistaken for a part of the body. Method: two
//! clients of the SDK, SIGKILL, checkpoints all the time or none.

use std::time::Duration;

use bytes::Bytes;
use sampan_client::{Client, Message, MessageId, Queue, QueueOptions};
use serde_json::json;

use crate::broker::{Broker, Setup};
use crate::client::connect;

const HOUR: Duration = Duration::from_secs(3_600);
const WAIT: Duration = Duration::from_secs(30);
const COUNT: u32 = 300;

fn key(number: u32) -> String {
    format!("order-{number}")
}

fn body(number: u32) -> Bytes {
    format!("{number:08}").repeat(100).into()
}

fn headers() -> Bytes {
    sampan_protocol::headers::encode([("trace", &[1, 2][..])]).unwrap()
}

fn message(number: u32) -> Message {
    let message = Message::new(body(number)).dedup_key(key(number));
    match number % 2 {
        0 => message.headers(headers()),
        _ => message,
    }
}

/// Sends all of them by themselves, and gives their ids.
async fn send(queue: &Queue, messages: impl Iterator<Item = Message>) -> Vec<MessageId> {
    let sends: Vec<_> = messages.map(|message| queue.send_with(message)).collect();
    let mut ids = Vec::new();
    for send in sends {
        ids.push(send.await.unwrap());
    }
    ids
}

async fn present(client: &Client) -> u64 {
    let counts = client.show_queue("orders").await.unwrap().counts;
    counts.ready + counts.delayed + counts.in_flight
}

/// Receives all of them, and compares every part with what was sent.
async fn receive_all(queue: &Queue) {
    let mut numbers = Vec::new();
    while numbers.len() < COUNT as usize {
        let deliveries = queue.receive().max(256).wait(WAIT).await.unwrap();
        assert!(!deliveries.is_empty(), "{} came", numbers.len());
        for delivery in deliveries {
            let text = std::str::from_utf8(&delivery.body[..8]).unwrap();
            let number = text.parse().unwrap();
            assert_eq!(delivery.body, body(number));
            assert_eq!(delivery.dedup_key, Some(key(number).into()));
            assert_eq!(delivery.headers().count(), usize::from(number % 2 == 0));
            delivery.delete().await.unwrap();
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..COUNT));
}

async fn stored_once(storage: &str) {
    let mut broker = Broker::start(Setup {
        storage: storage.to_owned(),
        ..Setup::default()
    });
    let client = connect(&broker.env()).await;
    let options = QueueOptions::new().dedup_window(HOUR);
    let queue = client.create_queue("orders", options).await.unwrap();
    let first = send(&queue, (0..COUNT).map(message)).await;
    assert_eq!(present(&client).await, u64::from(COUNT));

    for _ in 0..2 {
        let other = connect(&broker.env()).await;
        let again = other.queue("orders");
        let repeats = (0..COUNT).map(|number| Message::new("another").dedup_key(key(number)));
        assert_eq!(send(&again, repeats).await, first);
        let batch = vec![message(7), message(3), message(7)];
        let ids = again.send_batch(batch).await.unwrap();
        assert_eq!(ids, [first[7], first[3], first[7]]);
        assert_eq!(present(&other).await, u64::from(COUNT), "{storage:?}");
        broker.kill();
        broker.launch();
    }
    let client = connect(&broker.env()).await;
    let queue = client.queue("orders");
    receive_all(&queue).await;
    // What was deleted is not forgotten.
    assert_eq!(send(&queue, (0..COUNT).map(message)).await, first);
    assert_eq!(present(&client).await, 0);
    let without_window = QueueOptions::new().dedup_window(Duration::ZERO);
    client.set_queue("orders", without_window).await.unwrap();
    send(&queue, (0..2).map(|_| message(5))).await;
    assert_eq!(present(&client).await, 2);
}

#[tokio::test]
async fn a_key_is_stored_once_over_clients_deletes_and_restarts() {
    stored_once("").await;
}

#[tokio::test]
async fn a_key_is_stored_once_and_told_from_the_body_when_bodies_come_from_disk() {
    stored_once("overlay_len = 65536").await;
}

#[test]
fn commands_take_keys_and_show_them() {
    let broker = Broker::start(Setup::default());
    let create = ["queue", "create", "orders", "--dedup-window", "1h"];
    broker.cli(&create).expect(0);
    let shown = broker.json(&["queue", "show", "orders"]).remove(0);
    assert_eq!(shown["dedup_window_ms"], 3_600_000);
    let send = ["send", "orders", "pay", "--dedup-key", "invoice-7"];
    let first = broker.json(&send);
    assert_eq!(broker.json(&send), first);
    broker.cli(&["send", "orders", "without"]).expect(0);
    let received = broker.json(&["receive", "orders", "--max", "5"]);
    let told: Vec<_> = received
        .iter()
        .map(|message| (&message["body"], &message["dedup_key"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("pay"), &json!("invoice-7")),
            (&json!("without"), &json!(null))
        ]
    );
    for wrong in ["", &"k".repeat(129)] {
        let send = ["send", "orders", "pay", "--dedup-key", wrong];
        let refused = broker.cli(&send).expect(1);
        assert!(refused.stderr.contains("1 to 128"), "{}", refused.stderr);
    }
    let too_long = ["queue", "set", "orders", "--dedup-window", "25h"];
    let refused = broker.cli(&too_long).expect(1);
    assert!(refused.stderr.contains("86400000"), "{}", refused.stderr);
}
