//! Getting, keeping and closing a connection: TLS, refusals, silence, timeouts.
//!
//! Method: as in the other tests; time limits of the client are set so short that they come at
//! once, and nothing depends on how short they are.

mod support;

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::time::Duration;

use sampan_client::{Applied, Client, Error, ErrorCode, MessageId, QueueOptions};
use sampan_protocol::{
    ChangeVisibility, QueueAttributes, QueueCounts, QueueDescription, QueueId, QueueListPage,
    Reply, Request, SetId, Timestamp,
};
use support::{Asked, Connection, Peer, SECRET_ID, SECRET_KEY, messages};

#[tokio::test]
async fn a_client_talks_tls_with_a_broker_whose_ca_it_was_given() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let peer = Peer::new().await;
    let server = format!("sampan+tls://localhost:{}", peer.port());
    let at = |server: &str| {
        let builder = Client::builder().server(server);
        builder.secret_id(SECRET_ID).secret_key(SECRET_KEY)
    };
    let builder = at(&server).ca_pem(certified.cert.pem());
    let (client, connection) = tokio::join!(builder.connect(), async {
        let stream = acceptor.accept(peer.accept_silently().await).await.unwrap();
        let mut connection = Connection::new(Box::new(stream));
        connection.shake_hands(100).await;
        connection
    });
    let (client, mut connection) = (client.unwrap(), connection);
    let sends: Vec<_> = (0..20)
        .map(|_| client.queue("orders").send(vec![b'x'; 70_000]))
        .collect();
    for number in 0..20 {
        let (id, frame) = connection.next_send().await;
        assert_eq!(frame.batch.check_bodies(), Ok(()));
        connection.sent(id, number, 1).await;
    }
    for (number, send) in sends.into_iter().enumerate() {
        assert_eq!(send.await.unwrap(), MessageId(number as u64));
    }

    // A broker with a certificate of somebody else is not talked to.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let builder = at(&server).ca_pem(other.cert.pem());
    let (refused, _) = tokio::join!(builder.connect(), async {
        acceptor
            .accept(peer.accept_silently().await)
            .await
            .map(drop)
    });
    assert!(matches!(refused.unwrap_err(), Error::Disconnected { .. }));
}

#[tokio::test]
async fn a_refused_account_and_a_missing_broker_are_different_errors() {
    let peer = Peer::new().await;
    let (refused, ()) = tokio::join!(peer.client().connect(), async {
        let mut connection = Connection::new(Box::new(peer.accept_silently().await));
        let hello = connection.next().await;
        connection
            .refuse(hello.id, ErrorCode::UnsupportedVersion)
            .await;
    });
    let error = refused.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnsupportedVersion));
    assert!(!error.retry());

    let gone = peer.client();
    drop(peer);
    let error = gone.connect().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Disconnected {
                applied: Applied::No,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.retry());

    let error = Client::builder()
        .server("localhost:1")
        .connect()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Configuration { .. }), "{error}");
}

#[tokio::test]
async fn a_broker_that_says_nothing_at_all_times_out() {
    let peer = Peer::new().await;
    let builder = peer.client().connect_timeout(Duration::from_millis(1));
    let error = builder.connect().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TimedOut {
                applied: Applied::No
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_silent_broker_is_asked_whether_it_is_there_and_left_when_it_is_not() {
    let peer = Peer::new().await;
    let builder = peer.client().keep_alive(Duration::from_millis(20));
    let (client, mut connection) = peer.connect(builder).await;
    let asked = connection.next().await;
    assert!(matches!(asked.request, Request::Ping), "{asked:?}");
    // No answer: the connection ends and another one is made.
    connection.expect_end().await;
    peer.accept().await;
    drop(client);
}

#[tokio::test]
async fn a_request_without_a_reply_times_out_and_its_late_messages_are_released() {
    let peer = Peer::new().await;
    let builder = peer.client().request_timeout(Duration::from_secs(8));
    let builder = builder.keep_alive(Duration::MAX);
    let (client, mut connection) = peer.connect(builder).await;
    // From here on time passes only while everybody waits.
    tokio::time::pause();
    let queue = client.queue("orders");
    let send = queue.send("unanswered");
    let (late_send, _) = connection.next_send().await;
    let error = answering_pings(&mut connection, send).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TimedOut {
                applied: Applied::Unknown
            }
        ),
        "{error}"
    );
    let mut receive = queue.receive().max(2).wait(Duration::ZERO).into_future();
    assert!(futures::poll!(&mut receive).is_pending());
    let late = next_but_pings(&mut connection).await.expect("a receive");
    assert!(matches!(late.request, Request::Receive(_)), "{late:?}");
    let received = answering_pings(&mut connection, receive).await;
    assert!(matches!(received.unwrap_err(), Error::TimedOut { .. }));
    tokio::time::resume();
    connection.sent(late_send, 1, 1).await;
    connection.reply(late.id, messages(1..3)).await;
    let asked = next_but_pings(&mut connection).await.expect("a release");
    let Request::ChangeVisibility(change) = asked.request else {
        panic!("{asked:?}")
    };
    let handles: Vec<_> = change.handles.iter().map(|handle| handle.0).collect();
    assert_eq!(
        (handles, change.visibility_timeout_ms),
        (vec![1_001, 1_002], ChangeVisibility::UNDO_RECEIVE)
    );
}

/// Answers pings until something else comes, or the end.
async fn next_but_pings(connection: &mut Connection) -> Option<Asked> {
    loop {
        let asked = connection.next_or_end().await?;
        if !matches!(asked.request, Request::Ping) {
            return Some(asked);
        }
        connection.reply(asked.id, Reply::Pong).await;
    }
}

/// Waits for something while the peer answers pings and nothing else.
async fn answering_pings<T>(connection: &mut Connection, what: impl Future<Output = T>) -> T {
    tokio::select! {
        done = what => done,
        asked = next_but_pings(connection) => panic!("{asked:?}"),
    }
}

#[tokio::test]
async fn time_without_a_connection_counts_and_such_a_timeout_did_nothing() {
    let peer = Peer::new().await;
    let builder = peer.client().request_timeout(Duration::from_millis(20));
    let (client, connection) = peer.connect(builder).await;
    let queue = client.queue("orders");
    drop((connection, peer));
    loop {
        // The first may be written before the client notices that nobody is there.
        let error = queue.send("waits").await.unwrap_err();
        if matches!(
            error,
            Error::TimedOut {
                applied: Applied::No
            }
        ) {
            break;
        }
    }
}

#[tokio::test]
async fn receives_leave_request_slots_to_everything_else() {
    let mut peer = Peer::new().await;
    peer.requests_in_flight_max = 8;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let queue = client.queue("orders");
    let mut receives = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let queue = queue.clone();
        receives.spawn(async move { queue.receive().wait(Duration::from_secs(30)).await });
    }
    let mut parked = Vec::new();
    for _ in 0..6 {
        parked.push(connection.next_receive().await.0);
    }
    let send = queue.send("passes");
    let (id, _) = connection.next_send().await;
    connection.sent(id, 1, 1).await;
    send.await.unwrap();
    for answered in 0..20 {
        let id = parked.remove(0);
        connection.reply(id, messages(answered..answered + 1)).await;
        if answered < 14 {
            parked.push(connection.next_receive().await.0);
        }
    }
    for received in receives.join_all().await {
        assert_eq!(received.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn close_finishes_what_was_accepted_and_refuses_the_rest() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client().messages_in_flight_max(1)).await;
    let queue = client.queue("orders");
    let accepted = queue.send("accepted");
    let mut waiting = queue.send("waits for room");
    assert!(futures::poll!(&mut waiting).is_pending());
    let ((), ()) = tokio::join!(client.close(), async {
        let (id, _) = connection.next_send().await;
        let error = queue.send("too late").await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::Closed {
                    applied: Applied::No
                }
            ),
            "{error}"
        );
        connection.sent(id, 3, 1).await;
        connection.expect_end().await;
    });
    assert_eq!(accepted.await.unwrap(), MessageId(3));
    assert!(matches!(
        waiting.await.unwrap_err(),
        Error::Closed {
            applied: Applied::No
        }
    ));
    assert!(matches!(
        client.ping().await.unwrap_err(),
        Error::Closed { .. }
    ));
}

#[tokio::test]
async fn dropping_the_last_handle_finishes_what_was_accepted() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let send = client.queue("orders").send("last words");
    drop(client);
    let (id, _) = connection.next_send().await;
    connection.sent(id, 1, 1).await;
    connection.expect_end().await;
    send.await.unwrap();
}

#[test]
fn futures_do_not_wait_for_a_runtime_that_is_gone() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let (send, client, connection) = first.block_on(async {
        let peer = Peer::new().await;
        let (client, mut connection) = peer.connect(peer.client()).await;
        let send = client.queue("orders").send("unanswered");
        connection.next_send().await;
        (send, client, connection)
    });
    drop(first);
    runtime().block_on(async {
        let error = send.await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::Closed {
                    applied: Applied::Unknown
                }
            ),
            "{error}"
        );
        let error = client.queue("orders").send("more").await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::Closed {
                    applied: Applied::No
                }
            ),
            "{error}"
        );
        client.close().await;
    });
    drop(connection);
}

#[tokio::test]
async fn queues_are_created_changed_shown_listed_and_deleted() {
    let peer = Peer::new().await;
    let (client, mut connection) = peer.connect(peer.client()).await;
    let description = QueueDescription {
        name: "orders".to_owned(),
        id: QueueId(4),
        set: SetId(1),
        created_at: Timestamp(9),
        attributes: QueueAttributes::default(),
        counts: QueueCounts {
            ready: 1,
            delayed: 2,
            in_flight: 3,
            oldest_at: Some(Timestamp(5)),
            ..QueueCounts::default()
        },
        dead_letter_queue: String::new(),
    };
    let expected = description.clone();
    let options = QueueOptions::new()
        .delay(Duration::from_secs(1))
        .message_size_max(77);
    let ((), ()) = tokio::join!(
        async {
            let queue = client.create_queue("orders", options).await.unwrap();
            assert_eq!(queue.name(), "orders");
            let error = client.set_queue("orders", options).await.unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::AttributeOutOfRange));
            client
                .set_queue("orders", QueueOptions::new())
                .await
                .unwrap();
            assert_eq!(client.show_queue("orders").await.unwrap(), expected);
            assert_eq!(client.list_queues("o").await.unwrap(), ["o1", "o2", "o3"]);
            client.delete_queue("orders").await.unwrap();
        },
        async {
            let asked = connection.next().await;
            let Request::QueueCreate(create) = asked.request else {
                panic!("{asked:?}")
            };
            assert_eq!(create.changes.delay_ms, Some(1_000));
            assert_eq!(create.changes.message_size_max, Some(77));
            connection.reply(asked.id, Reply::QueueCreated).await;
            let asked = connection.next().await;
            connection
                .refuse(asked.id, ErrorCode::AttributeOutOfRange)
                .await;
            let asked = connection.next().await;
            connection.reply(asked.id, Reply::QueueChanged).await;
            let asked = connection.next().await;
            connection
                .reply(asked.id, Reply::QueueShown(Box::new(description)))
                .await;
            for (after, names, more) in [("", vec!["o1", "o2"], true), ("o2", vec!["o3"], false)] {
                let asked = connection.next().await;
                let Request::QueueList(list) = asked.request else {
                    panic!("{asked:?}")
                };
                assert_eq!((list.prefix.as_str(), list.after.as_str()), ("o", after));
                let names = names.into_iter().map(str::to_owned).collect();
                let page = QueueListPage { names, more };
                connection.reply(asked.id, Reply::QueueListed(page)).await;
            }
            let asked = connection.next().await;
            connection.reply(asked.id, Reply::QueueDeleted).await;
        }
    );
}
