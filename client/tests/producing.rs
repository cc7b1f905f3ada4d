//! Numbered sends: under which session and number they go out, and what becomes of them when they
//! are refused, repeated, or too late.
//!
//! Method: the peer answers each frame as the test says. Where a refusal is followed by more
//! frames, the answers are those that a broker with the rule of spec/semantics.md would give.

mod support;

use std::time::Duration;

use bytes::Bytes;
use sampan_client::{Applied, Client, ErrorCode, MessageId, Queue, ReceiptHandle};
use sampan_protocol::{ErrorReply, HandleResults, ProducerNumber, ProducerSession, Reply, Request};
use support::{Connection, NOW, Peer, bodies};

/// A send as it came.
struct Came {
    id: u64,
    session: ProducerSession,
    number: u64,
    body: String,
}

async fn came(connection: &mut Connection) -> Came {
    let (id, send) = connection.next_send().await;
    let ProducerNumber { session, number } = send.producer.expect("sends have numbers");
    let body = bodies(&send).join(",");
    Came {
        id,
        session,
        number,
        body,
    }
}

/// Awaits the next send, which must have this number and body, and returns it.
async fn expect(connection: &mut Connection, number: u64, body: &str) -> Came {
    let came = came(connection).await;
    assert_eq!((came.number, &*came.body), (number, body));
    came
}

/// A client, its end of the connection, and a queue with frames 1 to `count` that are unanswered:
/// their bodies are `m1`, `m2` and so on.
async fn with_frames(
    peer: &Peer,
    count: u64,
) -> (
    Client,
    Connection,
    Queue,
    Vec<sampan_client::Sending>,
    Vec<Came>,
) {
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let (mut sends, mut frames) = (Vec::new(), Vec::new());
    for number in 1..=count {
        let body = format!("m{number}");
        sends.push(queue.send(body.clone()));
        frames.push(expect(&mut connection, number, &body).await);
    }
    (client, connection, queue, sends, frames)
}

#[tokio::test]
async fn numbers_begin_with_1_and_rise_by_one_with_each_frame_of_a_queue() {
    let peer = Peer::new().await;
    let (client, mut connection, queue, sends, frames) = with_frames(&peer, 3).await;
    let session = frames[0].session;
    assert!(frames.iter().all(|frame| frame.session == session));
    let off = session.drawn_at().0 - NOW.0;
    assert!(off < 60_000, "by the broker's clock: {off} ms");

    // Three messages in one frame have one number; another queue counts for itself.
    let together: Vec<_> = (4..7)
        .map(|number| queue.send(format!("m{number}")))
        .collect();
    let frame = expect(&mut connection, 4, "m4,m5,m6").await;
    assert_eq!(frame.session, session);
    let other = client.queue("other").send("other");
    let other_frame = expect(&mut connection, 1, "other").await;
    assert_ne!(other_frame.session, session);

    for (number, came) in frames.iter().enumerate() {
        connection.sent(came.id, number as u64 + 1, 1).await;
    }
    connection.sent(frame.id, 4, 3).await;
    connection.sent(other_frame.id, 1, 1).await;
    other.await.unwrap();
    for (number, send) in sends.into_iter().chain(together).enumerate() {
        assert_eq!(send.await.unwrap(), MessageId(number as u64 + 1));
    }
}

#[tokio::test]
async fn a_break_repeats_frames_with_their_numbers_and_bytes_in_order_before_newer_ones() {
    async fn payload(connection: &mut Connection) -> (u64, Bytes) {
        loop {
            let frame = connection.next_frame().await.unwrap();
            if frame.header.kind == sampan_protocol::kind::SEND {
                return (frame.header.request_id, frame.payload);
            }
        }
    }
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let (mut sends, mut written) = (Vec::new(), Vec::new());
    for number in 1..4 {
        sends.push(queue.send(format!("m{number}")));
        written.push(payload(&mut connection).await.1);
    }
    drop(connection);
    sends.push(queue.send("m4"));
    // Again, with a break before the first answer: how often it breaks makes no difference.
    let mut connection = peer.accept().await;
    assert_eq!(payload(&mut connection).await.1, written[0]);
    drop(connection);
    let mut connection = peer.accept().await;
    for (number, expected) in (1..).zip(&written) {
        let (id, again) = payload(&mut connection).await;
        assert_eq!(again, *expected);
        connection.sent(id, number, 1).await;
    }
    let frame = expect(&mut connection, 4, "m4").await;
    connection.sent(frame.id, 4, 1).await;
    for (number, send) in (1..).zip(sends) {
        assert_eq!(send.await.unwrap(), MessageId(number));
    }
}

#[tokio::test]
async fn what_is_out_of_order_goes_again_behind_what_was_refused_and_no_caller_hears_of_it() {
    let peer = Peer::new().await;
    let (_client, mut connection, queue, mut sends, frames) = with_frames(&peer, 3).await;
    // In any order.
    connection.refuse(frames[2].id, ErrorCode::OutOfOrder).await;
    connection.refuse(frames[1].id, ErrorCode::OutOfOrder).await;
    connection.refuse(frames[0].id, ErrorCode::QueueBusy).await;
    for number in 1..5 {
        let frame = expect(&mut connection, number, &format!("m{number}")).await;
        assert_eq!(frame.session, frames[0].session);
        if number == 1 {
            sends.push(queue.send("m4"));
        }
        connection.sent(frame.id, number, 1).await;
    }
    for send in sends {
        send.await.unwrap();
    }
}

#[tokio::test]
async fn while_a_queue_waits_to_repeat_others_go_on_and_so_do_its_deletes() {
    let peer = Peer::new().await;
    let (client, mut connection, queue, _sends, frames) = with_frames(&peer, 1).await;
    let mut busy = ErrorReply::new(ErrorCode::QueueBusy, "later");
    busy.retry_after_ms = 20_000;
    connection.reply(frames[0].id, Reply::Error(busy)).await;
    // The answer to a ping comes behind it, so it has been read by then.
    let (pinged, ()) = tokio::join!(client.ping(), async {
        let asked = connection.next().await;
        connection.reply(asked.id, Reply::Pong).await;
    });
    pinged.unwrap();
    let behind = queue.send("behind");
    let deleted = queue.delete(ReceiptHandle(5));
    let (id, handles) = connection.next_delete().await;
    assert_eq!(handles, [5]);
    let none = Reply::Deleted(HandleResults::default());
    connection.reply(id, none).await;
    deleted.await.unwrap();
    let other = client.queue("other").send("other");
    let frame = expect(&mut connection, 1, "other").await;
    connection.sent(frame.id, 1, 1).await;
    other.await.unwrap();
    drop(behind);
}

#[tokio::test]
async fn a_final_refusal_lets_those_behind_it_have_its_number() {
    let peer = Peer::new().await;
    let (_client, mut connection, queue, mut sends, frames) = with_frames(&peer, 4).await;
    connection.sent(frames[0].id, 1, 1).await;
    connection
        .refuse(frames[1].id, ErrorCode::StorageFull)
        .await;
    connection.refuse(frames[2].id, ErrorCode::OutOfOrder).await;
    connection.refuse(frames[3].id, ErrorCode::OutOfOrder).await;
    for (number, body) in [(2, "m3"), (3, "m4"), (4, "m5")] {
        let frame = expect(&mut connection, number, body).await;
        assert_eq!(frame.session, frames[0].session, "every try was answered");
        if number == 2 {
            sends.push(queue.send("m5"));
        }
        connection.sent(frame.id, number, 1).await;
    }
    for (number, send) in (1..).zip(sends) {
        match send.await {
            Ok(_) => assert_ne!(number, 2),
            Err(error) => {
                let told = (number, error.code(), error.applied());
                assert_eq!(told, (2, Some(ErrorCode::StorageFull), Applied::No));
            }
        }
    }
}

#[tokio::test]
async fn behind_a_final_refusal_what_was_never_answered_goes_out_in_a_new_session() {
    let peer = Peer::new().await;
    let (_client, mut connection, queue, mut sends, frames) = with_frames(&peer, 3).await;
    connection.sent(frames[0].id, 1, 1).await;
    connection
        .refuse(frames[1].id, ErrorCode::StorageFull)
        .await;
    drop(connection);
    let mut connection = peer.accept().await;
    sends.push(queue.send("m4"));
    for (number, body) in [(1, "m3"), (2, "m4")] {
        let frame = expect(&mut connection, number, body).await;
        assert_ne!(
            frame.session, frames[0].session,
            "a copy of the third may still come, and names the old one"
        );
        connection.sent(frame.id, number + 1, 1).await;
    }
    let refused = sends.remove(1).await.unwrap_err();
    assert_eq!(refused.applied(), Applied::No);
    for send in sends {
        send.await.unwrap();
    }
}

#[tokio::test]
async fn the_parts_of_a_frame_that_was_split_are_numbered_anew_and_stay_in_order() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let mut sends: Vec<_> = ["a", "too large", "c"].map(|body| queue.send(body)).into();
    let whole = expect(&mut connection, 1, "a,too large,c").await;
    sends.push(queue.send("d"));
    let behind = expect(&mut connection, 2, "d").await;
    connection
        .refuse(whole.id, ErrorCode::MessageTooLarge)
        .await;
    connection.refuse(behind.id, ErrorCode::OutOfOrder).await;
    let mut frames = Vec::new();
    for (number, body) in [(1, "a"), (2, "too large"), (3, "c"), (4, "d")] {
        frames.push(expect(&mut connection, number, body).await);
    }
    connection.sent(frames[0].id, 1, 1).await;
    connection
        .refuse(frames[1].id, ErrorCode::MessageTooLarge)
        .await;
    for frame in &frames[2..] {
        connection.refuse(frame.id, ErrorCode::OutOfOrder).await;
    }
    for (number, body) in [(2, "c"), (3, "d")] {
        let frame = expect(&mut connection, number, body).await;
        assert_eq!(frame.session, whole.session);
        connection.sent(frame.id, number, 1).await;
    }
    let refused = sends.remove(1).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::MessageTooLarge));
    for send in sends {
        send.await.unwrap();
    }
}

#[tokio::test]
async fn a_session_that_expired_before_a_first_write_is_replaced_and_nobody_hears_of_it() {
    let peer = Peer::new().await;
    let (_client, mut connection, _queue, sends, frames) = with_frames(&peer, 2).await;
    for frame in &frames {
        connection
            .refuse(frame.id, ErrorCode::ProducerExpired)
            .await;
    }
    for (number, body) in [(1, "m1"), (2, "m2")] {
        let frame = expect(&mut connection, number, body).await;
        assert_ne!(frame.session, frames[0].session);
        connection.sent(frame.id, number, 1).await;
    }
    for send in sends {
        send.await.unwrap();
    }
}

#[tokio::test]
async fn a_broker_that_knows_no_session_at_all_is_not_asked_for_ever() {
    let peer = Peer::new().await;
    let builder = peer.client().retry_deadline(Duration::from_millis(200));
    let (client, mut connection) = peer.connect(builder).await;
    let mut send = client.queue("orders").send("m1");
    let error = loop {
        tokio::select! {
            sent = &mut send => break sent.unwrap_err(),
            frame = came(&mut connection) => {
                connection.refuse(frame.id, ErrorCode::ProducerExpired).await;
            }
        }
    };
    let told = (error.code(), error.applied());
    assert_eq!(told, (Some(ErrorCode::ProducerExpired), Applied::No));
}

#[tokio::test]
async fn when_a_session_expires_between_two_tries_callers_hear_that_nobody_knows() {
    let peer = Peer::new().await;
    let (_client, connection, queue, mut sends, frames) = with_frames(&peer, 2).await;
    drop(connection);
    let mut connection = peer.accept().await;
    // Only now does the client know of the break.
    sends.push(queue.send("m3"));
    for (number, body) in [(1, "m1"), (2, "m2")] {
        let frame = expect(&mut connection, number, body).await;
        assert_eq!(frame.session, frames[0].session);
        connection
            .refuse(frame.id, ErrorCode::ProducerExpired)
            .await;
    }
    // What was not written before is not touched by that; its first try may be in the old session.
    let mut frame = came(&mut connection).await;
    while frame.session == frames[0].session {
        connection
            .refuse(frame.id, ErrorCode::ProducerExpired)
            .await;
        frame = came(&mut connection).await;
    }
    assert_eq!((frame.number, &*frame.body), (1, "m3"));
    connection.sent(frame.id, 3, 1).await;
    sends.pop().unwrap().await.unwrap();
    for send in sends {
        let error = send.await.unwrap_err();
        let told = (error.code(), error.applied());
        assert_eq!(told, (Some(ErrorCode::ProducerExpired), Applied::Unknown));
    }
}

#[tokio::test]
async fn a_queue_that_was_deleted_and_made_again_gets_a_new_session() {
    let peer = Peer::new().await;
    let (_client, mut connection, queue, mut sends, frames) = with_frames(&peer, 1).await;
    connection.sent(frames[0].id, 1, 1).await;
    sends.remove(0).await.unwrap();
    let send = queue.send("m2");
    let lost = expect(&mut connection, 2, "m2").await;
    connection.refuse(lost.id, ErrorCode::OutOfOrder).await;
    let frame = expect(&mut connection, 1, "m2").await;
    assert_ne!(frame.session, frames[0].session);
    connection.sent(frame.id, 1, 1).await;
    send.await.unwrap();
}

#[tokio::test]
async fn a_late_answer_is_not_taken_for_a_lost_session() {
    let peer = Peer::new().await;
    let (_client, mut connection, _queue, sends, frames) = with_frames(&peer, 2).await;
    // When the second was written nobody knew that the first is stored.
    connection.sent(frames[0].id, 1, 1).await;
    connection.refuse(frames[1].id, ErrorCode::OutOfOrder).await;
    let frame = expect(&mut connection, 2, "m2").await;
    assert_eq!(frame.session, frames[0].session);
    connection.sent(frame.id, 2, 1).await;
    for send in sends {
        send.await.unwrap();
    }
}

#[tokio::test]
async fn a_send_that_timed_out_keeps_its_place_and_its_room_and_those_behind_it_get_through() {
    let peer = Peer::new().await;
    let builder = peer.client().request_timeout(Duration::from_millis(600));
    let builder = builder.messages_in_flight_max(2);
    let (client, mut connection) = peer.connect(builder).await;
    let queue = client.queue("orders");
    let slow = queue.send("slow");
    let first = expect(&mut connection, 1, "slow").await;
    let error = slow.await.unwrap_err();
    assert_eq!(error.applied(), Applied::Unknown);

    let (behind, waiting) = (queue.send("behind"), queue.send("waits for room"));
    let frame = expect(&mut connection, 2, "behind").await;
    connection.refuse(frame.id, ErrorCode::OutOfOrder).await;
    connection.sent(first.id, 1, 1).await;
    // With the first out of the way both have room, and the second goes before the third.
    for (number, body) in [(2, "behind"), (3, "waits for room")] {
        let frame = expect(&mut connection, number, body).await;
        connection.sent(frame.id, number, 1).await;
    }
    behind.await.unwrap();
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_send_that_timed_out_goes_on_after_a_break_before_those_behind_it() {
    let peer = Peer::new().await;
    let builder = peer.client().request_timeout(Duration::from_millis(600));
    let (client, mut connection) = peer.connect(builder).await;
    let queue = client.queue("orders");
    let slow = queue.send("slow");
    let first = expect(&mut connection, 1, "slow").await;
    slow.await.unwrap_err();
    let behind = queue.send("behind");
    drop(connection);
    let mut connection = peer.accept().await;
    let again = expect(&mut connection, 1, "slow").await;
    assert_eq!(again.session, first.session);
    let frame = expect(&mut connection, 2, "behind").await;
    connection.sent(again.id, 1, 1).await;
    connection.sent(frame.id, 2, 1).await;
    behind.await.unwrap();
}

#[tokio::test]
async fn a_send_that_timed_out_is_tried_again_when_a_server_says_nothing_for_long() {
    let peer = Peer::new().await;
    let builder = peer.client().request_timeout(Duration::from_secs(8));
    let builder = builder.keep_alive(Duration::MAX);
    let (client, mut connection) = peer.connect(builder).await;
    // From here on time passes only while everybody waits.
    tokio::time::pause();
    let started_at = tokio::time::Instant::now();
    let slow = tokio::spawn(client.queue("orders").send("slow"));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let asked = connection.next().await;
        match asked.request {
            Request::Send(send) => seen.push(send.producer.unwrap()),
            _ => connection.reply(asked.id, Reply::Pong).await,
        }
    }
    assert_eq!(seen[0], seen[1]);
    assert!(started_at.elapsed() > Duration::from_secs(38));
    slow.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn closing_does_not_wait_for_a_send_that_nobody_waits_for() {
    let peer = Peer::new().await;
    let builder = peer.client().request_timeout(Duration::from_millis(50));
    let (client, mut connection) = peer.connect(builder).await;
    let slow = client.queue("orders").send("slow");
    expect(&mut connection, 1, "slow").await;
    slow.await.unwrap_err();
    client.close().await;
}

#[tokio::test]
async fn a_send_that_times_out_while_it_was_refused_each_time_did_nothing() {
    let peer = Peer::new().await;
    let builder = peer.client().request_timeout(Duration::from_millis(400));
    let (client, mut connection) = peer.connect(builder).await;
    let queue = client.queue("orders");
    let refused = queue.send("refused");
    let frame = expect(&mut connection, 1, "refused").await;
    let mut busy = ErrorReply::new(ErrorCode::QueueBusy, "later");
    busy.retry_after_ms = 300;
    connection.reply(frame.id, Reply::Error(busy.clone())).await;
    let frame = expect(&mut connection, 1, "refused").await;
    connection.reply(frame.id, Reply::Error(busy)).await;
    let error = refused.await.unwrap_err();
    assert_eq!(error.applied(), Applied::No);
    let send = queue.send("next");
    let frame = expect(&mut connection, 1, "next").await;
    connection.sent(frame.id, 1, 1).await;
    send.await.unwrap();
}

#[tokio::test]
async fn without_resend_unknown_sends_have_no_numbers() {
    let peer = Peer::new().await;
    let builder = peer.client().resend_unknown(false);
    let (client, mut connection) = peer.connect(builder).await;
    let queue = client.queue("orders");
    let (first, second) = (queue.send("first"), queue.send(vec![0; 100_000]));
    for number in 1..3 {
        let (id, send) = connection.next_send().await;
        assert_eq!(send.producer, None);
        connection.sent(id, number, 1).await;
    }
    first.await.unwrap();
    second.await.unwrap();
    let (pinged, ()) = tokio::join!(client.ping(), async {
        let asked = connection.next().await;
        assert!(matches!(asked.request, Request::Ping));
        connection.reply(asked.id, Reply::Pong).await;
    });
    pinged.unwrap();
}
