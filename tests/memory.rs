//! What memory and disk messages take; built and run only with the feature `measure`.
//!
//! `cargo test --release -p sampan --features measure --test memory -- --nocapture`

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/client.rs"]
mod client;
#[path = "support/first_line.rs"]
mod first_line;
#[path = "support/kill.rs"]
mod kill;
#[path = "support/process.rs"]
mod process;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sampan_client::{Client, GroupMode, Message, Queue, QueueOptions, Sending};

use self::broker::{Broker, Setup};
use self::client::connect;
use self::first_line::START_MAX;

const BODY_LEN: usize = 1_024;
const WINDOW: usize = 2_048;
/// Enough to fill the caches, which have fixed sizes.
const FEW: usize = 1_000_000;
const MANY: usize = 3_000_000;
/// What is promised (docs/performance.md).
const RATIO_MAX: f64 = 1.5;
const READY_LEN_MAX: u64 = 200_000_000;
/// From one look at the memory to the next, and how many in a row are longer than it takes until
/// a checkpoint (a minute) has freed what was sent last, and that has gone back (10 s).
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
const STEADY_LOOK_COUNT: u32 = 40;
const SETTLE_MAX: Duration = Duration::from_secs(300);
/// Messages of one queue that are in flight, or lapsed; and the queues that have so many lapsed.
const IN_FLIGHT: usize = 1_000_000;
const LAPSED_QUEUES: usize = 5;
/// Rounds of a million messages behind one that stays.
const MILLIONS: usize = 5;
const LAPSED_LEN_MAX: u64 = 400_000_000;
/// Messages of ordered groups, and how many groups these are.
const GROUPED: usize = 5_000_000;
const GROUP_COUNT: usize = 1_000_000;
/// What is promised (docs/performance.md).
const GROUPED_LEN_MAX: u64 = 400_000_000;
const RECEIVE_COUNT: u16 = 256;
/// Longer than it takes to receive the messages of one queue.
const LAPSE: Duration = Duration::from_secs(120);

async fn send(queue: &Queue, count: usize, body_len: usize) {
    let body = Bytes::from(vec![7; body_len]);
    send_each(queue, count, |_| Message::new(body.clone())).await;
}

/// Sends `count` messages, each as it is made of its number.
async fn send_each(queue: &Queue, count: usize, message: impl Fn(usize) -> Message) {
    let mut under_way: VecDeque<Sending> = VecDeque::new();
    for number in 0..count {
        if under_way.len() == WINDOW
            && let Some(first) = under_way.pop_front()
        {
            first.await.unwrap();
        }
        under_way.push_back(queue.send_with(message(number)));
    }
    for send in under_way {
        send.await.unwrap();
    }
}

/// The memory in use once it does not go down any more.
fn settled_len(broker: &Broker) -> u64 {
    let began = Instant::now();
    let mut least = broker.resident_len();
    let mut steady_count = 0;
    loop {
        // That it does not go down has no sign to wait for: this is how long it is looked at.
        std::thread::sleep(LOOK_INTERVAL);
        let now = broker.resident_len();
        // What a broker does when idle moves it by some pages.
        match now < least - least / 100 {
            true => steady_count = 0,
            false => steady_count += 1,
        }
        least = least.min(now);
        if steady_count == STEADY_LOOK_COUNT {
            return now;
        }
        assert!(began.elapsed() < SETTLE_MAX, "it goes down all the time");
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
    send(&queue, FEW, BODY_LEN).await;
    let few = settled_len(&broker);
    send(&queue, MANY - FEW, BODY_LEN).await;
    let many = settled_len(&broker);
    let counts = client.show_queue("ready").await.unwrap().counts;
    assert_eq!(counts.ready, MANY as u64);
    let ratio = many as f64 / few as f64;
    println!("{FEW} ready: {few} bytes; {MANY} ready: {many} bytes; ratio {ratio:.2}");
    assert!(ratio <= RATIO_MAX, "ratio {ratio:.2}");
    assert!(many <= READY_LEN_MAX);
}

/// Receives everything once, by several receives at a time.
async fn receive_all(queue: &Queue, count: usize, visibility: Duration) {
    let mut received = 0;
    while received < count {
        let receives = (0..16).map(|_| {
            let receive = queue.receive().max(RECEIVE_COUNT);
            receive.visibility_timeout(visibility).into_future()
        });
        for deliveries in futures::future::join_all(receives).await {
            received += deliveries.unwrap().len();
        }
    }
    assert_eq!(received, count, "one of them came twice");
}

async fn filled(client: &Client, name: &str, visibility: Duration) {
    let queue = client
        .create_queue(name, QueueOptions::new())
        .await
        .unwrap();
    send(&queue, IN_FLIGHT, 64).await;
    receive_all(&queue, IN_FLIGHT, visibility).await;
}

/// Goal: what is in flight takes little memory, and what lapsed takes none to speak of. Method:
/// a queue with a million messages in flight; then five queues, each of which had as many in flight
/// and got them back when their visibility ended.
#[tokio::test]
async fn memory_of_messages_in_flight_and_of_lapsed_ones() {
    let mut broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let few = settled_len(&broker);
    filled(&client, "held", Duration::from_secs(43_200)).await;
    let held = settled_len(&broker);
    let each = held.saturating_sub(few) / IN_FLIGHT as u64;
    println!("{IN_FLIGHT} in flight: {few} bytes before, {held} then: {each} each");
    let counts = client.show_queue("held").await.unwrap().counts;
    assert_eq!(counts.in_flight, IN_FLIGHT as u64);
    client.delete_queue("held").await.unwrap();
    for number in 0..LAPSED_QUEUES {
        let name = format!("lapsed-{number}");
        filled(&client, &name, LAPSE).await;
    }
    let began = Instant::now();
    for number in 0..LAPSED_QUEUES {
        let name = format!("lapsed-{number}");
        while client.show_queue(&name).await.unwrap().counts.in_flight > 0 {
            assert!(began.elapsed() < START_MAX + LAPSE, "they do not lapse");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    let lapsed = settled_len(&broker);
    let all = LAPSED_QUEUES * IN_FLIGHT;
    println!("{all} received once and lapsed: {lapsed} bytes");
    broker.kill();
    broker.launch();
    let restarted = settled_len(&broker);
    println!("the same after a restart: {restarted} bytes");
    assert!(lapsed.max(restarted) <= LAPSED_LEN_MAX);
}

/// Goal: ordered groups take little memory, however many there are. Method: five million messages
/// in a million groups, five of each, far from each other; then the broker is killed, and comes
/// back.
#[tokio::test]
async fn memory_of_messages_in_many_groups() {
    let mut broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let options = QueueOptions::new().groups(GroupMode::Ordered);
    let queue = client.create_queue("groups", options).await.unwrap();
    let before = settled_len(&broker);
    let body = Bytes::from(vec![7; 64]);
    let message =
        |number: usize| Message::new(body.clone()).group_key((number % GROUP_COUNT).to_string());
    send_each(&queue, GROUPED, message).await;
    let grouped = settled_len(&broker);
    let each = grouped.saturating_sub(before) / GROUPED as u64;
    println!(
        "{GROUPED} in {GROUP_COUNT} groups: {before} bytes before, {grouped} then: {each} each"
    );
    let counts = client.show_queue("groups").await.unwrap().counts;
    assert_eq!(counts.ready, GROUPED as u64);
    broker.kill();
    broker.launch();
    let restarted = settled_len(&broker);
    println!("the same after a restart: {restarted} bytes");
    assert!(grouped.max(restarted) <= GROUPED_LEN_MAX);
}

/// Length of all files below a folder; those that go meanwhile count as nothing.
fn files_len(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => files_len(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Goal: a message that nobody deletes pins neither the log nor the segments. Method: one message
/// in flight for hours; five million behind it are sent, a million at a time, then received and
/// deleted; then the length of all files, once some checkpoints have come.
#[tokio::test]
async fn one_old_message_pins_next_to_nothing_on_disk() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let queue = client
        .create_queue("old", QueueOptions::new())
        .await
        .unwrap();
    queue.send(vec![7; BODY_LEN]).await.unwrap();
    let receive = queue.receive();
    let held = receive.visibility_timeout(Duration::from_secs(43_200));
    assert_eq!(held.await.unwrap().len(), 1);
    let mut highest = 0;
    for _ in 0..MILLIONS {
        send(&queue, IN_FLIGHT, BODY_LEN).await;
        highest = highest.max(files_len(&broker.data()));
        let mut deleted = 0;
        while deleted < IN_FLIGHT {
            let receives = (0..16).map(|_| queue.receive().max(RECEIVE_COUNT).into_future());
            let mut deletes = Vec::new();
            for deliveries in futures::future::join_all(receives).await {
                deletes.extend(deliveries.unwrap().iter().map(|delivery| delivery.delete()));
            }
            deleted += deletes.len();
            for delete in deletes {
                delete.await.unwrap();
            }
        }
    }
    // A checkpoint comes every minute; what it finds dead goes with it or with the next.
    tokio::time::sleep(3 * LAPSE / 2).await;
    let (all, log) = (
        files_len(&broker.data()),
        files_len(&broker.data().join("log")),
    );
    let rest = all - log;
    println!(
        "one message of {BODY_LEN} bytes, 5 million deleted: {all} bytes, of which the log {log}"
    );
    println!("the rest: {rest} bytes; at most there were {highest}");
    assert_eq!(client.show_queue("old").await.unwrap().counts.in_flight, 1);
}
