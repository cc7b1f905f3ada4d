//! Goal: the SDK writes and reads the frames that spec/vectors/wire pins down. Method: a peer
//! compares what comes with a vector's payload, and answers with the bytes of another; what the
//! caller gets is compared with what the vector says in words. Only the request id is the SDK's
//! own choice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sampan_client::{
    Applied, Client, DeathReason, Durability, Error, ErrorCode, Message, MessageId, MessageState,
    PeekOf, QueueOptions, ReceiptHandle, RedriveState, Timestamp, headers,
};
use sampan_protocol::{Frame, FrameHeader, kind};
use support::{Connection, Peer};

/// Title and bytes of every vector of a file.
fn vectors(file: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/wire");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let sections = text.split("\n== ").skip(1);
    let vector = |section: &str| {
        let (title, rest) = section.split_once('\n').unwrap();
        let bytes = rest.split("-- fields").next().unwrap();
        let lines = bytes.lines().filter(|line| !line.starts_with("--"));
        let bytes = lines.flat_map(|line| line.split('#').next().unwrap().split_whitespace());
        let bytes = bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap());
        (title.to_owned(), bytes.collect())
    };
    sections.map(vector).collect()
}

/// The bytes of one vector.
fn vector(file: &str, title: &str) -> Vec<u8> {
    let vectors = vectors(file);
    let found = vectors.into_iter().find(|(name, _)| name == title);
    found.unwrap_or_else(|| panic!("{file} has no {title:?}")).1
}

/// The next frame that the SDK writes by a call, not by itself.
async fn next_frame(connection: &mut Connection) -> Frame {
    loop {
        let frame = connection.next_frame().await.unwrap();
        if frame.header.kind == kind::ROUTE && frame.payload == [0].as_slice() {
            answer(connection, &frame, &vector("route.txt", NOTHING_KNOWN)).await;
            continue;
        }
        return frame;
    }
}

const NOTHING_KNOWN: &str = "route reply: nothing known";

/// Writes a vector's bytes as the reply to `asked`.
async fn answer(connection: &mut Connection, asked: &Frame, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    bytes[8..16].copy_from_slice(&asked.header.request_id.to_le_bytes());
    connection.write_bytes(&bytes).await.unwrap();
}

/// Expects the request of one vector and answers it with those of others.
async fn exchange(connection: &mut Connection, request: (&str, &str), replies: &[(&str, &str)]) {
    let frame = next_frame(connection).await;
    let expected = vector(request.0, request.1);
    assert_eq!(frame.header.kind, expected[4], "{request:?}");
    assert_eq!(frame.payload, expected[FrameHeader::LEN..], "{request:?}");
    for (file, title) in replies {
        answer(connection, &frame, &vector(file, title)).await;
    }
}

async fn connected() -> (Client, Connection) {
    let peer = Peer::new().await;
    peer.connect(peer.client()).await
}

/// A client whose sends have nothing of its own choice.
async fn connected_without_numbers() -> (Client, Connection) {
    let peer = Peer::new().await;
    peer.connect(peer.client().resend_unknown(false)).await
}

#[tokio::test]
async fn sends_and_their_ids() {
    let (client, mut connection) = connected_without_numbers().await;
    let queue = client.queue("orders");
    let traced = headers::encode([("trace", &[1, 2][..]), ("type", b"order")]).unwrap();
    let empty = headers::encode([("empty", &[][..])]).unwrap();
    let messages = [
        Message::new("one").headers(traced),
        Message::new("three bodies here").delay(Duration::from_secs(60)),
        Message::new(vec![0]).headers(empty).delay(Duration::ZERO),
    ];
    let sends = messages.map(|message| queue.send_with(message));
    let request = ("send.txt", "send: three messages with headers and delays");
    let reply = ("send.txt", "sent: a delayed message between two others");
    exchange(&mut connection, request, &[reply]).await;
    let mut ids = Vec::new();
    for mut send in sends {
        ids.push((&mut send).await.unwrap().0);
        assert_eq!(send.durability(), Some(Durability::Async));
    }
    assert_eq!(ids, [1_000, MessageId::DELAYED_BIT | 7, 1_001]);

    let traced = headers::encode([("trace", &[1, 2][..])]).unwrap();
    let messages = vec![
        Message::new("one").headers(traced).dedup_key("order-4711"),
        Message::new("hello"),
        Message::new(vec![0]).dedup_key(vec![0xff]),
    ];
    let send = queue.send_batch(messages);
    let request = ("send.txt", "send: deduplication keys");
    let reply = ("send.txt", "sent: ids of messages that were stored before");
    exchange(&mut connection, request, &[reply]).await;
    assert_eq!(send.await.unwrap(), [1_000, 1_003, 1_000].map(MessageId));

    let traced = headers::encode([("trace", &[1, 2][..])]).unwrap();
    let grouped = |message: Message, key: &[u8]| message.group_key(key.to_vec());
    let messages = vec![
        grouped(Message::new("one"), b"account 12")
            .headers(traced)
            .dedup_key("order-4711"),
        grouped(Message::new("hello"), &[0xfe]),
        Message::new(vec![0]).dedup_key(vec![0xff]),
    ];
    let send = queue.send_batch(messages);
    let request = ("send.txt", "send: group keys");
    exchange(&mut connection, request, &[reply]).await;
    assert_eq!(send.await.unwrap(), [1_000, 1_003, 1_000].map(MessageId));

    let send = queue.send(body_of_the_single_send());
    let reply = ("send.txt", "sent: one id");
    exchange(&mut connection, ("send.txt", "send: one message"), &[reply]).await;
    assert_eq!(send.await.unwrap(), MessageId(1));
}

fn body_of_the_single_send() -> Vec<u8> {
    let bytes = vector("send.txt", "send: one message");
    // Header, producer, queue name, batch header (8), one record (24).
    let name_at = FrameHeader::LEN + PRODUCER_LEN;
    let name_len = usize::from(bytes[name_at]);
    bytes[name_at + 1 + name_len + 8 + 24..].to_vec()
}

/// Session and number.
const PRODUCER_LEN: usize = 24;

#[tokio::test]
async fn a_numbered_send() {
    let (client, mut connection) = connected().await;
    let _send = client.queue("orders").send(body_of_the_single_send());
    let frame = next_frame(&mut connection).await;
    // Session and number are the SDK's own choice.
    let expected = vector("send.txt", "send: numbered by its producer");
    let rest = FrameHeader::LEN + PRODUCER_LEN;
    assert_eq!(frame.payload[PRODUCER_LEN..], expected[rest..]);
    assert_eq!(frame.payload[16..PRODUCER_LEN], 1_u64.to_le_bytes());
}

#[tokio::test]
async fn receives_and_their_messages() {
    let (client, mut connection) = connected().await;
    let queue = client.queue("orders");
    let replies = [
        ("receive.txt", "received: two messages, more to come"),
        ("receive.txt", "received: the last frame of the same reply"),
    ];
    let (received, ()) = tokio::join!(queue.receive(), async {
        let frame = next_frame(&mut connection).await;
        for (file, title) in replies {
            answer(&mut connection, &frame, &vector(file, title)).await;
        }
    });
    let received = received.unwrap();
    let told: Vec<_> = received
        .iter()
        .map(|delivery| (delivery.id.0, delivery.handle.0, delivery.receive_count))
        .collect();
    let delayed = MessageId::DELAYED_BIT | 7;
    assert_eq!(
        told,
        [(1, 37_428, 1), (delayed, 65_613, 3), (1_001, 98_305, 1)]
    );
    assert_eq!(received[0].body, "one");
    let first = received[0].headers().next().unwrap();
    assert_eq!(first, ("trace", &[1, 2][..]));
    assert_eq!(received[1].first_received_at, Timestamp(1_767_225_600_005));
    assert_eq!(received[2].visible_at, Timestamp(1_767_225_630_010));

    assert_eq!(received[0].dedup_key, None);

    let (received, ()) = tokio::join!(queue.receive(), async {
        let frame = next_frame(&mut connection).await;
        let keyed = vector("receive.txt", "received: deduplication keys");
        answer(&mut connection, &frame, &keyed).await;
    });
    let received = received.unwrap();
    let told = received
        .iter()
        .map(|delivery| (&delivery.body[..], delivery.dedup_key.as_deref()));
    let expected = [
        (&b"one"[..], Some(&b"order-4711"[..])),
        (&[0][..], Some(&[0xff][..])),
    ];
    assert!(told.eq(expected));
    assert!(received.iter().all(|delivery| delivery.group_key.is_none()));

    let (received, ()) = tokio::join!(queue.receive(), async {
        let frame = next_frame(&mut connection).await;
        let grouped = vector("receive.txt", "received: group keys");
        answer(&mut connection, &frame, &grouped).await;
    });
    let received = received.unwrap();
    assert!(received[0].id.is_grouped() && !received[1].id.is_grouped());
    let told = received.iter().map(|delivery| {
        let dedup_key = delivery.dedup_key.as_deref();
        (&delivery.body[..], delivery.group_key.as_deref(), dedup_key)
    });
    let expected = [
        (
            &b"one"[..],
            Some(&b"account 12"[..]),
            Some(&b"order-4711"[..]),
        ),
        (&[0][..], Some(&[0xfe][..]), Some(&[0xff][..])),
    ];
    assert!(told.eq(expected));

    let (nothing, ()) = tokio::join!(queue.receive(), async {
        let frame = next_frame(&mut connection).await;
        let nothing = vector("receive.txt", "received: nothing");
        answer(&mut connection, &frame, &nothing).await;
    });
    assert!(nothing.unwrap().is_empty());
}

#[tokio::test]
async fn deletes_and_changes_of_visibility() {
    let (client, mut connection) = connected().await;
    let queue = client.queue("orders");
    let handles = [37_428, 65_613, 9_223_372_036_854_775_807];
    let deletes = handles.map(|handle| queue.delete(ReceiptHandle(handle)));
    let request = ("delete.txt", "delete: three handles");
    exchange(
        &mut connection,
        request,
        &[("delete.txt", "deleted: two failed")],
    )
    .await;
    let mut codes = Vec::new();
    for delete in deletes {
        codes.push(delete.await.err().and_then(|error| error.code()));
    }
    let (expired, malformed) = (ErrorCode::ReceiptExpired, ErrorCode::ReceiptMalformed);
    assert_eq!(codes, [None, Some(expired), Some(malformed)]);

    let delete = queue.delete(ReceiptHandle(1));
    let frame = next_frame(&mut connection).await;
    answer(
        &mut connection,
        &frame,
        &vector("delete.txt", "deleted: all"),
    )
    .await;
    delete.await.unwrap();

    let (received, ()) = tokio::join!(queue.receive(), async {
        let frame = next_frame(&mut connection).await;
        let last = ("receive.txt", "received: the last frame of the same reply");
        answer(&mut connection, &frame, &vector(last.0, last.1)).await;
    });
    let delivery = received.unwrap().remove(0);
    let (released, ()) = tokio::join!(delivery.release(), async {
        let frame = next_frame(&mut connection).await;
        let failed = vector("change_visibility.txt", "visibility changed: one failed");
        answer(&mut connection, &frame, &failed).await;
    });
    assert_eq!(released.unwrap_err().code(), Some(expired));
}

#[tokio::test]
async fn queues() {
    let (client, mut connection) = connected().await;
    let (shown, ()) = tokio::join!(client.show_queue("orders"), async {
        let reply = ("queue_show.txt", "queue shown: with messages");
        exchange(&mut connection, ("queue_show.txt", "queue show"), &[reply]).await;
    });
    let shown = shown.unwrap();
    assert_eq!((shown.id.0, shown.counts.ready), (42, 5_000_000_000));
    let (shown, ()) = tokio::join!(client.show_queue("o"), async {
        let frame = next_frame(&mut connection).await;
        let empty = vector("queue_show.txt", "queue shown: empty");
        answer(&mut connection, &frame, &empty).await;
    });
    let shown = shown.unwrap();
    assert_eq!((shown.name.as_str(), shown.counts.oldest_at), ("o", None));

    let (listed, ()) = tokio::join!(client.list_queues(""), async {
        let request = ("queue_list.txt", "queue list: first page, all names");
        let reply = ("queue_list.txt", "queue listed: two names and more to come");
        exchange(&mut connection, request, &[reply]).await;
        let frame = next_frame(&mut connection).await;
        let none = vector("queue_list.txt", "queue listed: none");
        answer(&mut connection, &frame, &none).await;
    });
    assert_eq!(listed.unwrap(), ["orders-2", "orders-3"]);

    let (done, ()) = tokio::join!(
        async {
            let options = QueueOptions::new();
            client.create_queue("orders", options).await?;
            client.set_queue("orders", options).await?;
            client.delete_queue("orders").await
        },
        async {
            let frame = next_frame(&mut connection).await;
            let created = vector("queue_create.txt", "queue created");
            answer(&mut connection, &frame, &created).await;
            let frame = next_frame(&mut connection).await;
            let changed = vector("queue_set.txt", "queue changed");
            answer(&mut connection, &frame, &changed).await;
            let reply = ("queue_delete.txt", "queue deleted");
            exchange(
                &mut connection,
                ("queue_delete.txt", "queue delete"),
                &[reply],
            )
            .await;
        }
    );
    done.unwrap();
}

#[tokio::test]
async fn purges_rewinds_and_scheduled_messages() {
    let (client, mut connection) = connected().await;
    let queue = client.queue("orders");
    let (purged, ()) = tokio::join!(queue.purge(), async {
        let reply = ("queue_purge.txt", "queue purged");
        exchange(
            &mut connection,
            ("queue_purge.txt", "queue purge"),
            &[reply],
        )
        .await;
    });
    assert_eq!(purged.unwrap(), 5_000_000_000);
    let to = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let (rewound, ()) = tokio::join!(queue.rewind(to), async {
        let reply = ("queue_rewind.txt", "queue rewound");
        exchange(
            &mut connection,
            ("queue_rewind.txt", "queue rewind"),
            &[reply],
        )
        .await;
    });
    assert_eq!(rewound.unwrap(), 5_000_000_000);
    let id = MessageId(MessageId::DELAYED_BIT | 7);
    let (done, ()) = tokio::join!(queue.reschedule(id, Duration::from_secs(60)), async {
        let request = ("reschedule.txt", "reschedule: in a minute");
        exchange(
            &mut connection,
            request,
            &[("reschedule.txt", "rescheduled")],
        )
        .await;
    });
    done.unwrap();
    let (done, ()) = tokio::join!(queue.cancel(id), async {
        let request = ("reschedule.txt", "reschedule: cancel");
        exchange(
            &mut connection,
            request,
            &[("reschedule.txt", "rescheduled")],
        )
        .await;
    });
    done.unwrap();
}

#[tokio::test]
async fn redrives() {
    let (client, mut connection) = connected().await;
    let queue = client.queue("dead");
    let since = UNIX_EPOCH + Duration::from_millis(1_767_225_600_000);
    let redrive = queue.redrive().to("late").since(since).source("orders");
    let redrive = redrive.reason(DeathReason::Age).header("tenant", "acme");
    let redrive = redrive.rate(500);
    let (job, ()) = tokio::join!(redrive.begin(), async {
        let request = ("redrive.txt", "redrive: every filter, all to one queue");
        let reply = ("redrive.txt", "redrive begun");
        exchange(&mut connection, request, &[reply]).await;
    });
    assert_eq!(job.unwrap(), 3);
    let redrive = queue.redrive();
    let (count, ()) = tokio::join!(redrive.dry_run(), async {
        let request = ("redrive.txt", "redrive: dry run without a filter");
        let reply = ("redrive.txt", "redrive counted");
        exchange(&mut connection, request, &[reply]).await;
    });
    assert_eq!(count.unwrap(), 5_000_000_000);
    let (status, ()) = tokio::join!(queue.redrive_status(), async {
        let request = ("redrive.txt", "redrive status");
        let reply = ("redrive.txt", "redrive shown: it goes on");
        exchange(&mut connection, request, &[reply]).await;
    });
    let status = status.unwrap();
    assert_eq!((status.state, status.moving), (RedriveState::Running, 77));
    assert_eq!(status.ended_at, None);
    let (status, ()) = tokio::join!(queue.cancel_redrive(), async {
        let request = ("redrive.txt", "redrive cancel");
        let reply = ("redrive.txt", "redrive cancelled: its end");
        exchange(&mut connection, request, &[reply]).await;
    });
    let status = status.unwrap();
    assert_eq!(status.state, RedriveState::Cancelled);
    assert_eq!((status.looked, status.to.as_str()), (1_500, "late"));
}

#[tokio::test]
async fn looks_at_messages() {
    let (client, mut connection) = connected().await;
    let queue = client.queue("orders");
    let before = MessageId(MessageId::DELAYED_BIT | 6);
    let peek = queue.peek().of(PeekOf::Delayed).after(before);
    let (peeked, ()) = tokio::join!(peek.max(256).max_len(65_536), async {
        let request = ("peek.txt", "peek: delayed messages, a later page");
        let replies = [
            ("peek.txt", "peeked: two messages, more to come"),
            ("peek.txt", "peeked: nothing"),
        ];
        exchange(&mut connection, request, &replies).await;
    });
    let peeked = peeked.unwrap();
    let told: Vec<_> = peeked.iter().map(|it| (it.id.0, it.state)).collect();
    let delayed = MessageId::DELAYED_BIT | 7;
    let (in_flight, is_delayed) = (MessageState::InFlight, MessageState::Delayed);
    assert_eq!(told, [(1, in_flight), (delayed, is_delayed)]);
    assert_eq!(peeked[0].body, "one");
    assert_eq!(peeked[1].first_received_at, None);
    assert_eq!(peeked[1].ready_at, Some(Timestamp(1_767_225_660_000)));

    let (message, ()) = tokio::join!(queue.message(MessageId(1)), async {
        let request = ("peek.txt", "peek: one message");
        let reply = ("peek.txt", "peeked: a ready message");
        exchange(&mut connection, request, &[reply]).await;
    });
    assert_eq!(message.unwrap().unwrap().state, MessageState::Ready);
}

#[tokio::test]
async fn refusals_pings_and_operators_requests() {
    let (client, mut connection) = connected().await;
    let (refused, ()) = tokio::join!(client.show_queue("orders"), async {
        let reply = ("error.txt", "error: a refused request");
        exchange(&mut connection, ("queue_show.txt", "queue show"), &[reply]).await;
    });
    let error = refused.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::QueueNotFound));
    assert_eq!(error.applied(), Applied::No);

    let (pinged, ()) = tokio::join!(client.ping(), async {
        let reply = ("ping.txt", "pong");
        exchange(&mut connection, ("ping.txt", "ping"), &[reply]).await;
    });
    pinged.unwrap();

    let arguments = r#"{"node":2,"undo":false}"#;
    let (answered, ()) = tokio::join!(client.admin("cluster.drain", arguments), async {
        let request = ("admin.txt", "admin: drain a node");
        exchange(&mut connection, request, &[("admin.txt", "admin reply")]).await;
    });
    assert_eq!(answered.unwrap(), r#"{"can_stop":true,"reason":""}"#);
    let (answered, ()) = tokio::join!(client.admin("cluster.status", ""), async {
        let request = ("admin.txt", "admin: without a text");
        exchange(&mut connection, request, &[("admin.txt", "admin reply")]).await;
    });
    answered.unwrap();

    let unknown = "error: outcome unknown, try again after 250 ms";
    let later = "error: about the connection, with a number that readers need not know";
    for (title, number, applied) in [(unknown, 502, Applied::Unknown), (later, 999, Applied::Yes)] {
        let (refused, ()) = tokio::join!(client.admin("cluster.status", ""), async {
            let request = ("admin.txt", "admin: without a text");
            exchange(&mut connection, request, &[("error.txt", title)]).await;
        });
        let error = refused.unwrap_err();
        assert_eq!(error.applied(), applied);
        assert!(matches!(error, Error::Refused { number: told, .. } if told == number));
    }
}

#[tokio::test]
async fn routes() {
    let (client, mut connection) = connected().await;
    let catalog = connection.next_frame().await.unwrap();
    let asked = vector("route.txt", "route: of the catalog");
    assert_eq!(catalog.payload, asked[FrameHeader::LEN..]);
    let reply = vector("route.txt", "route reply: three nodes, the second leads");
    answer(&mut connection, &catalog, &reply).await;
    // The answer to a ping comes behind it, so it has been read by then.
    let (pinged, ()) = tokio::join!(client.ping(), async {
        let frame = next_frame(&mut connection).await;
        answer(&mut connection, &frame, &vector("ping.txt", "pong")).await;
    });
    pinged.unwrap();
    while client.nodes().is_empty() {
        // The supervisor takes it in, in its own turn.
        tokio::task::yield_now().await;
    }
    let nodes = [
        (1, "a.example:7411".to_owned()),
        (2, "b.example:7411".to_owned()),
        (3, "[::1]:7413".to_owned()),
    ];
    assert_eq!(client.nodes(), nodes);

    let _send = client.queue("orders").send("x");
    let frame = connection.next_frame().await.unwrap();
    connection
        .refuse(frame.header.request_id, ErrorCode::NotLeader)
        .await;
    let frame = connection.next_frame().await.unwrap();
    let asked = vector("route.txt", "route: of a queue");
    assert_eq!(frame.payload, asked[FrameHeader::LEN..]);
}

/// The reply kinds that a client decodes; each has a vector that a test above answers with.
#[test]
fn every_reply_kind_has_a_vector_here() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/wire");
    let source = include_str!("vectors.rs");
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        // The handshake is that of every test, by the protocol's own types.
        let is_greeting = ["hello.txt", "authenticate.txt", "README.md"].contains(&name.as_str());
        if is_greeting {
            continue;
        }
        let replies = vectors(&name);
        let replies = replies.iter().filter(|(_, bytes)| bytes[4] >= kind::REPLY);
        for (title, _) in replies {
            assert!(source.contains(&format!("\"{title}\"")), "{title}");
        }
    }
}
