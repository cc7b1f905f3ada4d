//! Breaks of the connection: what goes out again, what fails, and what the caller is told.
//!
//! Method: the peer drops its end when a request is where the test wants it.

mod support;

use std::future::IntoFuture;
use std::time::Duration;

use sampan_client::{Applied, Error, ErrorCode, MessageId, QueueOptions, ReceiptHandle};
use sampan_protocol::{HandleResults, Reply, Request};
use support::{Peer, bodies, messages};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn without_resend_unknown_a_send_without_an_answer_fails_and_is_not_repeated() {
    let peer = Peer::new().await;
    let builder = peer.client().resend_unknown(false);
    let (client, mut connection) = peer.connect(builder).await;
    let queue = client.queue("orders");
    let lost = queue.send("lost?");
    connection.next_send().await;
    drop(connection);
    let error = lost.await.unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }), "{error}");
    assert_eq!(error.applied(), Applied::Unknown);
    assert!(error.retry());

    let next = queue.send("next");
    let mut connection = peer.accept().await;
    let (id, frame) = connection.next_send().await;
    assert_eq!(bodies(&frame), ["next"]);
    connection.sent(id, 5, 1).await;
    assert_eq!(next.await.unwrap(), MessageId(5));
}

#[tokio::test]
async fn a_send_without_an_answer_is_repeated_before_those_that_came_later() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let first = queue.send("first");
    connection.next_send().await;
    let second = queue.send("second");
    connection.next_send().await;
    drop(connection);
    let mut connection = peer.accept().await;
    for (number, expected) in ["first", "second"].into_iter().enumerate() {
        let (id, frame) = connection.next_send().await;
        assert_eq!(bodies(&frame), [expected]);
        connection.sent(id, number as u64, 1).await;
    }
    assert_eq!(first.await.unwrap(), MessageId(0));
    assert_eq!(second.await.unwrap(), MessageId(1));

    // A refusal of the repeat does not say that the first try did nothing.
    let third = queue.send("third");
    connection.next_send().await;
    drop(connection);
    let mut connection = peer.accept().await;
    let (id, _) = connection.next_send().await;
    connection.refuse(id, ErrorCode::StorageFull).await;
    let error = third.await.unwrap_err();
    assert_eq!(
        (error.code(), error.applied()),
        (Some(ErrorCode::StorageFull), Applied::Unknown)
    );
}

#[tokio::test]
async fn what_was_never_written_whole_is_sent_once_on_the_next_connection() {
    let peer = Peer::new().await;
    let (client, connection) = peer.connect(peer.client()).await;
    // The peer never reads, so the first of these fill the buffers between the two, one is written
    // in part, and the last stay with the client. Which one is which is the kernel's choice.
    let queue = client.queue("orders");
    let body = |number: u32| {
        let mut body = vec![b'x'; 1 << 20];
        body[..4].copy_from_slice(&number.to_le_bytes());
        body
    };
    let sends: Vec<_> = (0..30).map(|number| queue.send(body(number))).collect();
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    drop(connection);
    let mut connection = peer.accept().await;
    let server = tokio::spawn(async move {
        let mut stored = Vec::new();
        while let Some(asked) = connection.next_or_end().await {
            let Request::Send(send) = asked.request else {
                panic!("{asked:?}")
            };
            assert_eq!(send.batch.check_bodies(), Ok(()));
            let body = send.batch.body(0).unwrap();
            stored.push(u32::from_le_bytes(body[..4].try_into().unwrap()));
            connection.sent(asked.id, stored.len() as u64, 1).await;
        }
        stored
    });
    let mut expected = Vec::new();
    for (number, send) in (0..).zip(sends) {
        match send.await {
            Ok(_) => expected.push(number),
            Err(error) => assert_eq!(error.applied(), Applied::Unknown),
        }
    }
    drop((client, queue));
    assert_eq!(
        server.await.unwrap(),
        expected,
        "in order, each once, none that failed"
    );
    assert!(expected.contains(&29), "30 MiB do not fit between the two");
}

#[tokio::test]
async fn a_receive_is_repeated_and_what_had_come_of_one_is_kept() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let whole = tokio::spawn(queue.receive().wait(Duration::from_secs(30)).into_future());
    connection.next_receive().await;
    let part = tokio::spawn(queue.receive().max(10).into_future());
    let (id, _) = connection.next_receive().await;
    connection.reply_more(id, messages(1..4)).await;
    drop(connection);
    assert_eq!(part.await.unwrap().unwrap().len(), 3);

    let mut connection = peer.accept().await;
    let (id, receive) = connection.next_receive().await;
    assert_eq!(receive.count_max, 1);
    assert!(
        receive.wait_ms.is_some_and(|wait| wait <= 30_000),
        "the rest of its wait"
    );
    connection.reply(id, messages(9..10)).await;
    assert_eq!(whole.await.unwrap().unwrap()[0].id, MessageId(9));
}

#[tokio::test]
async fn a_repeated_delete_that_is_refused_says_that_it_may_have_been_done() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let deletes: Vec<_> = (0..3)
        .map(|handle| queue.delete(ReceiptHandle(handle)))
        .collect();
    connection.next_delete().await;
    drop(connection);
    let mut connection = peer.accept().await;
    let (id, handles) = connection.next_delete().await;
    assert_eq!(handles, [0, 1, 2]);
    let failures = vec![(0, ErrorCode::ReceiptExpired)];
    connection
        .reply(id, Reply::Deleted(HandleResults { failures }))
        .await;
    let mut results = Vec::new();
    for delete in deletes {
        results.push(delete.await);
    }
    let error = results.remove(0).unwrap_err();
    assert_eq!(
        (error.code(), error.applied()),
        (Some(ErrorCode::ReceiptExpired), Applied::Unknown)
    );
    assert!(results.into_iter().all(|result| result.is_ok()));
}

#[tokio::test]
async fn changes_of_queues_are_repeated_and_what_the_first_try_did_counts_as_success() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    for code in [ErrorCode::QueueAlreadyExists, ErrorCode::TooManyQueues] {
        let created;
        (created, connection) =
            tokio::join!(client.create_queue("orders", QueueOptions::new()), async {
                connection.next().await;
                drop(connection);
                let mut connection = peer.accept().await;
                let asked = connection.next().await;
                assert!(
                    matches!(asked.request, Request::QueueCreate(_)),
                    "{asked:?}"
                );
                connection.refuse(asked.id, code).await;
                connection
            });
        match created {
            Ok(queue) => assert_eq!(
                (queue.name(), code),
                ("orders", ErrorCode::QueueAlreadyExists)
            ),
            Err(error) => assert_eq!(
                (error.code(), error.applied()),
                (Some(ErrorCode::TooManyQueues), Applied::Unknown)
            ),
        }
    }
    let deleted;
    (deleted, connection) = tokio::join!(client.delete_queue("orders"), async {
        connection.next().await;
        drop(connection);
        let mut connection = peer.accept().await;
        let asked = connection.next().await;
        connection.refuse(asked.id, ErrorCode::QueueNotFound).await;
        connection
    });
    deleted.unwrap();

    // Only after a repeat.
    let (created, ()) = tokio::join!(client.create_queue("orders", QueueOptions::new()), async {
        let asked = connection.next().await;
        connection
            .refuse(asked.id, ErrorCode::QueueAlreadyExists)
            .await;
    });
    assert_eq!(
        created.unwrap_err().code(),
        Some(ErrorCode::QueueAlreadyExists)
    );
}

#[tokio::test]
async fn when_the_attempts_are_used_up_what_waits_fails_and_the_next_call_starts_over() {
    let peer = Peer::new().await;
    let builder = peer
        .client()
        .resend_unknown(false)
        .reconnect_attempts_max(2);
    let (client, connection) = peer.connect(builder).await;
    let queue = client.queue("orders");
    drop(connection);
    // Both attempts find a listener that hangs up.
    let (waited, ()) = tokio::join!(
        async {
            loop {
                // Accepted before or after the client noticed, it is never written.
                match queue.send("waits").await.unwrap_err() {
                    error if error.applied() == Applied::No => return error,
                    _ => {}
                }
            }
        },
        async {
            drop(peer.accept_silently().await);
            drop(peer.accept_silently().await);
        }
    );
    assert!(matches!(waited, Error::Disconnected { .. }), "{waited}");

    let send = queue.send("again");
    let mut connection = peer.accept().await;
    let (id, _) = connection.next_send().await;
    connection.sent(id, 1, 1).await;
    send.await.unwrap();
}

#[tokio::test]
async fn a_broker_that_no_longer_knows_the_account_is_not_asked_again() {
    let peer = Peer::new().await;
    let builder = peer.client().resend_unknown(false);
    let (client, connection) = peer.connect(builder).await;
    drop(connection);
    let queue = client.queue("orders");
    let (error, ()) = tokio::join!(
        async {
            loop {
                match queue.send("waits").await.unwrap_err() {
                    error if error.applied() == Applied::No => return error,
                    _ => {}
                }
            }
        },
        async {
            let stream = peer.accept_silently().await;
            let mut connection = support::Connection::new(Box::new(stream));
            let hello = connection.next().await;
            connection
                .refuse(hello.id, ErrorCode::AuthenticationFailed)
                .await;
        }
    );
    assert_eq!(error.code(), Some(ErrorCode::AuthenticationFailed));
}

#[tokio::test]
async fn what_waits_for_a_connection_times_out_however_much_is_sent_meanwhile() {
    let peer = Peer::new().await;
    let builder = peer.client().request_timeout(Duration::from_millis(400));
    let (client, connection) = peer.connect(builder).await;
    // The next one is never answered.
    drop(connection);
    let queue = client.queue("orders");
    let mut first = Box::pin(queue.send("first").into_future());
    // Each of these gives the client's task something to do.
    let (mut others, mut count) = (Vec::new(), 0);
    let error = loop {
        others.push(queue.send("another"));
        count += 1;
        assert!(count < 300, "the first send waits for ever");
        match tokio::time::timeout(Duration::from_millis(10), &mut first).await {
            Ok(sent) => break sent.unwrap_err(),
            Err(_) => continue,
        }
    };
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    drop(others);
}

#[tokio::test]
async fn what_was_written_to_a_broker_that_was_given_up_is_sent_no_more() {
    let peer = Peer::new().await;
    let builder = peer.client().keep_alive(Duration::from_millis(100));
    let (client, silent) = peer.connect(builder).await;
    let queue = client.queue("orders");
    // More than the kernel keeps for a peer that does not read.
    let sends: Vec<_> = (0..20).map(|_| queue.send(vec![b'x'; 1 << 20])).collect();
    // The peer reads nothing until the client has gone elsewhere.
    let mut next = peer.accept().await;
    next.next_send().await;
    let mut silent = silent.into_stream();
    let mut buffer = vec![0; 1 << 16];
    let end = loop {
        match silent.read(&mut buffer).await {
            Ok(0) => break None,
            Ok(_) => {}
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(end, Some(std::io::ErrorKind::ConnectionReset));
    drop(sends);
}

#[tokio::test]
async fn a_connection_that_is_closed_in_order_is_not_reset() {
    let peer = Peer::new().await;
    let (client, connection) = peer.connect(peer.client()).await;
    let mut stream = connection.into_stream();
    let closed = tokio::spawn(async move { client.close().await });
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    drop(closed);
}

#[tokio::test]
async fn a_slow_broker_with_all_request_slots_taken_is_still_asked_whether_it_is_there() {
    let mut peer = Peer::new().await;
    peer.requests_in_flight_max = 8;
    let builder = peer.client().keep_alive(Duration::from_millis(100));
    let (client, mut connection) = peer.connect(builder).await;
    let queue = client.queue("orders");
    let deletes: Vec<_> = (0..40 * 256)
        .map(|handle| queue.delete(ReceiptHandle(handle)))
        .collect();
    // Every slot but the ping's is taken, and nothing is answered but pings.
    let (mut unanswered, mut ping_count) = (Vec::new(), 0);
    while ping_count < 5 {
        let asked = connection.next().await;
        match asked.request {
            Request::Ping => {
                ping_count += 1;
                connection.reply(asked.id, Reply::Pong).await;
            }
            _ => unanswered.push(asked.id),
        }
    }
    assert_eq!(unanswered.len(), 7, "one slot is kept");
    drop(deletes);
}
