//! Goal: when a message can be received, and how often it was. Method: the SDK over TLS. Waits are
//! the broker's own, and no upper bound on a duration is asserted: a slow machine may take longer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use sampan_client::{Message, QueueOptions};

use crate::broker::{Broker, Setup};
use crate::client::connect;

/// The longest there is.
const WAIT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn parked_receives_get_messages_as_they_are_sent_first_come_first_served() {
    let broker = Broker::start(Setup::default());
    let (sender, receiver) = (connect(&broker.env()).await, connect(&broker.env()).await);
    let queue = sender
        .create_queue("orders", QueueOptions::new())
        .await
        .unwrap();
    let parked = receiver.queue("orders");
    let mut receives = Vec::new();
    for _ in 0..3 {
        receives.push(tokio::spawn(parked.receive().wait(WAIT).into_future()));
        // Requests of one connection are taken in their order; the ping's answer tells that the
        // receive has been.
        tokio::task::yield_now().await;
        receiver.ping().await.unwrap();
    }
    for body in ["one", "two", "three"] {
        queue.send(body).await.unwrap();
    }
    for (receive, body) in receives.into_iter().zip(["one", "two", "three"]) {
        let deliveries = receive.await.unwrap().unwrap();
        let bodies: Vec<_> = deliveries
            .iter()
            .map(|delivery| &delivery.body[..])
            .collect();
        assert_eq!(bodies, [body.as_bytes()]);
    }
}

#[tokio::test]
async fn a_dropped_stream_gives_back_what_nobody_took_as_if_it_had_not_been_received() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    // What is given back as unhandled rests for an hour, and counts as received.
    let options = QueueOptions::new().redelivery_delay(LONG, LONG);
    let queue = client.create_queue("orders", options).await.unwrap();
    let bodies = ["one", "two", "three"].map(Message::new);
    queue.send_batch(bodies.to_vec()).await.unwrap();
    let mut deliveries = queue.deliveries(3).visibility_timeout(LONG);
    let first = deliveries.next().await.unwrap().unwrap();
    assert_eq!(&first.body[..], b"one");
    drop(deliveries);
    let again = queue.receive().max(3).wait(WAIT).await.unwrap();
    let again: Vec<_> = again
        .iter()
        .map(|delivery| (&delivery.body[..], delivery.receive_count))
        .collect();
    assert_eq!(again, [(&b"two"[..], 1), (&b"three"[..], 1)]);
    first.release().await.unwrap();
    let counts = client.show_queue("orders").await.unwrap().counts;
    assert_eq!((counts.ready, counts.delayed), (0, 1));
}

#[tokio::test]
async fn a_receive_that_waits_in_vain_comes_back_empty_after_its_wait() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let queue = client
        .create_queue("orders", QueueOptions::new())
        .await
        .unwrap();
    let began = Instant::now();
    let wait = Duration::from_millis(700);
    assert!(queue.receive().wait(wait).await.unwrap().is_empty());
    assert!(began.elapsed() >= wait, "{:?}", began.elapsed());
    let began = client.show_queue("orders").await.unwrap();
    assert_eq!(began.counts.ready, 0);
}

#[tokio::test]
async fn a_delayed_message_comes_when_it_is_due_and_not_before() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let queue = client
        .create_queue("orders", QueueOptions::new())
        .await
        .unwrap();
    let delay = Duration::from_secs(2);
    let began = Instant::now();
    queue
        .send_with(Message::new("late").delay(delay))
        .await
        .unwrap();
    queue
        .send_with(Message::new("later").delay(LONG))
        .await
        .unwrap();
    queue.send("now").await.unwrap();
    let first = queue
        .receive()
        .max(10)
        .visibility_timeout(LONG)
        .await
        .unwrap();
    if began.elapsed() < delay {
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].body, "now");
    }
    let second = queue
        .receive()
        .max(10)
        .wait(WAIT)
        .visibility_timeout(LONG)
        .await
        .unwrap();
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].body, "late");
    // The set's clock may be slewed by a tenth against ours.
    assert!(
        began.elapsed() >= delay.mul_f64(0.9),
        "{:?}",
        began.elapsed()
    );
    let counts = client.show_queue("orders").await.unwrap().counts;
    assert_eq!((counts.ready, counts.delayed, counts.in_flight), (0, 1, 2));
}

#[tokio::test]
async fn a_message_comes_back_when_its_visibility_ends_and_counts_its_receives() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let visibility = Duration::from_secs(1);
    let options = QueueOptions::new().visibility_timeout(visibility);
    let queue = client.create_queue("orders", options).await.unwrap();
    let headers = sampan_protocol::headers::encode([("trace", &b"abc"[..])]).unwrap();
    queue
        .send_with(Message::new("again").headers(headers))
        .await
        .unwrap();
    let mut handles = Vec::new();
    let mut first_received_at = None;
    let began = Instant::now();
    for receive_count in 1..=3 {
        let received = queue.receive().wait(WAIT).await.unwrap();
        assert_eq!(received.len(), 1);
        // Hidden once more since each receive before. The set's clock may be slewed by a tenth.
        let hidden = visibility.mul_f64(0.9) * (receive_count - 1);
        assert!(began.elapsed() >= hidden, "{:?}", began.elapsed());
        let delivery = &received[0];
        assert_eq!(
            (&delivery.body[..], delivery.receive_count),
            (&b"again"[..], receive_count)
        );
        assert!(delivery.headers().eq([("trace", &b"abc"[..])]));
        let first = *first_received_at.get_or_insert(delivery.first_received_at);
        assert_eq!(delivery.first_received_at, first);
        assert!(!handles.contains(&delivery.handle));
        handles.push(delivery.handle);
    }
    // Released by its holder, it comes at once.
    let held = queue
        .receive()
        .wait(WAIT)
        .visibility_timeout(LONG)
        .await
        .unwrap()
        .remove(0);
    held.release().await.unwrap();
    let last = queue
        .receive()
        .wait(WAIT)
        .visibility_timeout(LONG)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(last.receive_count, held.receive_count + 1);
    assert!(held.delete().await.is_err());
    last.delete().await.unwrap();
    assert_eq!(
        client.show_queue("orders").await.unwrap().counts.in_flight,
        0
    );
}

#[tokio::test]
async fn bodies_of_every_length_come_back_as_they_were_sent_in_their_order() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let queue = client
        .create_queue("orders", QueueOptions::new())
        .await
        .unwrap();
    let lengths = [
        1,
        2,
        1_023,
        4_096,
        65_535,
        65_536,
        65_537,
        300_000,
        1024 * 1024,
    ];
    let body = |len: usize| Bytes::from(vec![u8::try_from(len % 251).unwrap(); len]);
    let sends: Vec<_> = lengths.iter().map(|len| queue.send(body(*len))).collect();
    for send in sends {
        send.await.unwrap();
    }
    let mut received = Vec::new();
    while received.len() < lengths.len() {
        let more = queue
            .receive()
            .max(256)
            .wait(WAIT)
            .visibility_timeout(LONG)
            .await
            .unwrap();
        received.extend(more);
    }
    assert!(
        received
            .iter()
            .map(|delivery| &delivery.body)
            .eq(&lengths.map(body))
    );
    assert!(received.is_sorted_by(|one, next| one.id < next.id));
}
