//! What memory ready messages take; built and run only with the feature `measure`.
//!
//! `cargo test --release -p sampan --features measure --test memory -- --nocapture`

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/client.rs"]
mod client;
#[path = "support/first_line.rs"]
mod first_line;
#[path = "support/process.rs"]
mod process;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sampan_client::{Queue, QueueOptions, Sending};

use self::broker::{Broker, Setup};
use self::client::connect;
use self::first_line::START_MAX;

const BODY_LEN: usize = 1_024;
const WINDOW: usize = 2_048;
const FEW: usize = 100_000;
const MANY: usize = 2_000_000;
/// What is promised.
const RATIO_MAX: f64 = 1.5;

async fn send(queue: &Queue, count: usize) {
    let body = Bytes::from(vec![7; BODY_LEN]);
    let mut under_way: VecDeque<Sending> = VecDeque::new();
    for _ in 0..count {
        if under_way.len() == WINDOW
            && let Some(first) = under_way.pop_front()
        {
            first.await.unwrap();
        }
        under_way.push_back(queue.send(body.clone()));
    }
    for send in under_way {
        send.await.unwrap();
    }
}

/// The memory in use once it does not go down any more.
fn settled_len(broker: &Broker) -> u64 {
    let began = Instant::now();
    let mut before = broker.resident_len();
    loop {
        std::thread::sleep(Duration::from_secs(2));
        let now = broker.resident_len();
        if now >= before {
            return now;
        }
        assert!(began.elapsed() < START_MAX, "it goes down all the time");
        before = now;
    }
}

/// Goal: memory does not grow with the number of ready messages. Method: one broker as it is
/// without any configuration, measured with few and then with many.
#[tokio::test]
async fn memory_does_not_grow_with_the_number_of_ready_messages() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let queue = client
        .create_queue("ready", QueueOptions::new())
        .await
        .unwrap();
    send(&queue, FEW).await;
    let few = settled_len(&broker);
    send(&queue, MANY - FEW).await;
    let many = settled_len(&broker);
    let counts = client.show_queue("ready").await.unwrap().counts;
    assert_eq!(counts.ready, MANY as u64);
    let ratio = many as f64 / few as f64;
    println!("{FEW} ready: {few} bytes; {MANY} ready: {many} bytes; ratio {ratio:.2}");
    assert!(ratio <= RATIO_MAX, "ratio {ratio:.2}");
}
