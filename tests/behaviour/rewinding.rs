//! Goal: what a queue keeps comes back whole and in order when it is rewound, whatever happened to
//! the broker; what it keeps no longer gives its room back. Method: a real broker with checkpoints
//! all the time, the SDK, SIGKILL, the length of the segment files, and the command line.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sampan_client::{Client, ErrorCode, Queue, QueueOptions, ReceiptHandle};
use serde_json::json;

use crate::broker::{Broker, Setup};
use crate::client::connect;
use crate::first_line::START_MAX;
use crate::waiting::within;

const HOUR: Duration = Duration::from_secs(3_600);
const WAIT: Duration = Duration::from_secs(30);
const COUNT: u32 = 1_000;

fn broker() -> Broker {
    // Small checkpoints: bodies and state are on disk soon.
    Broker::start(Setup {
        storage: "overlay_len = 65536".to_owned(),
        ..Setup::default()
    })
}

fn body(number: u32) -> Bytes {
    format!("{number:08}").repeat(128).into()
}

async fn send(queue: &Queue) {
    let sends: Vec<_> = (0..COUNT).map(|number| queue.send(body(number))).collect();
    for send in sends {
        send.await.unwrap();
    }
}

/// Receives these in order, each as if for the first time.
async fn take(queue: &Queue, numbers: Range<u32>) -> Vec<ReceiptHandle> {
    let mut handles = Vec::new();
    let mut numbers = numbers.peekable();
    while let Some(next) = numbers.peek() {
        let receive = queue.receive().max(256).wait(WAIT).visibility_timeout(HOUR);
        let deliveries = receive.await.unwrap();
        assert!(!deliveries.is_empty(), "nothing from message {next} on");
        for delivery in deliveries {
            let number = numbers.next().unwrap();
            assert_eq!(delivery.body, body(number), "message {number}");
            assert_eq!(delivery.receive_count, 1);
            handles.push(delivery.handle);
        }
    }
    handles
}

async fn delete(queue: &Queue, handles: &[ReceiptHandle]) {
    for handles in handles.chunks(256) {
        assert!(queue.delete_batch(handles).await.unwrap().is_empty());
    }
}

/// A queue that can be rewound, with all messages in it; and an instant before their sends.
async fn filled(broker: &Broker) -> (Client, Queue, SystemTime) {
    let client = connect(&broker.env()).await;
    let options = QueueOptions::new().rewind(HOUR);
    let queue = client.create_queue("orders", options).await.unwrap();
    let began = SystemTime::now() - Duration::from_secs(60);
    send(&queue).await;
    (client, queue, began)
}

async fn take_all(queue: &Queue) {
    let handles = take(queue, 0..COUNT).await;
    delete(queue, &handles).await;
}

async fn counts(client: &Client) -> (u64, u64, u64) {
    let counts = client.show_queue("orders").await.unwrap().counts;
    (counts.ready, counts.in_flight, counts.rewindable)
}

/// All of them were deleted: they come back in one step, again and again.
#[tokio::test]
async fn deleted_messages_come_back_in_order_also_after_a_kill() {
    let mut broker = broker();
    let (client, queue, began) = filled(&broker).await;
    take_all(&queue).await;
    assert_eq!(counts(&client).await, (0, 0, u64::from(COUNT)));
    assert_eq!(queue.rewind(began).await.unwrap(), u64::from(COUNT));
    take_all(&queue).await;
    broker.wait_for_segments(u64::from(COUNT) * 1_024 * 8 / 10);
    broker.kill();
    broker.launch();
    assert_eq!(counts(&client).await, (0, 0, u64::from(COUNT)));
    assert_eq!(queue.rewind(began).await.unwrap(), u64::from(COUNT));
    broker.kill();
    broker.launch();
    assert_eq!(counts(&client).await, (u64::from(COUNT), 0, 0));
    take_all(&queue).await;
}

/// One of them is still held by a receiver: the others come back in the entries that follow.
#[tokio::test]
async fn what_is_in_flight_stays_so_and_the_others_come_back() {
    let mut broker = broker();
    let (client, queue, began) = filled(&broker).await;
    let handles = take(&queue, 0..COUNT).await;
    delete(&queue, &handles[..handles.len() - 1]).await;
    assert_eq!(counts(&client).await, (0, 1, u64::from(COUNT) - 1));
    assert_eq!(queue.rewind(began).await.unwrap(), u64::from(COUNT) - 1);
    broker.kill();
    broker.launch();
    let again = take(&queue, 0..COUNT - 1).await;
    delete(&queue, &again).await;
    assert_eq!(counts(&client).await, (0, 1, u64::from(COUNT) - 1));
}

#[tokio::test]
async fn a_rewind_outside_the_window_is_refused_with_the_range() {
    let broker = broker();
    let client = connect(&broker.env()).await;
    let queue = client
        .create_queue("orders", QueueOptions::new())
        .await
        .unwrap();
    let now = SystemTime::now();
    let refused = queue.rewind(now).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::RewindOutOfRange));
    let options = QueueOptions::new().rewind(HOUR);
    client.set_queue("orders", options).await.unwrap();
    assert_eq!(queue.rewind(now - HOUR / 2).await.unwrap(), 0);
    for outside in [now - HOUR - Duration::from_secs(60), now + HOUR] {
        let refused = queue.rewind(outside).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::RewindOutOfRange));
        let text = refused.to_string();
        assert!(text.contains("3600000 ms"), "{text}");
    }
    let too_long = QueueOptions::new().rewind(HOUR * 24 * 15);
    let refused = client.set_queue("orders", too_long).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::AttributeOutOfRange));
}

/// How many messages the data folder holds, as `sampan check` counts them.
fn checked(broker: &mut Broker) -> u64 {
    broker.terminate();
    let data = broker.data();
    let report = broker.json(&["check", data.to_str().unwrap()]);
    let counts = report.iter().filter_map(|it| it["message_count"].as_u64());
    let count = counts.sum();
    broker.launch();
    count
}

#[test]
fn a_queue_that_stops_keeping_gives_the_room_back() {
    let mut broker = broker();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(connect(&broker.env()));
    let (queue, other) = runtime.block_on(async {
        let options = QueueOptions::new().rewind(HOUR);
        let queue = client.create_queue("orders", options).await.unwrap();
        send(&queue).await;
        let other = client.create_queue("other", QueueOptions::new()).await;
        (queue, other.unwrap())
    });
    broker.wait_for_segments(u64::from(COUNT) * 1_024 * 8 / 10);
    // Another queue makes the broker write checkpoints.
    let turns = || {
        runtime.block_on(async {
            for _ in 0..10 {
                other.send(vec![7; 100_000]).await.unwrap();
            }
        });
    };
    runtime.block_on(take_all(&queue));
    turns();
    let half = u64::from(COUNT) / 2;
    assert!(checked(&mut broker) > half, "what is kept keeps its room");
    let off = QueueOptions::new().rewind(Duration::ZERO);
    runtime.block_on(client.set_queue("orders", off)).unwrap();
    assert_eq!(runtime.block_on(counts(&client)), (0, 0, 0));
    within(START_MAX, "room for what is kept no longer", || {
        turns();
        (checked(&mut broker) < half).then_some(())
    });
}

#[test]
fn the_command_line_rewinds() {
    let broker = Broker::start(Setup::default());
    let create = ["queue", "create", "orders", "--rewind", "1d"];
    broker.cli(&create).expect(0);
    let send = ["send", "orders", "one", "--count", "3"];
    broker.cli(&send).expect(0);
    let receive = ["receive", "orders", "--max", "3", "--delete"];
    assert_eq!(broker.json(&receive).len(), 3);
    let shown = broker.json(&["queue", "show", "orders"]).remove(0);
    assert_eq!(
        (&shown["rewind_ms"], &shown["rewindable"], &shown["ready"]),
        (&json!(86_400_000), &json!(3), &json!(0))
    );
    let rewind = ["queue", "rewind", "orders", "--to", "-1h"];
    let rewound = broker.json(&rewind).remove(0);
    assert_eq!(rewound, json!({ "rewound": "orders", "count": 3 }));
    assert_eq!(broker.json(&receive).len(), 3);
    let early = ["queue", "rewind", "orders", "--to", "2020-01-01T00:00:00Z"];
    let refused = broker.cli(&early).expect(1);
    assert!(refused.stderr.contains("error 408"), "{}", refused.stderr);
    broker
        .cli(&["queue", "set", "orders", "--rewind", "0s"])
        .expect(0);
    let shown = broker.json(&["queue", "show", "orders"]).remove(0);
    assert_eq!(shown["rewindable"], 0);
}
