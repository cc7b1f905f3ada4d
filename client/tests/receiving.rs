//! Receives, deliveries and deletes: nothing is lost between the broker and the caller.
//!
//! Method: a scripted peer hands out messages and watches what the client gives back.

mod support;

use std::future::IntoFuture;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, poll};
use sampan_client::{Applied, Error, ErrorCode, MessageId, ReceiptHandle};
use sampan_protocol::{ChangeVisibility, HandleResults, Reply};
use support::{Peer, message, messages};

#[tokio::test]
async fn a_receive_says_what_it_wants_and_gets_whole_deliveries() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let receive = queue
        .receive()
        .max(7)
        .max_len(9_000)
        .wait(Duration::from_secs(3))
        .visibility_timeout(Duration::from_secs(60));
    let (received, ()) = tokio::join!(receive, async {
        let (id, receive) = connection.next_receive().await;
        assert_eq!(receive.queue.as_str(), "orders");
        assert_eq!((receive.count_max, receive.len_max), (7, 9_000));
        assert_eq!(receive.wait_ms, Some(3_000));
        assert_eq!(receive.visibility_timeout_ms, Some(60_000));
        connection.reply(id, messages(1..3)).await;
    });
    let received = received.unwrap();
    assert_eq!(received.len(), 2);
    assert_eq!(received[1].id, MessageId(2));
    assert_eq!(received[1].handle, ReceiptHandle(1_002));
    assert_eq!(received[1].body, "body 2");
    assert_eq!(received[1].receive_count, 1);
    assert_eq!(received[1].headers().count(), 0);

    let (received, ()) = tokio::join!(queue.receive(), async {
        let (id, receive) = connection.next_receive().await;
        assert_eq!((receive.count_max, receive.len_max), (1, 0));
        assert_eq!(
            (receive.wait_ms, receive.visibility_timeout_ms),
            (None, None)
        );
        connection.reply(id, Reply::Received(Vec::new())).await;
    });
    assert!(received.unwrap().is_empty());
}

#[tokio::test]
async fn a_reply_in_several_frames_is_one_reply_also_among_others() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let (one, two, ()) = tokio::join!(queue.receive().max(256), queue.receive().max(256), async {
        let (one, _) = connection.next_receive().await;
        let (two, _) = connection.next_receive().await;
        connection.reply_more(one, messages(0..100)).await;
        connection.reply_more(two, messages(500..501)).await;
        connection.reply_more(one, messages(100..200)).await;
        connection.reply(two, messages(501..502)).await;
        connection.reply(one, messages(200..256)).await;
    });
    let ids = |deliveries: Vec<sampan_client::Delivery>| {
        deliveries
            .iter()
            .map(|delivery| delivery.id.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(one.unwrap()), (0..256).collect::<Vec<_>>());
    assert_eq!(ids(two.unwrap()), [500, 501]);
}

#[tokio::test]
async fn a_reply_with_more_messages_than_any_receive_asks_for_ends_the_connection() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let receive = tokio::spawn(queue.receive().max(256).into_future());
    let (id, _) = connection.next_receive().await;
    connection.reply_more(id, messages(0..200)).await;
    connection.reply_more(id, messages(200..300)).await;
    connection.expect_end().await;
    // What had come is the caller's; the rest of that reply is not trusted.
    assert_eq!(receive.await.unwrap().unwrap().len(), 200);
}

#[tokio::test]
async fn a_damaged_body_is_not_handed_out_and_the_others_are_released() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let mut damaged = message(2);
    damaged.body = Bytes::from_static(b"bodz 2");
    let (received, ()) = tokio::join!(queue.receive().max(3), async {
        let (id, _) = connection.next_receive().await;
        connection
            .reply(id, Reply::Received(vec![message(1), damaged, message(3)]))
            .await;
    });
    let error = received.unwrap_err();
    assert!(
        matches!(error, Error::Corrupt { id: MessageId(2) }),
        "{error}"
    );
    assert!(error.retry());
    let (_, handles, timeout) = connection.next_change().await;
    assert_eq!(
        (handles, timeout),
        (vec![1_001, 1_003], ChangeVisibility::UNDO_RECEIVE)
    );
}

#[tokio::test]
async fn messages_of_a_dropped_receive_are_released_whenever_they_come() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    // Dropped while it waits at the broker.
    let mut receive = queue.receive().max(4).into_future();
    assert!(poll!(&mut receive).is_pending());
    let (id, _) = connection.next_receive().await;
    drop(receive);
    connection.reply_more(id, messages(1..3)).await;
    connection.reply(id, messages(3..5)).await;
    let (id, handles, timeout) = connection.next_change().await;
    assert_eq!(
        (handles, timeout),
        (
            vec![1_001, 1_002, 1_003, 1_004],
            ChangeVisibility::UNDO_RECEIVE
        )
    );
    connection
        .reply(id, Reply::VisibilityChanged(HandleResults::default()))
        .await;

    // Dropped when the reply is here but was not looked at. The ping tells when it is here.
    let mut receive = queue.receive().max(4).into_future();
    assert!(poll!(&mut receive).is_pending());
    let (id, _) = connection.next_receive().await;
    let (pinged, ()) = tokio::join!(client.ping(), async {
        let ping = connection.next().await;
        connection.reply(id, messages(5..6)).await;
        connection.reply(ping.id, Reply::Pong).await;
    });
    pinged.unwrap();
    drop(receive);
    let (id, handles, timeout) = connection.next_change().await;
    assert_eq!(
        (handles, timeout),
        (vec![1_005], ChangeVisibility::UNDO_RECEIVE)
    );
    connection
        .reply(id, Reply::VisibilityChanged(HandleResults::default()))
        .await;

    // Dropped before it was written: nobody is asked.
    let mut receive = queue.receive().into_future();
    assert!(poll!(&mut receive).is_pending());
    drop(receive);
    drop((client, queue));
    connection.expect_end().await;
}

#[tokio::test]
async fn deletes_travel_together_and_each_gets_its_own_answer() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let (received, ()) = tokio::join!(queue.receive().max(3), async {
        let (id, _) = connection.next_receive().await;
        connection.reply(id, messages(0..3)).await;
    });
    let deletes: Vec<_> = received
        .unwrap()
        .iter()
        .map(|delivery| delivery.delete())
        .collect();
    let (id, handles) = connection.next_delete().await;
    assert_eq!(handles, [1_000, 1_001, 1_002]);
    let failures = vec![(1, ErrorCode::ReceiptExpired)];
    connection
        .reply(id, Reply::Deleted(HandleResults { failures }))
        .await;
    let mut results = Vec::new();
    for delete in deletes {
        results.push(delete.await);
    }
    assert!(results[0].is_ok() && results[2].is_ok());
    let error = results.remove(1).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::ReceiptExpired));
    assert_eq!(error.applied(), Applied::No);

    let deletes: Vec<_> = (0..300).map(|n| queue.delete(ReceiptHandle(n))).collect();
    for count in [256, 44] {
        let (id, handles) = connection.next_delete().await;
        assert_eq!(handles.len(), count);
        connection
            .reply(id, Reply::Deleted(HandleResults::default()))
            .await;
    }
    for delete in deletes {
        delete.await.unwrap();
    }
}

#[tokio::test]
async fn raw_deletes_extend_and_release_say_which_handles_failed() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let handles = [ReceiptHandle(1), ReceiptHandle(2)];
    let (failed, ()) = tokio::join!(queue.delete_batch(&handles), async {
        let (id, handles) = connection.next_delete().await;
        assert_eq!(handles, [1, 2]);
        let failures = vec![(1, ErrorCode::ReceiptMalformed)];
        connection
            .reply(id, Reply::Deleted(HandleResults { failures }))
            .await;
    });
    let failed = failed.unwrap();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (failed[0].0, failed[0].1.code()),
        (1, Some(ErrorCode::ReceiptMalformed))
    );

    let (received, ()) = tokio::join!(queue.receive(), async {
        let (id, _) = connection.next_receive().await;
        connection.reply(id, messages(7..8)).await;
    });
    let delivery = received.unwrap().remove(0);
    let (extended, ()) = tokio::join!(delivery.extend(Duration::from_secs(90)), async {
        let (id, handles, timeout) = connection.next_change().await;
        assert_eq!((handles, timeout), (vec![1_007], 90_000));
        connection
            .reply(id, Reply::VisibilityChanged(HandleResults::default()))
            .await;
    });
    extended.unwrap();
    let (released, ()) = tokio::join!(delivery.release(), async {
        let (id, _, timeout) = connection.next_change().await;
        assert_eq!(timeout, 0);
        let failures = vec![(0, ErrorCode::ReceiptExpired)];
        connection
            .reply(id, Reply::VisibilityChanged(HandleResults { failures }))
            .await;
    });
    assert_eq!(
        released.unwrap_err().code(),
        Some(ErrorCode::ReceiptExpired)
    );
}

#[tokio::test]
async fn a_stream_holds_no_more_than_its_prefetch_and_releases_the_rest_when_dropped() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let mut deliveries = client.queue("orders").deliveries(4);
    let (first, ()) = tokio::join!(deliveries.next(), async {
        let (id, receive) = connection.next_receive().await;
        assert_eq!(receive.count_max, 4);
        connection.reply(id, messages(0..4)).await;
    });
    assert_eq!(first.unwrap().unwrap().id, MessageId(0));
    // One was taken, three are at hand: asking for one is not worth a request yet.
    assert_eq!(deliveries.next().await.unwrap().unwrap().id, MessageId(1));
    // Two are free now, so two are asked for while two are at hand.
    assert_eq!(deliveries.next().await.unwrap().unwrap().id, MessageId(2));
    let (id, receive) = connection.next_receive().await;
    assert_eq!(receive.count_max, 2);

    drop(deliveries);
    let (_, handles, timeout) = connection.next_change().await;
    assert_eq!(
        (handles, timeout),
        (vec![1_003], ChangeVisibility::UNDO_RECEIVE),
        "what was at hand"
    );
    connection.reply(id, messages(4..6)).await;
    let (_, handles, timeout) = connection.next_change().await;
    assert_eq!(
        (handles, timeout),
        (vec![1_004, 1_005], ChangeVisibility::UNDO_RECEIVE),
        "what was still to come"
    );
}

#[tokio::test]
async fn a_stream_asks_ahead_only_while_the_queue_has_plenty() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let mut deliveries = client.queue("orders").deliveries(2_000);
    let (first, ()) = tokio::join!(deliveries.next(), async {
        let (id, receive) = connection.next_receive().await;
        assert_eq!(receive.count_max, 256);
        connection.reply(id, messages(0..256)).await;
    });
    first.unwrap().unwrap();
    deliveries.next().await.unwrap().unwrap();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(connection.next_receive().await.0);
    }
    for (place, id) in ids.into_iter().enumerate() {
        let first = 1_000 * (place as u64 + 1);
        connection.reply(id, messages(first..first + 1)).await;
    }
    // The queue runs dry: one long poll is enough.
    for _ in 2..256 {
        deliveries.next().await.unwrap().unwrap();
    }
    for place in 1..=4 {
        assert_eq!(
            deliveries.next().await.unwrap().unwrap().id,
            MessageId(1_000 * place)
        );
    }
    assert!(poll!(deliveries.next()).is_pending());
    let (_, receive) = connection.next_receive().await;
    assert_eq!(receive.wait_ms, Some(20_000));
    drop(deliveries);
    drop(client);
    connection.expect_end().await;
}

#[tokio::test]
async fn a_stream_goes_on_after_what_can_be_mended_and_ends_after_the_rest() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let mut deliveries = client.queue("orders").deliveries(10);
    for code in [ErrorCode::TooManyWaiting, ErrorCode::QueueNotFound] {
        let (next, ()) = tokio::join!(deliveries.next(), async {
            let (id, _) = connection.next_receive().await;
            connection.refuse(id, code).await;
        });
        assert_eq!(next.unwrap().unwrap_err().code(), Some(code));
    }
    assert!(deliveries.next().await.is_none());
}
