//! Goal: a full queue refuses sends, or gives its oldest messages up to its dead-letter queue; what
//! it counts survives a kill. Method: a broker whose queues lie in different sets, small limits,
//! SIGKILL, and the command line beside the SDK.

use sampan_client::{Client, DeathReason, ErrorCode, Queue, QueueCounts, QueueOptions, WhenFull};

use crate::broker::{Broker, Setup};
use crate::client::connect;
use crate::queues::{counts, until};

async fn send(queue: &Queue, bodies: impl IntoIterator<Item = String>) {
    for body in bodies {
        queue.send(body).await.unwrap();
    }
}

/// Receives and deletes everything that is ready; the bodies and why they were given up.
async fn drain(queue: &Queue) -> Vec<(String, Option<DeathReason>)> {
    let mut drained = Vec::new();
    loop {
        let deliveries = queue.receive().max(256).await.unwrap();
        if deliveries.is_empty() {
            return drained;
        }
        for delivery in deliveries {
            let body = String::from_utf8(delivery.body.to_vec()).unwrap();
            drained.push((body, delivery.dead_letter().map(|story| story.reason)));
            delivery.delete().await.unwrap();
        }
    }
}

fn bodies(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{number:010}")).collect()
}

#[tokio::test]
async fn a_limit_of_bytes_refuses_sends_until_something_is_deleted_and_survives_a_kill() {
    let mut broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let options = QueueOptions::new().byte_count_max(100);
    let orders = client.create_queue("orders", options).await.unwrap();
    send(&orders, bodies(0..10)).await;
    for _ in 0..2 {
        let refused = orders.send("x").await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::QueueFull));
        assert!(
            refused.to_string().contains("at most 100 bytes"),
            "{refused}"
        );
        assert_eq!(counts(&client, "orders").await.bytes, 100);
        broker.kill();
        broker.launch();
    }
    assert_eq!(drain(&orders).await.len(), 10);
    assert_eq!(counts(&client, "orders").await, QueueCounts::default());
    orders.send("x").await.unwrap();
}

async fn dropping(client: &Client) -> (Queue, Queue) {
    let dead = client.create_queue("dead", QueueOptions::new()).await;
    let target = client.show_queue("dead").await.unwrap();
    let options = QueueOptions::new()
        .dead_letter_queue(target.id)
        .message_count_max(4)
        .when_full(WhenFull::DropOldestToDeadLetter);
    let orders = client.create_queue("orders", options).await.unwrap();
    let source = client.show_queue("orders").await.unwrap();
    assert_ne!(source.set, target.set);
    (orders, dead.unwrap())
}

#[tokio::test]
async fn the_oldest_give_way_arrive_once_with_their_reason_and_can_be_sent_back() {
    let mut broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let (orders, dead) = dropping(&client).await;
    send(&orders, bodies(0..30)).await;
    broker.kill();
    broker.launch();
    send(&orders, bodies(30..40)).await;
    until(&client, "dead", |counts| counts.ready == 36).await;
    let redrive = dead.redrive().reason(DeathReason::Overflow);
    assert_eq!(redrive.dry_run().await.unwrap(), 36);
    let plain = |(body, reason)| {
        assert_eq!(reason, None, "{body}");
        body
    };
    let newest = drain(&orders).await.into_iter().map(plain);
    assert_eq!(newest.collect::<Vec<_>>(), bodies(36..40));
    // Room for all of them, and they come back.
    let room = QueueOptions::new().message_count_max(100);
    client.set_queue("orders", room).await.unwrap();
    let oldest = dead.redrive().reason(DeathReason::Overflow);
    oldest.begin().await.unwrap();
    until(&client, "orders", |counts| counts.ready == 36).await;
    let back = drain(&orders).await.into_iter().map(plain);
    assert_eq!(back.collect::<Vec<_>>(), bodies(0..36));
}

#[tokio::test]
async fn what_cannot_be_given_up_keeps_the_queue_full() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let (orders, dead) = dropping(&client).await;
    send(&orders, bodies(0..4)).await;
    let held = orders.receive().max(4).await.unwrap();
    assert_eq!(held.len(), 4);
    let refused = orders.send("x").await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::QueueFull));
    let text = refused.to_string();
    assert!(text.contains("too few can be given up"), "{text}");
    for delivery in held {
        delivery.release().await.unwrap();
    }
    orders.send("x").await.unwrap();
    until(&client, "dead", |counts| counts.ready == 1).await;
    let (body, reason) = drain(&dead).await.remove(0);
    assert_eq!(
        (body, reason),
        (bodies(0..1).remove(0), Some(DeathReason::Overflow))
    );
}

#[test]
fn commands_set_and_show_the_limits_and_say_that_a_queue_is_full() {
    let broker = Broker::start(Setup::default());
    broker.cli(&["queue", "create", "dead"]).expect(0);
    let create = [
        "queue",
        "create",
        "orders",
        "--max-bytes",
        "1KiB",
        "--max-messages",
        "2",
    ];
    broker.cli(&create).expect(0);
    let drop_oldest = ["--when-full", "drop-oldest-to-dead-letter"];
    let set = |more: &[&str]| {
        let words = ["queue", "set", "orders"].iter().chain(more).copied();
        broker.cli(&words.collect::<Vec<_>>())
    };
    let refused = set(&drop_oldest);
    assert!(
        refused
            .stderr
            .contains("when_full without dead_letter_queue"),
        "{refused:?}"
    );
    assert_eq!(refused.code, Some(1));
    broker
        .cli(&["send", "orders", "body", "--count", "2"])
        .expect(0);
    let why = &broker.json(&["queue", "why", "orders"])[0];
    assert_eq!((&why["why"], &why["full"]), (&"ready".into(), &true.into()));
    set(&[&drop_oldest[..], &["--dead-letter-queue", "dead"]].concat()).expect(0);
    broker.cli(&["send", "orders", "body"]).expect(0);
    let shown = &broker.json(&["queue", "show", "orders"])[0];
    assert_eq!(shown["max_bytes"], 1_024);
    assert_eq!(shown["when_full"], "drop-oldest-to-dead-letter");
    assert_eq!(shown["ready"], 2);
    // Without a queue to go to, nothing gives way any more.
    set(&["--dead-letter-queue", ""]).expect(0);
    let shown = &broker.json(&["queue", "show", "orders"])[0];
    assert_eq!(shown["when_full"], "refuse");
}
