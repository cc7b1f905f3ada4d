//! Goal: what a queue gives up is found in its dead-letter queue, once, with its story, whatever is
//! killed or full. Method: a broker whose queues lie in different sets, so that every message goes
//! from one to another; receives that are given up, SIGKILL, and limits.

use std::time::Duration;

use sampan_client::{
    Client, DeathReason, Delivery, ErrorCode, Message, MessageId, Queue, QueueCounts, QueueOptions,
    headers,
};

use crate::broker::{Broker, Setup};
use crate::client::connect;
use crate::queues::{counts, give_up, until};

const WAIT: Duration = Duration::from_secs(10);

/// `orders` and `dead`, in which is what `orders` gives up after `receives`.
async fn queues(client: &Client, receives: u32) -> (Queue, Queue) {
    let dead = client
        .create_queue("dead", QueueOptions::new())
        .await
        .unwrap();
    let target = client.show_queue("dead").await.unwrap();
    let options = QueueOptions::new()
        .dead_letter_queue(target.id)
        .receive_count_max(receives);
    let orders = client.create_queue("orders", options).await.unwrap();
    let source = client.show_queue("orders").await.unwrap();
    assert_ne!(source.set, target.set);
    assert_eq!(source.dead_letter_queue, "dead");
    (orders, dead)
}

async fn send(queue: &Queue, count: usize) {
    let sends: Vec<_> = (0..count)
        .map(|number| queue.send(number.to_string()))
        .collect();
    for send in sends {
        send.await.unwrap();
    }
}

/// Receives and deletes `count` messages, which are all there are; their numbers.
async fn drain(queue: &Queue, count: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let deliveries = queue.receive().max(256).wait(WAIT).await.unwrap();
        assert!(!deliveries.is_empty(), "{} of {count}", numbers.len());
        for delivery in deliveries {
            numbers.push(number(&delivery));
            delivery.delete().await.unwrap();
        }
    }
    assert!(queue.receive().await.unwrap().is_empty(), "too many");
    numbers
}

fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.body)
        .unwrap()
        .parse()
        .unwrap()
}

fn all(count: usize) -> Vec<usize> {
    (0..count).collect()
}

#[tokio::test]
async fn what_is_received_too_often_is_found_with_its_story() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let (orders, dead) = queues(&client, 2).await;
    let trace = headers::encode([("trace", &b"abc"[..])]).unwrap();
    let message = Message::new("pay 5").headers(trace);
    orders.send_with(message).await.unwrap();
    let mut sent_at = None;
    for _ in 0..2 {
        let delivery = orders.receive().await.unwrap().remove(0);
        sent_at = Some(delivery.sent_at);
        delivery.release().await.unwrap();
    }
    let found = dead.receive().wait(WAIT).await.unwrap().remove(0);
    assert_eq!(&found.body[..], b"pay 5");
    assert_eq!(found.headers().next(), Some(("trace", &b"abc"[..])));
    assert_eq!(Some(found.sent_at), sent_at, "when it was sent first");
    assert_eq!(found.receive_count, 1, "counted anew");
    let story = found.dead_letter().unwrap();
    assert_eq!(story.source_queue, "orders");
    assert_eq!(story.source_id, MessageId(1));
    assert_eq!(story.receive_count, 2);
    assert_eq!(story.reason, DeathReason::ReceiveCount);
    until(&client, "orders", |counts| {
        *counts == QueueCounts::default()
    })
    .await;
}

#[tokio::test]
async fn what_nobody_deletes_in_time_is_found_too() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let (orders, dead) = queues(&client, 0).await;
    let options = QueueOptions::new().dead_letter_after(Duration::from_secs(1));
    client.set_queue("orders", options).await.unwrap();
    send(&orders, 20).await;
    let mut numbers = Vec::new();
    while numbers.len() < 20 {
        let found = dead.receive().max(256).wait(WAIT).await.unwrap();
        for delivery in &found {
            assert_eq!(delivery.dead_letter().unwrap().reason, DeathReason::Age);
            assert_eq!(delivery.dead_letter().unwrap().receive_count, 0);
            numbers.push(number(delivery));
        }
    }
    assert_eq!(numbers, all(20), "in the order of the sends");
}

#[tokio::test]
async fn each_arrives_once_however_often_the_broker_is_killed() {
    // Small checkpoints: outbox and bodies are on disk, too.
    let mut broker = Broker::start(Setup {
        storage: "overlay_len = 65536\n".to_owned(),
        ..Setup::default()
    });
    let client = connect(&broker.env()).await;
    let (orders, dead) = queues(&client, 1).await;
    for round in 0..3 {
        send(&orders, 600).await;
        give_up(&orders, 600).await;
        broker.kill();
        broker.launch();
        let mut numbers = drain(&dead, 600).await;
        numbers.sort_unstable();
        assert_eq!(numbers, all(600), "round {round}");
        until(&client, "orders", |counts| {
            *counts == QueueCounts::default()
        })
        .await;
    }
}

#[tokio::test]
async fn a_full_or_paused_dead_letter_queue_holds_messages_back_and_loses_none() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let (orders, dead) = queues(&client, 1).await;
    let few = QueueOptions::new().message_count_max(1);
    client.set_queue("dead", few).await.unwrap();
    send(&orders, 4).await;
    give_up(&orders, 4).await;
    until(&client, "dead", |counts| counts.ready == 1).await;
    assert_eq!(counts(&client, "orders").await.moving, 3);
    let pause = QueueOptions::new().paused(true).message_count_max(100);
    client.set_queue("dead", pause).await.unwrap();
    send(&orders, 1).await;
    give_up(&orders, 1).await;
    assert_eq!(counts(&client, "orders").await.moving, 4);
    assert_eq!(counts(&client, "dead").await.ready, 1);
    let resume = QueueOptions::new().paused(false);
    client.set_queue("dead", resume).await.unwrap();
    until(&client, "dead", |counts| counts.ready == 5).await;
    assert_eq!(drain(&dead, 5).await, [0, 1, 2, 3, 0]);
    assert_eq!(counts(&client, "orders").await, QueueCounts::default());
}

#[tokio::test]
async fn a_bound_queue_stays_and_what_nobody_takes_waits_for_another() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let (orders, _) = queues(&client, 1).await;
    let refused = client.delete_queue("dead").await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::QueueIsBound));
    let source = client.show_queue("orders").await.unwrap();
    let chain = QueueOptions::new().dead_letter_queue(source.id);
    for name in ["orders", "dead", "other"] {
        let refused = match name {
            "other" => client.create_queue(name, chain).await.map(drop),
            _ => client.set_queue(name, chain).await,
        };
        let refused = refused.unwrap_err().code();
        assert_eq!(refused, Some(ErrorCode::InvalidDeadLetterQueue), "{name}");
    }
    // A queue that is paused takes nothing, so these wait until it is gone.
    let pause = QueueOptions::new().paused(true);
    client.set_queue("dead", pause).await.unwrap();
    send(&orders, 10).await;
    give_up(&orders, 10).await;
    let unbound = QueueOptions::new().without_dead_letter_queue();
    client.set_queue("orders", unbound).await.unwrap();
    client.delete_queue("dead").await.unwrap();
    until(&client, "orders", |counts| counts.undeliverable == 10).await;
    let (dead, options) = ("dead-2", QueueOptions::new());
    let dead = client.create_queue(dead, options).await.unwrap();
    let target = client.show_queue("dead-2").await.unwrap().id;
    let bound = QueueOptions::new().dead_letter_queue(target);
    client.set_queue("orders", bound).await.unwrap();
    let mut numbers = drain(&dead, 10).await;
    numbers.sort_unstable();
    assert_eq!(numbers, all(10));
}
