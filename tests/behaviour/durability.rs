//! Goal: every acknowledgement says what it promises, as its queue asks for, and a broker that is
//! killed keeps what it acknowledged either way. Method: sends by the SDK and by command, SIGKILL,
//! checkpoints all the time or none.

use std::collections::BTreeSet;
use std::time::Duration;

use sampan_client::{Client, Durability, ErrorCode, Message, QueueOptions};

use crate::broker::{Broker, Setup};
use crate::client::connect;

const COUNT: usize = 2_000;
const WAIT: Duration = Duration::from_secs(5);

fn asking_for(durability: Durability) -> QueueOptions {
    QueueOptions::new().durability(durability)
}

/// What the acknowledgement of one send promises.
async fn told(client: &Client, queue: &str) -> Option<Durability> {
    let mut sending = client.queue(queue).send("a message");
    (&mut sending).await.unwrap();
    sending.durability()
}

#[tokio::test]
async fn an_acknowledgement_says_what_the_queue_asks_for_now() {
    let mut broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let asynchronous = asking_for(Durability::Async);
    client.create_queue("fast", asynchronous).await.unwrap();
    client
        .create_queue("safe", Default::default())
        .await
        .unwrap();
    assert_eq!(told(&client, "fast").await, Some(Durability::Async));
    assert_eq!(told(&client, "safe").await, Some(Durability::Sync));

    client.set_queue("safe", asynchronous).await.unwrap();
    let synchronous = asking_for(Durability::Sync);
    client.set_queue("fast", synchronous).await.unwrap();
    assert_eq!(told(&client, "fast").await, Some(Durability::Sync));
    assert_eq!(told(&client, "safe").await, Some(Durability::Async));
    let shown = client.show_queue("safe").await.unwrap();
    assert_eq!(shown.attributes.durability, Durability::Async);

    broker.kill();
    broker.launch();
    let client = connect(&broker.env()).await;
    assert_eq!(told(&client, "safe").await, Some(Durability::Async));
    let mut batch = client
        .queue("safe")
        .send_batch(vec![Message::new("one"), Message::new("two")]);
    assert_eq!((&mut batch).await.unwrap().len(), 2);
    assert_eq!(batch.durability(), Some(Durability::Async));
}

async fn killed_after_sends(storage: &str) {
    let mut broker = Broker::start(Setup {
        storage: storage.to_owned(),
        ..Setup::default()
    });
    let client = connect(&broker.env()).await;
    let asynchronous = asking_for(Durability::Async);
    let queue = client.create_queue("fast", asynchronous).await.unwrap();
    let mut kept = BTreeSet::new();
    for round in 0..3 {
        let sends: Vec<_> = (0..COUNT)
            .map(|number| queue.send(format!("{round}-{number}")))
            .collect();
        for mut sending in sends {
            kept.insert((&mut sending).await.unwrap());
            assert_eq!(sending.durability(), Some(Durability::Async));
        }
        // What was deleted stays deleted, too.
        for delivery in queue.receive().max(100).wait(WAIT).await.unwrap() {
            delivery.delete().await.unwrap();
            assert!(kept.remove(&delivery.id));
        }
        broker.kill();
        broker.launch();
    }
    let client = connect(&broker.env()).await;
    let queue = client.queue("fast");
    let mut received = BTreeSet::new();
    while received.len() < kept.len() {
        let deliveries = queue.receive().max(256).wait(WAIT).await.unwrap();
        assert!(
            !deliveries.is_empty(),
            "{} of {}",
            received.len(),
            kept.len()
        );
        for delivery in deliveries {
            assert!(received.insert(delivery.id), "{} came twice", delivery.id);
        }
    }
    assert_eq!(received, kept);
}

#[tokio::test]
async fn a_killed_broker_keeps_what_an_async_queue_acknowledged() {
    killed_after_sends("").await;
}

#[tokio::test]
async fn a_killed_broker_keeps_it_over_checkpoints() {
    killed_after_sends("overlay_len = 65536").await;
}

#[test]
fn commands_set_and_show_what_is_asked_for_and_what_is_told() {
    let broker = Broker::start(Setup::default());
    let create = ["queue", "create", "fast", "--durability", "async"];
    broker.cli(&create).expect(0);
    let shown = broker.json(&["queue", "show", "fast"]).remove(0);
    assert_eq!(shown["durability"], "async");
    let sent = broker.json(&["send", "fast", "hello"]).remove(0);
    assert_eq!(
        (&sent["id"], &sent["durability"]),
        (&1.into(), &"async".into())
    );
    broker
        .cli(&["queue", "set", "fast", "--durability", "sync"])
        .expect(0);
    let sent = broker.json(&["send", "fast", "hello"]).remove(0);
    assert_eq!(
        (&sent["id"], &sent["durability"]),
        (&2.into(), &"sync".into())
    );
    broker
        .cli(&["queue", "set", "fast", "--durability", "never"])
        .expect(2);
}

#[tokio::test]
async fn what_an_async_queue_gives_up_arrives_once_over_a_kill() {
    let mut broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    client
        .create_queue("dead", Default::default())
        .await
        .unwrap();
    let dead = client.show_queue("dead").await.unwrap().id;
    let options = asking_for(Durability::Async)
        .dead_letter_queue(dead)
        .receive_count_max(1);
    let queue = client.create_queue("fast", options).await.unwrap();
    for number in 0..50 {
        queue.send(number.to_string()).await.unwrap();
    }
    for delivery in queue.receive().max(50).wait(WAIT).await.unwrap() {
        delivery.release().await.unwrap();
    }
    broker.kill();
    broker.launch();
    let client = connect(&broker.env()).await;
    let mut bodies = BTreeSet::new();
    while bodies.len() < 50 {
        let deliveries = client
            .queue("dead")
            .receive()
            .max(50)
            .wait(WAIT)
            .await
            .unwrap();
        assert!(!deliveries.is_empty(), "{} came", bodies.len());
        for delivery in deliveries {
            assert!(bodies.insert(delivery.body.clone()), "once");
            delivery.delete().await.unwrap();
        }
    }
    let error = client.queue("nowhere").send("x").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::QueueNotFound));
}
