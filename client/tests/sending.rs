//! Sends: what travels together, what waits, and who gets which answer.
//!
//! Method: on a current-thread runtime the connection's task runs only when the test awaits, so
//! what is sent before that is known to be waiting together.

mod support;

use std::time::Duration;

use bytes::Bytes;
use futures::poll;
use sampan_client::{Applied, Durability, Error, ErrorCode, Message, MessageId};
use sampan_protocol::{MessageRecord, Request, headers};
use support::{Peer, bodies};

#[tokio::test]
async fn sends_made_before_the_writer_runs_travel_in_one_frame() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let sends: Vec<_> = (0..100)
        .map(|number| queue.send(format!("m{number}")))
        .collect();

    let (id, send) = connection.next_send().await;
    assert_eq!(send.queue.as_str(), "orders");
    assert_eq!(send.batch.check_bodies(), Ok(()));
    assert_eq!(
        bodies(&send),
        (0..100)
            .map(|number| format!("m{number}"))
            .collect::<Vec<_>>()
    );
    connection.sent(id, 500, 100).await;
    for (number, send) in sends.into_iter().enumerate() {
        assert_eq!(send.await.unwrap(), MessageId(500 + number as u64));
    }
}

#[tokio::test]
async fn an_idle_connection_sends_one_message_at_once_and_ids_come_in_runs() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let send = queue.send("alone");
    let (id, frame) = connection.next_send().await;
    assert_eq!(bodies(&frame), ["alone"]);
    connection.sent(id, 1, 1).await;
    assert_eq!(send.await.unwrap(), MessageId(1));

    let delayed = MessageId(MessageId::DELAYED_BIT | 4);
    let mut now = queue.send("now");
    let later = queue.send_with(Message::new("later").delay(Duration::from_millis(1_500)));
    let (id, frame) = connection.next_send().await;
    assert!(frame.batch.has_delays());
    let delays: Vec<_> = frame
        .batch
        .records()
        .map(|record| record.delay_ms)
        .collect();
    assert_eq!(delays, [MessageRecord::DELAY_DEFAULT, 1_500]);
    let runs = vec![(MessageId(2), 1), (delayed, 1)];
    let sent = sampan_protocol::Sent { runs }.acknowledged(Durability::Async);
    connection
        .reply(id, sampan_protocol::Reply::Sent(sent))
        .await;
    assert_eq!(now.durability(), None);
    assert_eq!((&mut now).await.unwrap(), MessageId(2));
    assert_eq!(now.durability(), Some(Durability::Async));
    assert_eq!(later.await.unwrap(), delayed);
}

#[tokio::test]
async fn frames_end_at_256_messages_and_near_256_kib_and_a_large_body_travels_alone() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let sends: Vec<_> = (0..300).map(|_| queue.send("x")).collect();
    let (first, frame) = connection.next_send().await;
    assert_eq!(frame.batch.count(), 256);
    let (second, frame) = connection.next_send().await;
    assert_eq!(frame.batch.count(), 44);
    connection.sent(second, 257, 44).await;
    connection.sent(first, 1, 256).await;
    for (index, send) in sends.into_iter().enumerate() {
        assert_eq!(
            send.await.unwrap(),
            MessageId(index as u64 + 1),
            "replies may come in any order"
        );
    }

    let body = |len: usize| Bytes::from(vec![b'b'; len]);
    let sizes = [
        50_000, 50_000, 60_000, 60_000, 60_000, 1_048_576, 65_536, 10,
    ];
    let sends: Vec<_> = sizes.iter().map(|len| queue.send(body(*len))).collect();
    let mut seen = Vec::new();
    let mut first = 1_000;
    while seen.iter().map(Vec::len).sum::<usize>() < sizes.len() {
        let (id, frame) = connection.next_send().await;
        assert_eq!(frame.batch.check_bodies(), Ok(()));
        seen.push(
            frame
                .batch
                .records()
                .map(|record| record.body_len)
                .collect::<Vec<_>>(),
        );
        connection.sent(id, first, frame.batch.count()).await;
        first += frame.batch.count() as u64;
    }
    let expected: [&[u32]; 5] = [
        &[50_000, 50_000, 60_000, 60_000],
        &[60_000],
        &[1_048_576],
        &[65_536],
        &[10],
    ];
    assert_eq!(seen, expected);
    for send in sends {
        send.await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_stays_whole_and_headers_and_large_bodies_go_together() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let singles: Vec<_> = (0..200).map(|_| queue.send("s")).collect();
    let batch = queue.send_batch(vec![Message::new("b"); 100]);
    let encoded = headers::encode([("trace", &b"abc"[..])]).unwrap();
    let large = Message::new(vec![b'l'; 100_000]).headers(encoded.clone());
    let large = queue.send_with(large);

    let (id, frame) = connection.next_send().await;
    assert_eq!(frame.batch.count(), 200);
    connection.sent(id, 1, 200).await;
    let (id, frame) = connection.next_send().await;
    assert_eq!(frame.batch.count(), 100);
    connection.sent(id, 201, 100).await;
    let (id, frame) = connection.next_send().await;
    let (record, start) = frame.batch.messages(0).next().unwrap();
    let content = &frame.batch.as_bytes()[start..];
    assert_eq!(&content[..record.headers_len.into()], &encoded[..]);
    assert_eq!(frame.batch.body(0).unwrap(), vec![b'l'; 100_000]);
    connection.sent(id, 301, 1).await;

    assert_eq!(
        batch.await.unwrap(),
        (201..301).map(MessageId).collect::<Vec<_>>()
    );
    assert_eq!(large.await.unwrap(), MessageId(301));
    for send in singles {
        send.await.unwrap();
    }
}

#[tokio::test]
async fn small_frames_stop_while_four_are_unanswered_and_full_ones_do_not() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let mut sends = Vec::new();
    let mut ids = Vec::new();
    for number in 0..4 {
        sends.push(queue.send(format!("small {number}")));
        ids.push(connection.next_send().await.0);
    }
    sends.extend((0..20).map(|_| queue.send("waits")));
    // Another queue is not held up, and by the time its send is here the others were passed over.
    let other = client.queue("other").send("goes");
    let (id, frame) = connection.next_send().await;
    assert_eq!(frame.queue.as_str(), "other");
    connection.sent(id, 1, 1).await;
    other.await.unwrap();

    sends.extend((0..236).map(|_| queue.send("fills it up")));
    let (full, frame) = connection.next_send().await;
    assert_eq!(frame.batch.count(), 256);

    sends.push(queue.send("last"));
    for (place, id) in ids.into_iter().enumerate() {
        connection.sent(id, place as u64, 1).await;
    }
    let (last, frame) = connection.next_send().await;
    assert_eq!(bodies(&frame), ["last"]);
    connection.sent(last, 900, 1).await;
    connection.sent(full, 500, 256).await;
    for send in sends {
        send.await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_does_not_answer_gets_no_more_than_the_limit() {
    let peer = Peer::new().await;
    let builder = peer.client().messages_in_flight_max(10);
    let (client, mut connection) = peer.connect(builder).await;
    let queue = client.queue("orders");
    let mut accepted: Vec<_> = (0..10).map(|n| queue.send(format!("{n}"))).collect();
    let (id, frame) = connection.next_send().await;
    assert_eq!(frame.batch.count(), 10);

    let mut waiting: Vec<_> = (10..15).map(|n| queue.send(format!("{n}"))).collect();
    // The order of the calls counts, not that of the polls; the dropped one was polled, or not.
    for send in waiting.iter_mut().rev() {
        assert!(poll!(send).is_pending());
    }
    drop(waiting.remove(2));
    drop(queue.send("never polled"));
    // A ping passes; the sends that wait for room do not.
    let (pinged, asked) = tokio::join!(client.ping(), async {
        let asked = connection.next().await;
        connection
            .reply(asked.id, sampan_protocol::Reply::Pong)
            .await;
        asked
    });
    pinged.unwrap();
    assert!(matches!(asked.request, Request::Ping), "{asked:?}");

    connection.sent(id, 1, 10).await;
    for send in accepted.drain(..) {
        send.await.unwrap();
    }
    let (id, frame) = connection.next_send().await;
    assert_eq!(
        bodies(&frame),
        ["10", "11", "13", "14"],
        "in order, without the dropped ones"
    );
    connection.sent(id, 11, 4).await;
    for send in waiting {
        send.await.unwrap();
    }
}

#[tokio::test]
async fn bytes_are_limited_too_and_a_message_over_the_limit_goes_alone() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client().bytes_in_flight_max(1_000)).await;
    let queue = client.queue("orders");
    let over = queue.send(vec![b'o'; 5_000]);
    let mut next = queue.send("next");
    assert!(poll!(&mut next).is_pending());
    let (id, frame) = connection.next_send().await;
    assert_eq!(frame.batch.count(), 1);
    connection.sent(id, 1, 1).await;
    over.await.unwrap();
    let (id, frame) = connection.next_send().await;
    assert_eq!(bodies(&frame), ["next"]);
    connection.sent(id, 2, 1).await;
    assert_eq!(next.await.unwrap(), MessageId(2));
}

#[tokio::test]
async fn a_message_that_the_queue_refuses_does_not_fail_those_of_others() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let first = queue.send("first");
    let batch = queue.send_batch(vec![Message::new("b1"), Message::new("b2")]);
    let too_large = queue.send("too large for this queue");
    let (id, frame) = connection.next_send().await;
    assert_eq!(frame.batch.count(), 4);
    connection.refuse(id, ErrorCode::MessageTooLarge).await;

    let mut seen = Vec::new();
    for place in 0..3 {
        let (id, frame) = connection.next_send().await;
        seen.push(bodies(&frame));
        assert_eq!(frame.batch.check_bodies(), Ok(()));
        if place == 2 {
            connection.refuse(id, ErrorCode::MessageTooLarge).await;
        } else {
            connection
                .sent(id, 10 * (place + 1), frame.batch.count())
                .await;
        }
    }
    assert_eq!(seen[0], ["first"]);
    assert_eq!(seen[1], ["b1", "b2"]);
    assert_eq!(first.await.unwrap(), MessageId(10));
    assert_eq!(batch.await.unwrap(), [MessageId(20), MessageId(21)]);
    let error = too_large.await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
    assert_eq!(error.applied(), Applied::No);
    assert!(!error.retry());
}

#[tokio::test]
async fn refusals_of_the_queue_reach_every_message_of_the_frame() {
    let peer = Peer::new().await;
    let builder = peer.client().resend_unknown(false);
    let (client, mut connection) = peer.connect(builder).await;
    let queue = client.queue("orders");
    let cases = [
        (ErrorCode::QueueNotFound, Applied::No, false),
        (ErrorCode::StorageFull, Applied::No, true),
        (ErrorCode::OutcomeUnknown, Applied::Unknown, true),
    ];
    for (code, applied, retry) in cases {
        let sends = [queue.send("a"), queue.send("b")];
        let (id, frame) = connection.next_send().await;
        assert_eq!(frame.batch.count(), 2);
        connection.refuse(id, code).await;
        for send in sends {
            let error = send.await.unwrap_err();
            assert_eq!(
                (error.code(), error.applied(), error.retry()),
                (Some(code), applied, retry)
            );
        }
    }
}

#[tokio::test]
async fn a_send_of_unknown_outcome_is_repeated_and_stays_unknown_when_the_repeat_is_refused() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    for code in [None, Some(ErrorCode::StorageFull)] {
        let send = client.queue("orders").send("again");
        let (id, _) = connection.next_send().await;
        connection.refuse(id, ErrorCode::OutcomeUnknown).await;
        let (id, frame) = connection.next_send().await;
        assert_eq!(bodies(&frame), ["again"]);
        match code {
            None => {
                connection.sent(id, 4, 1).await;
                assert_eq!(send.await.unwrap(), MessageId(4));
            }
            Some(code) => {
                connection.refuse(id, code).await;
                let error = send.await.unwrap_err();
                let told = (error.code(), error.applied());
                assert_eq!(told, (Some(code), Applied::Unknown));
            }
        }
    }
}

#[tokio::test]
async fn without_a_leader_a_send_is_repeated_until_the_retry_deadline() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let send = queue.send("patient");
    for _ in 0..3 {
        let (id, frame) = connection.next_send().await;
        assert_eq!(bodies(&frame), ["patient"]);
        connection.refuse(id, ErrorCode::NoLeader).await;
    }
    let (id, _) = connection.next_send().await;
    connection.sent(id, 9, 1).await;
    assert_eq!(send.await.unwrap(), MessageId(9));

    let builder = peer.client().retry_deadline(Duration::ZERO);
    let (client, mut connection) = peer.connect(builder).await;
    let send = client.queue("orders").send("impatient");
    let (id, _) = connection.next_send().await;
    connection.refuse(id, ErrorCode::NoLeader).await;
    assert_eq!(send.await.unwrap_err().code(), Some(ErrorCode::NoLeader));
}

#[tokio::test]
async fn what_passes_a_limit_of_the_protocol_is_refused_without_asking() {
    let peer = Peer::new().await;
    let (client, connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let code = |error: Error| error.code().unwrap();
    assert_eq!(
        code(queue.send("").await.unwrap_err()),
        ErrorCode::BodyEmpty
    );
    let too_large = queue.send(vec![0; 1_048_577]).await.unwrap_err();
    assert_eq!(code(too_large), ErrorCode::MessageTooLarge);
    let bad_headers = Message::new("x").headers("no headers");
    let bad_headers = queue.send_with(bad_headers).await.unwrap_err();
    assert_eq!(code(bad_headers), ErrorCode::HeadersOutOfRange);
    for batch in [
        vec![],
        vec![Message::new("x"); 257],
        vec![Message::new(vec![0; 1 << 20]); 4],
    ] {
        let error = queue.send_batch(batch).await.unwrap_err();
        assert_eq!(code(error), ErrorCode::BatchOutOfRange);
    }
    assert_eq!(
        code(queue.delete_batch(&[]).await.unwrap_err()),
        ErrorCode::BatchOutOfRange
    );
    drop((client, queue));
    connection.expect_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_one_connection_and_each_gets_its_own_id() {
    let peer = Peer::new().await;
    let builder = peer.client().messages_in_flight_max(64);
    let (client, mut connection) = peer.connect(builder).await;
    let server = tokio::spawn(async move {
        let mut stored = Vec::new();
        while let Some(asked) = connection.next_or_end().await {
            let Request::Send(send) = asked.request else {
                panic!("{asked:?}")
            };
            let first = stored.len() as u64;
            stored.extend(bodies(&send));
            connection.sent(asked.id, first, send.batch.count()).await;
        }
        stored
    });
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let queue = client.queue("orders");
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for number in 0..500 {
                let body = format!("{task}-{number}");
                ids.push((queue.send(body.clone()).await.unwrap(), body));
            }
            ids
        });
    }
    drop(client);
    let sent = tasks.join_all().await.concat();
    let stored = server.await.unwrap();
    assert_eq!(stored.len(), 4_000);
    for (id, body) in sent {
        assert_eq!(stored[usize::try_from(id.0).unwrap()], body);
    }
}
