//! Clusters of several nodes: who is asked, what happens when leaders change, break or hang.
//!
//! Method: scripted nodes in this process. Nothing waits for a time to pass but the silence of a
//! node that hangs, which the client notices after a fraction of a second here; a test that would
//! need more than the client's own deadlines fails by them.

mod support;

use std::future::IntoFuture;
use std::time::Duration;

use sampan_client::{Applied, Error, ErrorCode, MessageId, QueueOptions, ReceiptHandle};
use sampan_protocol::{Request, kind};
use support::cluster::{Act, Cluster, Script};

/// A script for the first request of a kind at a node; all others take their usual way.
fn once(
    node: u64,
    kind: u8,
    mut act: impl FnMut(&mut support::cluster::World) -> Act + Send + 'static,
) -> Option<Script> {
    let mut is_done = false;
    Some(Box::new(move |world, at, request| {
        if is_done || at != node || request.kind() != kind {
            return None;
        }
        is_done = true;
        Some(act(world))
    }))
}

#[tokio::test]
async fn a_node_that_does_not_lead_tells_who_does_and_where_the_nodes_are() {
    let cluster = Cluster::new(3, None).await;
    cluster.world().lead(3);
    let client = cluster.client(&[1]).await;
    let queue = client.queue("orders");
    assert_eq!(queue.send("one").await.unwrap(), MessageId(1));
    assert_eq!(queue.send("two").await.unwrap(), MessageId(2));
    queue.delete(ReceiptHandle(1)).await.unwrap();
    let world = cluster.world();
    assert_eq!(world.stored, [(3, "one".to_owned()), (3, "two".to_owned())]);
    assert_eq!(world.count(1, kind::SEND), 1, "one refusal is enough");
    assert_eq!(client.nodes(), world.nodes);
    assert_eq!(client.servers().len(), 3);
    assert_eq!(world.count(2, kind::ROUTE), 0, "node 2 leads nothing");
}

#[tokio::test]
async fn requests_of_one_queue_share_one_question() {
    let cluster = Cluster::new(2, None).await;
    cluster.world().lead(2);
    let client = cluster.client(&[1]).await;
    let queue = client.queue("orders");
    let receives = (0..20).map(|_| queue.receive().into_future());
    for received in futures::future::join_all(receives).await {
        assert_eq!(received.unwrap()[0].id, MessageId(2));
    }
    let world = cluster.world();
    assert!(world.count(1, kind::RECEIVE) >= 1);
    // A slow machine may ask again; twenty requests never ask twenty times.
    assert!(world.count(0, kind::ROUTE) <= 3, "{:?}", world.asked);
}

#[tokio::test]
async fn a_send_that_dies_with_its_leader_is_stored_by_the_next() {
    let script = once(1, kind::SEND, |world| {
        world.lead(2);
        Act::Break
    });
    let cluster = Cluster::new(2, script).await;
    let client = cluster.client(&[1]).await;
    client.queue("orders").send("survivor").await.unwrap();
    assert_eq!(cluster.world().stored, [(2, "survivor".to_owned())]);
}

#[tokio::test]
async fn a_killed_node_takes_nothing_with_it_that_others_can_do() {
    let mut cluster = Cluster::new(3, None).await;
    let client = cluster.client(&[1, 2]).await;
    let queue = client.queue("orders");
    queue.send("before").await.unwrap();
    cluster.world().leader = None;
    cluster.kill(1).await;
    let sends: Vec<_> = (0..10).map(|n| queue.send(format!("m{n}"))).collect();
    let ((), ()) = tokio::join!(
        async {
            for send in sends {
                send.await.unwrap();
            }
        },
        async {
            // Somebody has to be refused before there is a leader again.
            while cluster.world().count(0, kind::ROUTE) < 2 {
                tokio::task::yield_now().await;
            }
            cluster.world().lead(3);
        }
    );
    let world = cluster.world();
    let expected = (0..10).map(|n| (3, format!("m{n}")));
    assert_eq!(world.stored[1..], expected.collect::<Vec<_>>(), "in order");
}

#[tokio::test]
async fn without_a_leader_requests_wait_for_one() {
    let cluster = Cluster::new(2, None).await;
    cluster.world().leader = None;
    let client = cluster.client(&[1, 2]).await;
    let queue = client.queue("orders");
    let first = tokio::spawn(queue.send("patient"));
    // Refused by one node, it asks around, in vain for now.
    while cluster.world().count(0, kind::SEND) == 0 {
        tokio::task::yield_now().await;
    }
    cluster.world().lead(2);
    first.await.unwrap().unwrap();
    assert_eq!(cluster.world().stored, [(2, "patient".to_owned())]);
}

#[tokio::test]
async fn a_node_that_is_cut_off_from_the_others_keeps_no_client_from_them() {
    let cluster = Cluster::new(3, None).await;
    cluster.world().lead(3);
    cluster.world().cut_off.insert(1);
    let client = cluster.client(&[1]).await;
    client.queue("orders").send("one").await.unwrap();
    let in_vain = cluster.world().count(1, kind::SEND);
    client.queue("others").send("two").await.unwrap();
    let world = cluster.world();
    assert_eq!(world.stored, [(3, "one".to_owned()), (3, "two".to_owned())]);
    assert_eq!(world.count(1, kind::SEND), in_vain, "{:?}", world.asked);
}

#[tokio::test]
async fn a_leader_that_hangs_is_left_for_the_next_and_a_long_poll_goes_on_there() {
    let script = once(1, kind::SEND, |world| {
        world.lead(2);
        Act::Stop
    });
    let parked: Script = Box::new({
        let mut stop = script.expect("there is one");
        move |world, node, request| match request {
            Request::Receive(_) if node == 1 => Some(Act::Ignore),
            _ => stop(world, node, request),
        }
    });
    let cluster = Cluster::new(2, Some(parked)).await;
    let builder = cluster.builder(&[1, 2]);
    let builder = builder.keep_alive(Duration::from_millis(300));
    let client = builder.connect().await.unwrap();
    let queue = client.queue("orders");
    let long_poll = queue.receive().wait(Duration::from_secs(30)).into_future();
    let long_poll = tokio::spawn(long_poll);
    while cluster.world().count(1, kind::RECEIVE) == 0 {
        tokio::task::yield_now().await;
    }
    queue.send("unanswered").await.unwrap();
    assert_eq!(cluster.world().stored, [(2, "unanswered".to_owned())]);
    assert_eq!(long_poll.await.unwrap().unwrap()[0].id, MessageId(2));
}

#[tokio::test]
async fn a_receive_that_waits_at_a_node_that_answers_pings_is_left_in_peace() {
    let script: Script = Box::new(|_, _, request| match request {
        Request::Receive(_) => Some(Act::Ignore),
        _ => None,
    });
    let cluster = Cluster::new(1, Some(script)).await;
    let builder = cluster.builder(&[1]).keep_alive(Duration::from_millis(200));
    let client = builder.connect().await.unwrap();
    let receive = client.queue("orders").receive();
    let receive = receive.wait(Duration::from_secs(30)).into_future();
    // Longer than the silence that ends a connection.
    let waited = tokio::time::timeout(Duration::from_secs(1), receive).await;
    assert!(waited.is_err());
    assert_eq!(cluster.world().count(1, kind::RECEIVE), 1, "asked once");
}

#[tokio::test]
async fn without_resend_unknown_a_send_fails_with_its_leader_and_the_next_finds_the_new_one() {
    let script = once(1, kind::SEND, |world| {
        world.lead(2);
        Act::DoAndBreak
    });
    let cluster = Cluster::new(2, script).await;
    let builder = cluster.builder(&[1, 2]).resend_unknown(false);
    let client = builder.connect().await.unwrap();
    let queue = client.queue("orders");
    let error = queue.send("lost?").await.unwrap_err();
    assert_eq!(error.applied(), Applied::Unknown);
    queue.send("next").await.unwrap();
    let world = cluster.world();
    assert_eq!(world.stored.last(), Some(&(2, "next".to_owned())));
    assert_eq!(
        world
            .stored
            .iter()
            .filter(|(_, body)| body == "lost?")
            .count(),
        0
    );
}

#[tokio::test]
async fn queues_are_created_and_deleted_once_even_if_the_leader_breaks_after_doing_it() {
    let script: Script = Box::new({
        let mut broken = std::collections::BTreeSet::new();
        move |_, _, request| match request {
            Request::QueueCreate(_) | Request::QueueDelete { .. } => {
                broken.insert(request.kind()).then_some(Act::DoAndBreak)
            }
            _ => None,
        }
    });
    let cluster = Cluster::new(2, Some(script)).await;
    let client = cluster.client(&[2, 1]).await;
    client
        .create_queue("orders", QueueOptions::new())
        .await
        .unwrap();
    assert!(cluster.world().queues.contains("orders"));
    let error = client.create_queue("orders", QueueOptions::new()).await;
    assert_eq!(
        error.unwrap_err().code(),
        Some(ErrorCode::QueueAlreadyExists)
    );
    client.delete_queue("orders").await.unwrap();
    assert!(cluster.world().queues.is_empty());
}

#[tokio::test]
async fn only_the_leader_of_the_catalog_is_believed_that_a_queue_does_not_exist() {
    // Node 1 has not heard of the queue, and says so by 506; node 2 leads the catalog.
    let script: Script = Box::new(|_, node, request| match request {
        Request::Route(route) if !route.queue.is_empty() => Some(Act::Refuse(match node {
            2 => ErrorCode::QueueNotFound,
            _ => ErrorCode::NotLeader,
        })),
        Request::Send(_) if node == 2 => Some(Act::Refuse(ErrorCode::QueueNotFound)),
        _ => None,
    });
    let cluster = Cluster::new(2, Some(script)).await;
    cluster.world().lead(2);
    let client = cluster.client(&[1]).await;
    let error = client.queue("nowhere").send("x").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::QueueNotFound));
    assert_eq!(error.applied(), Applied::No);
}

#[tokio::test]
async fn the_first_connection_goes_to_whichever_given_node_is_there() {
    let mut cluster = Cluster::new(3, None).await;
    cluster.world().lead(3);
    cluster.kill(1).await;
    let list = format!("{},{}", cluster.address(1), cluster.address(2));
    let builder = cluster.builder(&[]).server(list);
    let client = builder.connect().await.unwrap();
    client.queue("orders").send("x").await.unwrap();
    cluster.kill(2).await;
    cluster.kill(3).await;
    let error = cluster.builder(&[1, 2, 3]).connect().await.unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }), "{error}");
}

#[tokio::test]
async fn a_leader_whose_address_only_nodes_can_reach_is_asked_over_the_given_one() {
    let cluster = Cluster::new(1, None).await;
    // Nobody listens there.
    cluster.world().nodes = vec![(1, "127.0.0.1:1".to_owned())];
    let client = cluster.client(&[1]).await;
    let queue = client.create_queue("orders", QueueOptions::new()).await;
    queue.unwrap().send("x").await.unwrap();
    assert_eq!(cluster.world().stored, [(1, "x".to_owned())]);
}

#[tokio::test]
async fn operators_get_an_answer_from_any_node_and_refusals_at_once() {
    let script = once(1, kind::ADMIN, |_| Act::Refuse(ErrorCode::NoLeader));
    let cluster = Cluster::new(2, script).await;
    cluster.world().leader = None;
    let client = cluster.client(&[1, 2]).await;
    let error = client.admin("cluster.status", "").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoLeader));
    let answer = client.admin("cluster.status", "{}").await.unwrap();
    assert_eq!(answer, "cluster.status@1");
    let long = " ".repeat(65 * 1024);
    let error = client.admin("cluster.status", long).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::FrameTooLarge));
}

#[tokio::test]
async fn the_limits_hold_over_all_connections_together() {
    let script: Script = Box::new(|_, node, request| match request {
        Request::Send(send) if send.queue.as_str() == "b" => Some(match node {
            1 => Act::Refuse(ErrorCode::NotLeader),
            _ => Act::Ignore,
        }),
        Request::Route(route) if route.queue.is_empty() => Some(Act::Ignore),
        _ => None,
    });
    let cluster = Cluster::new(2, Some(script)).await;
    cluster.world().lead(2);
    let builder = cluster.builder(&[1]).messages_in_flight_max(2);
    let client = builder.connect().await.unwrap();
    let on_the_way = [client.queue("b").send("1"), client.queue("b").send("2")];
    while cluster.world().count(2, kind::SEND) == 0 {
        tokio::task::yield_now().await;
    }
    // Both places are taken at node 2; a message for node 1 has to wait for one.
    cluster.world().lead(1);
    let mut waiting = client.queue("a").send("3");
    client.ping().await.unwrap();
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(cluster.world().stored, []);
    drop(on_the_way);
}

#[tokio::test]
async fn closing_ends_all_connections_once_everything_is_answered() {
    let cluster = Cluster::new(2, None).await;
    cluster.world().lead(2);
    let client = cluster.client(&[1]).await;
    let send = client.queue("orders").send("last words");
    client.close().await;
    send.await.unwrap();
    assert_eq!(cluster.world().stored, [(2, "last words".to_owned())]);
    assert!(matches!(
        client.ping().await.unwrap_err(),
        Error::Closed { .. }
    ));
}
