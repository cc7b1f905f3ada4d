//! The heartbeat of a stream: what is worked on stays in flight, and nothing else does.
//!
//! Method: a scripted peer hands out messages and watches what is extended. The clock is moved on
//! by hand, past what is due; that something is not extended shows in what is extended beside it.

mod support;

use std::time::Duration;

use futures::StreamExt;
use sampan_client::{
    Client, Deliveries, Delivery, ErrorCode, QueueAttributes, QueueCounts, QueueDescription,
    QueueId, SetId, Timestamp,
};
use sampan_protocol::{ChangeVisibility, HandleResults, Reply, Request};
use support::{Asked, Connection, Peer, message, messages};

/// What the streams ask for, unless a test is about that.
const VISIBILITY: Duration = Duration::from_secs(1_000);
const VISIBILITY_MS: u32 = 1_000_000;
/// When the heartbeat looks at what came at 0.
const HALF: Duration = Duration::from_secs(500);
const HOUR: Duration = Duration::from_secs(3_600);
const HOUR_MS: u32 = 3_600_000;

/// A client that never asks whether the peer is there.
async fn connect(peer: &Peer) -> (Client, Connection) {
    let builder = peer.client().keep_alive(Duration::MAX);
    peer.connect(builder.request_timeout(Duration::MAX)).await
}

/// A stream that asks for nothing more before half of `prefetch` was taken from it.
fn stream(client: &Client, prefetch: usize) -> Deliveries {
    let stream = client.queue("orders").deliveries(prefetch);
    stream.visibility_timeout(VISIBILITY).heartbeat(HOUR)
}

/// The next request. Receives are left to wait, and pings answered: a jump of the clock looks like
/// silence.
async fn next_asked(connection: &mut Connection) -> Option<Asked> {
    loop {
        let asked = connection.next_or_end().await?;
        match asked.request {
            Request::Ping => connection.reply_if_there(asked.id, Reply::Pong).await,
            Request::Receive(_) => {}
            _ => return Some(asked),
        }
    }
}

/// The first message of a stream, whose first receive gets `reply`.
async fn first(stream: &mut Deliveries, connection: &mut Connection, reply: Reply) -> Delivery {
    let (first, ()) = tokio::join!(stream.next(), answer_receive(connection, reply));
    first.expect("it goes on").expect("it was answered")
}

async fn answer_receive(connection: &mut Connection, reply: Reply) {
    loop {
        let asked = connection.next().await;
        match asked.request {
            Request::Ping => connection.reply(asked.id, Reply::Pong).await,
            Request::Receive(_) => return connection.reply(asked.id, reply).await,
            other => panic!("{other:?}"),
        }
    }
}

async fn next(stream: &mut Deliveries) -> Delivery {
    let next = stream.next().await;
    next.expect("it goes on").expect("it was answered")
}

/// Moves the clock on.
async fn skip(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// The next change of visibility: id, numbers of the messages, and the timeout.
async fn next_change(connection: &mut Connection) -> (u64, Vec<u64>, u32) {
    match next_asked(connection).await {
        Some(Asked {
            id,
            request: Request::ChangeVisibility(change),
        }) => {
            let numbers = change.handles.iter().map(|handle| handle.0 - 1_000);
            (id, numbers.collect(), change.visibility_timeout_ms)
        }
        other => panic!("expected a change of visibility, got {other:?}"),
    }
}

/// The answer to a change, with the places that have expired.
fn changed(expired: &[u16]) -> Reply {
    let failures = expired.iter();
    let failures = failures.map(|place| (*place, ErrorCode::ReceiptExpired));
    Reply::VisibilityChanged(HandleResults {
        failures: failures.collect(),
    })
}

/// Expects a change by hand, and does it.
async fn expect_change(connection: &mut Connection, expected_ms: u32) {
    let (id, _, timeout) = next_change(connection).await;
    assert_eq!(timeout, expected_ms);
    connection.reply(id, changed(&[])).await;
}

/// Expects an extension of exactly these messages, and does it.
async fn expect_extended(connection: &mut Connection, expected: &[u64]) {
    let (id, numbers, timeout) = next_change(connection).await;
    assert_eq!((&numbers[..], timeout), (expected, VISIBILITY_MS));
    connection.reply(id, changed(&[])).await;
}

/// Returns when the client has dealt with everything that was written to it before. One ping tells
/// that it was read; with another, whoever was woken by it has had his turn.
async fn settle(client: &Client, connection: &mut Connection) {
    for _ in 0..2 {
        let pinged = tokio::select! {
            biased;
            pinged = client.ping() => pinged,
            asked = next_asked(connection) => panic!("{asked:?}"),
        };
        pinged.expect("it was answered");
    }
}

#[tokio::test]
async fn a_message_is_extended_each_half_of_its_visibility_until_it_is_deleted() {
    let peer = Peer::new().await;
    let (client, mut connection) = connect(&peer).await;
    let mut deliveries = stream(&client, 4);
    let deleted = first(&mut deliveries, &mut connection, messages(0..4)).await;
    let held = next(&mut deliveries).await;
    for _ in 0..3 {
        skip(HALF).await;
        expect_extended(&mut connection, &[0, 1, 2, 3]).await;
        settle(&client, &mut connection).await;
    }
    let deleting = deleted.delete();
    let delete = next_asked(&mut connection).await.unwrap();
    assert!(matches!(delete.request, Request::Delete(_)), "{delete:?}");
    let done = Reply::Deleted(HandleResults::default());
    connection.reply(delete.id, done).await;
    deleting.await.unwrap();
    skip(HALF).await;
    expect_extended(&mut connection, &[1, 2, 3]).await;
    assert!(!deleted.is_expired() && !held.is_expired());
}

#[tokio::test]
async fn what_was_handled_in_time_is_never_extended() {
    let peer = Peer::new().await;
    let (client, mut connection) = connect(&peer).await;
    let mut deliveries = stream(&client, 1);
    drop(first(&mut deliveries, &mut connection, messages(0..1)).await);
    skip(HALF).await;
    skip(HALF).await;
    drop((deliveries, client));
    let asked = next_asked(&mut connection).await;
    assert!(asked.is_none(), "{asked:?}");
}

#[tokio::test]
async fn up_to_256_messages_at_hand_and_handed_out_are_extended_together() {
    let peer = Peer::new().await;
    let (client, mut connection) = connect(&peer).await;
    let mut deliveries = stream(&client, 512);
    let _first = first(&mut deliveries, &mut connection, messages(0..256)).await;
    let _second = next(&mut deliveries).await;
    // Nobody polls the stream any more, and these are here all the same.
    answer_receive(&mut connection, messages(256..300)).await;
    settle(&client, &mut connection).await;
    skip(HALF).await;
    let numbers: Vec<u64> = (0..300).collect();
    expect_extended(&mut connection, &numbers[..256]).await;
    expect_extended(&mut connection, &numbers[256..]).await;
}

#[tokio::test]
async fn dropped_released_and_changed_messages_are_left_alone() {
    let peer = Peer::new().await;
    let (client, mut connection) = connect(&peer).await;
    let mut deliveries = stream(&client, 8);
    let dropped = first(&mut deliveries, &mut connection, messages(0..8)).await;
    let released = next(&mut deliveries).await;
    let by_hand = next(&mut deliveries).await;
    let held = next(&mut deliveries).await;
    let clone = dropped.clone();
    drop(dropped);
    let (done, ()) = tokio::join!(released.release(), expect_change(&mut connection, 0));
    done.unwrap();
    let extending = by_hand.extend(HOUR);
    let (done, ()) = tokio::join!(extending, expect_change(&mut connection, HOUR_MS));
    done.unwrap();
    skip(HALF).await;
    expect_extended(&mut connection, &[0, 3, 4, 5, 6, 7]).await;
    settle(&client, &mut connection).await;
    drop(clone);
    skip(HALF).await;
    expect_extended(&mut connection, &[3, 4, 5, 6, 7]).await;
    assert!(!held.is_expired() && !released.is_expired());
}

#[tokio::test]
async fn a_change_by_hand_waits_for_an_extension_that_is_under_way() {
    let peer = Peer::new().await;
    let (client, mut connection) = connect(&peer).await;
    let mut deliveries = stream(&client, 1);
    let held = first(&mut deliveries, &mut connection, messages(0..1)).await;
    skip(HALF).await;
    let (id, _, timeout) = next_change(&mut connection).await;
    assert_eq!(timeout, VISIBILITY_MS);
    let (done, ()) = tokio::join!(held.extend(HOUR), async {
        // These pings are made after the change was asked for, and overtake it.
        settle(&client, &mut connection).await;
        connection.reply(id, changed(&[])).await;
        expect_change(&mut connection, HOUR_MS).await;
    });
    done.unwrap();
}

#[tokio::test]
async fn a_message_that_the_broker_does_not_know_any_more_is_lost() {
    let peer = Peer::new().await;
    let (client, mut connection) = connect(&peer).await;
    let mut deliveries = stream(&client, 8);
    let lost = first(&mut deliveries, &mut connection, messages(0..8)).await;
    let held = next(&mut deliveries).await;
    skip(HALF).await;
    let (id, numbers, _) = next_change(&mut connection).await;
    assert_eq!(numbers, (0..8).collect::<Vec<_>>());
    connection.reply(id, changed(&[0, 2])).await;
    settle(&client, &mut connection).await;
    assert!(lost.is_expired() && !held.is_expired());
    // The one that was at hand is not handed out.
    let next = next(&mut deliveries).await;
    assert_eq!(next.id.0, 3);
    skip(HALF).await;
    expect_extended(&mut connection, &[1, 3, 4, 5, 6, 7]).await;
}

#[tokio::test]
async fn a_message_is_left_alone_at_the_ceiling_and_given_back_when_nobody_took_it() {
    let peer = Peer::new().await;
    let (client, mut connection) = connect(&peer).await;
    let mut deliveries = stream(&client, 4).heartbeat(Duration::from_secs(1_200));
    let hung = first(&mut deliveries, &mut connection, messages(0..4)).await;
    skip(HALF).await;
    expect_extended(&mut connection, &[0, 1, 2, 3]).await;
    settle(&client, &mut connection).await;
    let late = next(&mut deliveries).await;
    skip(HALF).await;
    expect_extended(&mut connection, &[0, 1, 2, 3]).await;
    settle(&client, &mut connection).await;
    skip(HALF).await;
    // After 1,500 s: the first has reached its ceiling, the second has 200 s left.
    let (_, numbers, timeout) = next_change(&mut connection).await;
    let undo = ChangeVisibility::UNDO_RECEIVE;
    assert_eq!((numbers, timeout), (vec![2, 3], undo));
    expect_extended(&mut connection, &[1]).await;
    settle(&client, &mut connection).await;
    // What was given back is not handed out; the stream asks for others instead.
    let again = first(&mut deliveries, &mut connection, messages(7..8)).await;
    assert_eq!(again.id.0, 7);
    skip(HALF).await;
    expect_extended(&mut connection, &[7]).await;
    drop((hung, late));
}

#[tokio::test]
async fn the_ceiling_is_15_minutes_unless_told_otherwise() {
    let peer = Peer::new().await;
    let (client, mut connection) = connect(&peer).await;
    let queue = client.queue("orders");
    let mut default = queue.deliveries(1).visibility_timeout(VISIBILITY);
    let _one = first(&mut default, &mut connection, messages(0..1)).await;
    let mut told = stream(&client, 1);
    let _two = first(&mut told, &mut connection, messages(1..2)).await;
    skip(HALF).await;
    let mut extended = Vec::new();
    for _ in 0..2 {
        let (id, numbers, _) = next_change(&mut connection).await;
        connection.reply(id, changed(&[])).await;
        extended.extend(numbers);
    }
    extended.sort_unstable();
    assert_eq!(extended, [0, 1]);
    settle(&client, &mut connection).await;
    skip(HALF).await;
    expect_extended(&mut connection, &[1]).await;
    settle(&client, &mut connection).await;
}

#[tokio::test]
async fn without_a_heartbeat_and_after_its_stream_nothing_is_extended() {
    let peer = Peer::new().await;
    let (client, mut connection) = connect(&peer).await;
    let mut without = stream(&client, 1).without_heartbeat();
    let _one = first(&mut without, &mut connection, messages(0..1)).await;
    let mut dropped = stream(&client, 1);
    let two = first(&mut dropped, &mut connection, messages(1..2)).await;
    drop(dropped);
    let mut kept = stream(&client, 1);
    let three = first(&mut kept, &mut connection, messages(2..3)).await;
    for _ in 0..2 {
        skip(HALF).await;
        expect_extended(&mut connection, &[2]).await;
        settle(&client, &mut connection).await;
    }
    // By hand it works as ever.
    let (done, ()) = tokio::join!(two.release(), expect_change(&mut connection, 0));
    done.unwrap();
    assert!(!three.is_expired());
}

#[tokio::test]
async fn the_visibility_of_the_queue_is_learned_from_a_first_receive_or_asked_for() {
    let peer = Peer::new().await;
    let (client, mut connection) = connect(&peer).await;
    let queue = client.queue("orders");
    // Visible 30 s after the first receive.
    let mut fresh = queue.deliveries(1);
    let one = first(&mut fresh, &mut connection, messages(0..1)).await;
    skip(Duration::from_secs(15)).await;
    let (id, numbers, timeout) = next_change(&mut connection).await;
    assert_eq!((numbers, timeout), (vec![0], 30_000));
    connection.reply(id, changed(&[])).await;
    settle(&client, &mut connection).await;
    drop(one);

    let mut again = queue.deliveries(1);
    let mut received = message(1);
    received.receive_count = 2;
    let reply = Reply::Received(vec![received]);
    let two = first(&mut again, &mut connection, reply).await;
    let asked = connection.next().await;
    assert!(
        matches!(asked.request, Request::QueueShow { .. }),
        "{asked:?}"
    );
    let description = QueueDescription {
        name: "orders".to_owned(),
        id: QueueId(1),
        set: SetId(1),
        created_at: Timestamp(1),
        attributes: QueueAttributes {
            visibility_timeout_ms: VISIBILITY_MS,
            ..QueueAttributes::default()
        },
        counts: QueueCounts::default(),
        dead_letter_queue: String::new(),
    };
    connection
        .reply(asked.id, Reply::QueueShown(Box::new(description)))
        .await;
    settle(&client, &mut connection).await;
    skip(HALF).await;
    expect_extended(&mut connection, &[1]).await;
    drop(two);
}

#[tokio::test]
async fn an_extension_that_fails_is_tried_again_and_a_missing_queue_has_lost_all() {
    let peer = Peer::new().await;
    let (client, mut connection) = connect(&peer).await;
    let mut deliveries = stream(&client, 1);
    let held = first(&mut deliveries, &mut connection, messages(0..1)).await;
    skip(HALF).await;
    let (id, _, _) = next_change(&mut connection).await;
    connection.refuse(id, ErrorCode::StorageFull).await;
    settle(&client, &mut connection).await;
    assert!(!held.is_expired());
    skip(HALF / 4).await;
    expect_extended(&mut connection, &[0]).await;
    settle(&client, &mut connection).await;
    skip(HALF).await;
    let (id, _, _) = next_change(&mut connection).await;
    connection.refuse(id, ErrorCode::QueueNotFound).await;
    settle(&client, &mut connection).await;
    assert!(held.is_expired());
}
