//! Goal: a restart changes nothing that anybody can see. Method: messages ready, delayed, in flight
//! and deleted, then SIGTERM or SIGKILL, with and without checkpoints in between.

use std::time::Duration;

use bytes::Bytes;
use sampan_client::{Client, Message, Queue, QueueOptions};
use sampan_protocol::QueueDescription;

use crate::broker::{Broker, Setup};
use crate::client::connect;

const LONG: Duration = Duration::from_secs(3_600);
const WAIT: Duration = Duration::from_secs(30);

fn body(number: u32) -> Bytes {
    format!("{number:08}").repeat(128).into()
}

async fn send(queue: &Queue, numbers: std::ops::Range<u32>) {
    let sends: Vec<_> = numbers.map(|number| queue.send(body(number))).collect();
    for send in sends {
        send.await.unwrap();
    }
}

/// What is shown of the queue, but for the clock.
async fn shown(client: &Client) -> QueueDescription {
    client.show_queue("orders").await.unwrap()
}

async fn restarts_unchanged(storage: &str, stop: impl Fn(&mut Broker)) {
    let mut broker = Broker::start(Setup {
        storage: storage.to_owned(),
        ..Setup::default()
    });
    let client = connect(&broker.env()).await;
    let queue = client
        .create_queue("orders", QueueOptions::new())
        .await
        .unwrap();
    send(&queue, 0..600).await;
    queue
        .send_with(Message::new("late").delay(LONG))
        .await
        .unwrap();
    let held = queue
        .receive()
        .max(100)
        .visibility_timeout(LONG)
        .await
        .unwrap();
    assert_eq!(held.len(), 100);
    let deletes: Vec<_> = held[..50]
        .iter()
        .map(|delivery| delivery.delete())
        .collect();
    for delete in deletes {
        delete.await.unwrap();
    }
    let before = shown(&client).await;
    let counts = before.counts;
    assert_eq!(
        (counts.ready, counts.delayed, counts.in_flight),
        (500, 1, 50)
    );
    for _ in 0..2 {
        stop(&mut broker);
        broker.launch();
        assert_eq!(shown(&client).await, before);
    }
    // A handle from before is as good as it was, a deleted message is gone for good.
    held[50].delete().await.unwrap();
    let error = held[0].delete().await.unwrap_err();
    assert_eq!(error.code(), Some(sampan_client::ErrorCode::ReceiptExpired));
    let mut next = 100;
    while next < 600 {
        for delivery in queue
            .receive()
            .max(256)
            .visibility_timeout(LONG)
            .await
            .unwrap()
        {
            assert_eq!(delivery.body, body(next), "message {next}");
            next += 1;
        }
    }
    assert!(queue.receive().max(256).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_terminated_broker_comes_back_as_it_was() {
    restarts_unchanged("", Broker::terminate).await;
}

#[tokio::test]
async fn a_killed_broker_comes_back_as_it_was_from_log_and_checkpoints() {
    restarts_unchanged("overlay_len = 65536", Broker::kill).await;
}

#[tokio::test]
async fn more_messages_than_memory_may_hold_come_back_from_segment_files() {
    let storage = "overlay_len = 1048576".to_owned();
    let mut broker = Broker::start(Setup {
        storage,
        ..Setup::default()
    });
    let client = connect(&broker.env()).await;
    let queue = client
        .create_queue("orders", QueueOptions::new())
        .await
        .unwrap();
    let count = 12_000;
    send(&queue, 0..count).await;
    broker.wait_for_segments(8 * 1024 * 1024);
    broker.terminate();
    broker.launch();
    let mut next = 0;
    while next < count {
        let received = queue
            .receive()
            .max(256)
            .wait(WAIT)
            .visibility_timeout(LONG)
            .await
            .unwrap();
        assert!(!received.is_empty(), "nothing after message {next}");
        for delivery in &received {
            assert_eq!(delivery.body, body(next), "message {next}");
            next += 1;
        }
        let handles: Vec<_> = received.iter().map(|delivery| delivery.handle).collect();
        assert!(queue.delete_batch(&handles).await.unwrap().is_empty());
    }
    let counts = shown(&client).await.counts;
    assert_eq!((counts.ready, counts.in_flight), (0, 0));
}
