//! Goal: every value that the types allow comes out of its own encoding, and every encoding out of
//! its value. Method: random values of each kind, within the limits of the protocol.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sampan_protocol::limits::{
    ADMIN_LEN_MAX, BODY_LEN_MAX, ERROR_TEXT_LEN_MAX, FRAME_LEN_MAX, KEY_LEN_MAX, RECEIVE_LEN_MAX,
    RECEIVE_WAIT_MAX_MS, RETENTION_MIN_MS, ROUTE_NODE_COUNT_MAX, VISIBILITY_TIMEOUT_MAX_MS,
    VISIBILITY_TIMEOUT_MIN_MS,
};
use sampan_protocol::{
    AdminReply, AdminRequest, Applied, AttributeChanges, Authenticate, Authenticated, BatchBuilder,
    ChangeVisibility, Delete, ErrorCode, ErrorReply, FrameDecoder, FrameHeader, HandleResults,
    Handles, Hello, HelloReply, MessageBatch, MessageId, Name, NewMessage, Peek, PeekOf,
    PeekedMessage, ProducerNumber, ProducerSession, QueueAttributes, QueueCounts, QueueCreate,
    QueueDescription, QueueId, QueueList, QueueListPage, QueueRewind, QueueSet, ReceiptHandle,
    Receive, ReceivedMessage, Reply, Request, Reschedule, RouteReply, RouteRequest, Send, Sent,
    SetId, Timestamp, checksum, headers,
};

fn name() -> impl Strategy<Value = Name> {
    prop_oneof!["[a-zA-Z][a-zA-Z0-9_-]{0,63}", ".{0,80}"].prop_map(|text| Name::from(&text))
}

fn changes() -> impl Strategy<Value = AttributeChanges> {
    let short = || option::of(any::<u32>());
    let long = || option::of(any::<u64>());
    let first = (short(), long(), long(), short(), short());
    let second = (option::of(any::<bool>()), short(), short(), short());
    let counts = (long(), long(), long());
    let dead = (long(), short(), long(), long());
    (first, second, counts, dead).prop_map(|(first, second, counts, dead)| AttributeChanges {
        visibility_timeout_ms: first.0,
        retention_ms: first.1,
        delay_ms: first.2,
        message_size_max: first.3,
        receive_wait_ms: first.4,
        is_paused: second.0,
        redelivery_delay_min_ms: second.1,
        redelivery_delay_max_ms: second.2,
        message_count_max: counts.0,
        in_flight_count_max: counts.1,
        delayed_count_max: counts.2,
        dead_letter_queue: dead.0,
        receive_count_max: dead.1,
        dead_letter_after_ms: dead.2,
        dedup_window_ms: second.3,
        rewind_ms: dead.3,
    })
}

fn encoded_headers() -> impl Strategy<Value = Bytes> {
    vec((".{1,12}", vec(any::<u8>(), 0..20)), 0..4).prop_map(|pairs| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()));
        headers::encode(pairs).unwrap()
    })
}

fn body() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 1..200).prop_map(Bytes::from)
}

fn dedup_key() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=KEY_LEN_MAX).prop_map(Bytes::from)
}

fn batch() -> impl Strategy<Value = MessageBatch> {
    let message = (
        body(),
        encoded_headers(),
        option::of(any::<u64>()),
        dedup_key(),
    );
    vec(message, 1..10).prop_map(|messages| {
        let mut builder = BatchBuilder::new();
        for (body, headers, delay_ms, dedup_key) in messages {
            builder
                .push(NewMessage {
                    body,
                    headers,
                    delay_ms,
                    dedup_key,
                })
                .unwrap();
        }
        builder.finish()
    })
}

fn handles() -> impl Strategy<Value = Handles> {
    vec(any::<u64>(), 1..=256).prop_map(|handles| handles.into_iter().map(ReceiptHandle).collect())
}

fn timeout() -> impl Strategy<Value = u32> {
    VISIBILITY_TIMEOUT_MIN_MS..=VISIBILITY_TIMEOUT_MAX_MS
}

fn receive() -> impl Strategy<Value = Receive> {
    let wait_ms = option::of(0..=RECEIVE_WAIT_MAX_MS);
    (
        name(),
        1..=256_u16,
        0..=RECEIVE_LEN_MAX,
        wait_ms,
        option::of(timeout()),
    )
        .prop_map(
            |(queue, count_max, len_max, wait_ms, visibility_timeout_ms)| Receive {
                queue,
                count_max,
                len_max,
                wait_ms,
                visibility_timeout_ms,
            },
        )
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any::<u16>(), any::<u16>()).prop_map(|(one, other)| Request::Hello(Hello {
            version_min: one.min(other),
            version_max: one.max(other),
        })),
        (name(), any::<[u8; 32]>()).prop_map(|(secret_id, signature)| {
            Request::Authenticate(Authenticate {
                secret_id,
                signature,
            })
        }),
        Just(Request::Ping),
        (name(), changes())
            .prop_map(|(name, changes)| Request::QueueCreate(QueueCreate { name, changes })),
        (name(), changes())
            .prop_map(|(name, changes)| Request::QueueSet(QueueSet { name, changes })),
        name().prop_map(|name| Request::QueueShow { name }),
        name().prop_map(|name| Request::QueueDelete { name }),
        name().prop_map(|name| Request::QueuePurge { name }),
        (name(), any::<u64>()).prop_map(|(name, to)| {
            let to = Timestamp(to);
            Request::QueueRewind(QueueRewind { name, to })
        }),
        (
            name(),
            0..4_usize,
            0..1_u64 << 63,
            1..=256_u16,
            0..=RECEIVE_LEN_MAX
        )
            .prop_map(|(queue, of, id, count_max, len_max)| {
                let all = [
                    PeekOf::Ready,
                    PeekOf::Delayed,
                    PeekOf::InFlight,
                    PeekOf::Message,
                ];
                Request::Peek(Peek {
                    queue,
                    of: all[of],
                    id: MessageId(id),
                    count_max,
                    len_max,
                })
            }),
        (name(), 0..1_u64 << 63, option::of(0..u64::MAX)).prop_map(|(queue, id, delay_ms)| {
            Request::Reschedule(Reschedule {
                queue,
                id: MessageId(id),
                delay_ms,
            })
        }),
        (name(), name(), 1..=1_000_u32).prop_map(|(prefix, after, count_max)| {
            Request::QueueList(QueueList {
                prefix,
                after,
                count_max,
            })
        }),
        name().prop_map(|queue| Request::Route(RouteRequest { queue })),
        (name(), ".{0,300}").prop_map(|(verb, json)| Request::Admin(AdminRequest { verb, json })),
        (name(), producer(), batch()).prop_map(|(queue, producer, batch)| {
            Request::Send(Send {
                queue,
                producer,
                batch,
            })
        }),
        receive().prop_map(Request::Receive),
        (name(), handles()).prop_map(|(queue, handles)| Request::Delete(Delete { queue, handles })),
        (
            name(),
            prop_oneof![Just(0), Just(ChangeVisibility::UNDO_RECEIVE), timeout()],
            handles()
        )
            .prop_map(|(queue, visibility_timeout_ms, handles)| {
                Request::ChangeVisibility(ChangeVisibility {
                    queue,
                    visibility_timeout_ms,
                    handles,
                })
            }),
    ]
}

fn attributes() -> impl Strategy<Value = QueueAttributes> {
    changes().prop_map(|changes| {
        let mut all = AttributeChanges::from(QueueAttributes::default());
        for (tag, value) in changes.named() {
            all.set(tag, value).unwrap();
        }
        all.all().unwrap()
    })
}

fn description() -> impl Strategy<Value = QueueDescription> {
    let at = || option::of((1..u64::MAX).prop_map(Timestamp));
    let counts = (any::<[u64; 6]>(), [at(), at(), at()]);
    (
        [name(), name()],
        any::<[u64; 2]>(),
        any::<u32>(),
        attributes(),
        counts,
    )
        .prop_map(
            |(
                [name, dead_letter_queue],
                [id, created_at],
                set,
                attributes,
                (
                    [ready, delayed, in_flight, moving, undeliverable, rewindable],
                    [oldest_at, due_at, visible_at],
                ),
            )| {
                QueueDescription {
                    name: name.to_string(),
                    id: QueueId(id),
                    set: SetId(set),
                    created_at: Timestamp(created_at),
                    attributes,
                    counts: QueueCounts {
                        ready,
                        delayed,
                        in_flight,
                        oldest_at,
                        due_at,
                        visible_at,
                        moving,
                        undeliverable,
                        rewindable,
                    },
                    dead_letter_queue: dead_letter_queue.to_string(),
                }
            },
        )
}

fn received() -> impl Strategy<Value = ReceivedMessage> {
    let numbers = (
        0..1_u64 << 63,
        0..1_u64 << 63,
        any::<[u64; 3]>(),
        any::<u32>(),
    );
    let content = (encoded_headers(), dedup_key(), body());
    (numbers, content).prop_map(|(numbers, (headers, dedup_key, body))| {
        let (id, handle, [sent_at, first_received_at, visible_at], receive_count) = numbers;
        ReceivedMessage {
            id: MessageId(id),
            handle: ReceiptHandle(handle),
            sent_at: Timestamp(sent_at),
            first_received_at: Timestamp(first_received_at),
            visible_at: Timestamp(visible_at),
            receive_count,
            body_crc32c: checksum(&body),
            headers,
            dedup_key,
            body,
        }
    })
}

fn code() -> impl Strategy<Value = ErrorCode> {
    prop::sample::select(ErrorCode::ALL)
}

fn results() -> impl Strategy<Value = HandleResults> {
    prop::collection::btree_map(0..256_u16, code(), 0..=256).prop_map(|failures| HandleResults {
        failures: failures.into_iter().collect(),
    })
}

fn error() -> impl Strategy<Value = ErrorReply> {
    let applied = prop::sample::select(&[Applied::No, Applied::Yes, Applied::Unknown]);
    (any::<u16>(), applied, any::<u32>(), ".{0,200}").prop_map(
        |(number, applied, retry_after_ms, text)| ErrorReply {
            number,
            applied,
            retry_after_ms,
            text,
        },
    )
}

fn hello_reply() -> impl Strategy<Value = HelloReply> {
    (any::<u16>(), any::<[u8; 32]>(), any::<u32>(), any::<u32>()).prop_map(
        |(version, nonce, frame_len_max, requests_in_flight_max)| HelloReply {
            version,
            nonce,
            frame_len_max,
            requests_in_flight_max,
        },
    )
}

fn route_reply() -> impl Strategy<Value = RouteReply> {
    let node = (1..=u64::MAX, name().prop_map(|name| name.to_string()));
    let leader = option::of(1..=u64::MAX);
    (any::<u32>(), leader, any::<u64>(), vec(node, 0..10)).prop_map(|(set, leader, term, nodes)| {
        RouteReply {
            set: SetId(set),
            leader,
            term,
            nodes,
        }
    })
}

fn producer() -> impl Strategy<Value = Option<ProducerNumber>> {
    let session = any::<[u8; 16]>().prop_filter("not all zeros", |session| *session != [0; 16]);
    let numbered = (session, 1..u64::MAX).prop_map(|(session, number)| ProducerNumber {
        session: ProducerSession(session),
        number,
    });
    option::of(numbered)
}

fn reply() -> impl Strategy<Value = Reply> {
    let runs = vec(((0..1_u64 << 63).prop_map(MessageId), 1..=25_u32), 0..=10);
    prop_oneof![
        hello_reply().prop_map(Reply::Hello),
        any::<u64>().prop_map(|now| {
            let now = Timestamp(now);
            Reply::Authenticated(Authenticated { now })
        }),
        Just(Reply::Pong),
        Just(Reply::QueueCreated),
        Just(Reply::QueueChanged),
        Just(Reply::QueueDeleted),
        Just(Reply::Rescheduled),
        any::<u64>().prop_map(Reply::QueuePurged),
        any::<u64>().prop_map(Reply::QueueRewound),
        vec((received(), 0..4_u64), 0..10).prop_map(|messages| {
            let peeked = messages.into_iter().filter_map(|(mut message, state)| {
                message.handle = ReceiptHandle(state);
                PeekedMessage::from_received(message)
            });
            Reply::Peeked(peeked.collect())
        }),
        description().prop_map(|shown| Reply::QueueShown(Box::new(shown))),
        (vec(name(), 0..50), any::<bool>()).prop_map(|(names, more)| {
            let names = names.iter().map(Name::to_string).collect();
            Reply::QueueListed(QueueListPage { names, more })
        }),
        route_reply().prop_map(Reply::Route),
        ".{0,300}".prop_map(|json| Reply::Admin(AdminReply { json })),
        runs.prop_map(|runs| Reply::Sent(Sent { runs })),
        vec(received(), 0..10).prop_map(Reply::Received),
        results().prop_map(Reply::Deleted),
        results().prop_map(Reply::VisibilityChanged),
        error().prop_map(Reply::Error),
    ]
}

proptest! {
    #[test]
    fn requests_come_out_of_their_encoding(request in request(), request_id in any::<u64>()) {
        let mut out = BytesMut::new();
        request.encode(request_id, &mut out);
        let bytes = out.clone();
        let frame = FrameDecoder::new(FRAME_LEN_MAX).decode(&mut out).unwrap().unwrap();
        prop_assert!(out.is_empty());
        prop_assert_eq!((frame.header.request_id, frame.header.flags), (request_id, 0));
        prop_assert_eq!(frame.header.kind, request.kind());
        let decoded = Request::decode(frame.header.kind, frame.payload).unwrap();
        let mut again = BytesMut::new();
        decoded.encode(request_id, &mut again);
        prop_assert_eq!(again, bytes);
        prop_assert_eq!(decoded, request);
    }

    #[test]
    fn replies_come_out_of_their_encoding(
        reply in reply(), request_id in any::<u64>(), more in any::<bool>(),
    ) {
        let flags = if more { FrameHeader::MORE } else { 0 };
        let mut out = BytesMut::new();
        reply.encode(request_id, flags, &mut out);
        let bytes = out.clone();
        let frame = FrameDecoder::new(FRAME_LEN_MAX).decode(&mut out).unwrap().unwrap();
        prop_assert!(out.is_empty());
        prop_assert_eq!((frame.header.request_id, frame.header.has_more()), (request_id, more));
        let decoded = Reply::decode(frame.header.kind, frame.payload).unwrap();
        let mut again = BytesMut::new();
        decoded.encode(request_id, flags, &mut again);
        prop_assert_eq!(again, bytes);
        prop_assert_eq!(decoded, reply);
    }

    #[test]
    fn a_send_frame_in_pieces_is_the_frame_in_one(
        queue in name(), producer in producer(), batch in batch(), request_id in any::<u64>(),
    ) {
        let mut in_pieces = BytesMut::new();
        let len = batch.as_bytes().len();
        Send::encode_head(request_id, producer, queue.as_str(), len, &mut in_pieces);
        in_pieces.extend_from_slice(batch.as_bytes());
        let mut in_one = BytesMut::new();
        let send = Send { queue, producer, batch };
        Request::Send(send).encode(request_id, &mut in_one);
        prop_assert_eq!(in_pieces, in_one);
    }

    #[test]
    fn changed_attributes_are_in_their_ranges_or_refused(changes in changes()) {
        match changes.applied_to(QueueAttributes::default()) {
            Ok(attributes) => prop_assert_eq!(attributes.check(), Ok(())),
            Err(refused) => {
                prop_assert_eq!(refused.code, ErrorCode::AttributeOutOfRange);
                prop_assert!(refused.text.contains(" to "), "{}", refused.text);
            }
        }
    }
}

#[test]
fn a_decoded_body_is_a_slice_of_the_read_buffer() {
    let mut builder = BatchBuilder::new();
    let body = Bytes::from(vec![5; BODY_LEN_MAX]);
    builder
        .push(NewMessage {
            body,
            ..NewMessage::default()
        })
        .unwrap();
    let mut buffer = BytesMut::new();
    let queue = Name::from("orders");
    let send = Send {
        queue,
        producer: None,
        batch: builder.finish(),
    };
    Request::Send(send).encode(1, &mut buffer);
    let held = buffer.as_ptr_range();
    let frame = FrameDecoder::new(FRAME_LEN_MAX)
        .decode(&mut buffer)
        .unwrap()
        .unwrap();
    let Ok(Request::Send(send)) = Request::decode(frame.header.kind, frame.payload) else {
        panic!("not a send frame");
    };
    assert!(held.contains(&send.batch.body(0).unwrap().as_ptr()));
    assert!(held.contains(&send.queue.as_str().as_ptr()));
}

#[test]
fn values_out_of_range_are_refused_with_the_range_in_the_text() {
    let receive = Receive {
        queue: Name::from("q"),
        count_max: 1,
        len_max: 0,
        wait_ms: None,
        visibility_timeout_ms: None,
    };
    let with = |change: &dyn Fn(&mut Receive)| {
        let mut receive = receive.clone();
        change(&mut receive);
        refusal(&Request::Receive(receive))
    };
    let (code, text) = with(&|receive| receive.count_max = 257);
    assert_eq!(code, ErrorCode::ReceiveOutOfRange);
    assert_eq!(text, "count_max is 257, allowed are 1 to 256");
    assert_eq!(
        with(&|receive| receive.count_max = 0).0,
        ErrorCode::ReceiveOutOfRange
    );
    let long = RECEIVE_LEN_MAX + 1;
    assert_eq!(
        with(&|receive| receive.len_max = long).0,
        ErrorCode::ReceiveOutOfRange
    );
    let (code, text) = with(&|receive| receive.wait_ms = Some(30_001));
    assert_eq!(code, ErrorCode::WaitOutOfRange);
    assert_eq!(text, "wait_ms is 30001, allowed are 0 to 30000");
    for timeout in [0, 999, 43_200_001] {
        let (code, _) = with(&|receive| receive.visibility_timeout_ms = Some(timeout));
        assert_eq!(code, ErrorCode::VisibilityTimeoutOutOfRange, "{timeout}");
    }
    for count_max in [0, 1_001, u32::MAX] {
        let (prefix, after) = (Name::default(), Name::default());
        let list = Request::QueueList(QueueList {
            prefix,
            after,
            count_max,
        });
        assert_eq!(refusal(&list).0, ErrorCode::ReceiveOutOfRange);
    }
    let change = |visibility_timeout_ms| {
        let handles = Handles::from_iter([ReceiptHandle(1)]);
        let queue = Name::from("q");
        refusal(&Request::ChangeVisibility(ChangeVisibility {
            queue,
            visibility_timeout_ms,
            handles,
        }))
    };
    assert_eq!(change(999).0, ErrorCode::VisibilityTimeoutOutOfRange);
    assert_eq!(change(43_200_001).0, ErrorCode::VisibilityTimeoutOutOfRange);
}

/// How a request that must not be accepted is refused.
fn refusal(request: &Request) -> (ErrorCode, String) {
    let mut out = BytesMut::new();
    request.encode(1, &mut out);
    let error =
        Request::decode(request.kind(), out.freeze().slice(FrameHeader::LEN..)).unwrap_err();
    assert!(!error.fatal());
    let reply = ErrorReply::from(&error);
    (reply.code().unwrap(), reply.text)
}

#[test]
fn a_session_without_a_number_and_a_number_without_a_session_are_malformed() {
    for (session, number) in [([0; 16], 1), ([1; 16], 0)] {
        let mut builder = BatchBuilder::new();
        let body = Bytes::from_static(b"x");
        let message = NewMessage {
            body,
            ..NewMessage::default()
        };
        builder.push(message).unwrap();
        let send = Send {
            queue: Name::from("q"),
            producer: Some(ProducerNumber {
                session: ProducerSession(session),
                number,
            }),
            batch: builder.finish(),
        };
        let refused = refusal(&Request::Send(send)).0;
        assert_eq!(refused, ErrorCode::MalformedFrame, "{number}");
    }
}

#[test]
fn attributes_are_refused_just_outside_of_their_ranges() {
    let apply = |changes: AttributeChanges| changes.applied_to(QueueAttributes::default());
    let unchanged = AttributeChanges::default();
    let with_timeout = |ms| AttributeChanges {
        visibility_timeout_ms: Some(ms),
        ..unchanged
    };
    let with_retention = |ms| AttributeChanges {
        retention_ms: Some(ms),
        ..unchanged
    };
    let with_delay = |ms| AttributeChanges {
        delay_ms: Some(ms),
        ..unchanged
    };
    let with_size = |len| AttributeChanges {
        message_size_max: Some(len),
        ..unchanged
    };
    let with_wait = |ms| AttributeChanges {
        receive_wait_ms: Some(ms),
        ..unchanged
    };
    let with_rest = |min, max| AttributeChanges {
        redelivery_delay_min_ms: Some(min),
        redelivery_delay_max_ms: Some(max),
        ..unchanged
    };
    let with_counts = |messages, in_flight, delayed| AttributeChanges {
        message_count_max: Some(messages),
        in_flight_count_max: Some(in_flight),
        delayed_count_max: Some(delayed),
        ..unchanged
    };
    let with_window = |ms| AttributeChanges {
        dedup_window_ms: Some(ms),
        ..unchanged
    };
    let with_rewind = |ms, retention_ms| AttributeChanges {
        rewind_ms: Some(ms),
        retention_ms: Some(retention_ms),
        ..unchanged
    };
    for right in [
        with_rewind(0, 60_000),
        with_rewind(60_000, 60_000),
        with_window(0),
        with_window(86_400_000),
        with_rest(0, 0),
        with_rest(1, 1),
        with_rest(1, 43_200_000),
        with_counts(1, 1, 0),
        with_counts(1_000_000_000_000, 1_000_000, 1_000_000),
        with_timeout(1_000),
        with_timeout(43_200_000),
        with_retention(RETENTION_MIN_MS),
        with_retention(1_296_000_000),
        with_delay(345_600_000),
        with_size(1),
        with_size(1 << 20),
        with_wait(30_000),
    ] {
        assert!(apply(right).is_ok(), "{right:?}");
    }
    for wrong in [
        with_rewind(60_001, 60_000),
        with_rest(0, 1),
        with_rest(2, 1),
        with_rest(1, 43_200_001),
        with_counts(0, 1, 0),
        with_counts(1, 0, 0),
        with_counts(1, 1_000_001, 0),
        with_counts(1, 1, 1_000_001),
        with_timeout(999),
        with_timeout(43_200_001),
        with_retention(RETENTION_MIN_MS - 1),
        with_retention(1_296_000_001),
        with_delay(345_600_001),
        with_size(0),
        with_size((1 << 20) + 1),
        with_wait(30_001),
    ] {
        assert!(apply(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_text_of_an_error_is_cut_at_its_limit() {
    let error = ErrorReply::new(ErrorCode::Internal, &"ä".repeat(ERROR_TEXT_LEN_MAX));
    assert_eq!(error.text.len(), ERROR_TEXT_LEN_MAX);
    let mut out = BytesMut::new();
    Reply::Error(error.clone()).encode(1, 0, &mut out);
    let payload = out.freeze().slice(FrameHeader::LEN..);
    assert_eq!(Reply::decode(0xFF, payload), Ok(Reply::Error(error)));
}

#[test]
fn long_lists_of_nodes_are_cut_and_long_texts_are_refused() {
    let nodes = (1..=300).map(|node| (node, "h:1".to_owned())).collect();
    let route = RouteReply {
        set: SetId(1),
        leader: None,
        term: 1,
        nodes,
    };
    let mut out = BytesMut::new();
    Reply::Route(route).encode(1, 0, &mut out);
    let payload = out.split().freeze().slice(FrameHeader::LEN..);
    let Ok(Reply::Route(route)) = Reply::decode(0x95, payload.clone()) else {
        panic!("not a route reply");
    };
    assert_eq!(route.nodes.len(), ROUTE_NODE_COUNT_MAX);

    // One more than allowed: the count comes after set, leader and term.
    let mut longer = BytesMut::from(&payload[..]);
    longer[20..22].copy_from_slice(&257_u16.to_le_bytes());
    longer.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let error = Reply::decode(0x95, longer.freeze()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MalformedFrame);

    let mut long = BytesMut::from(&[0_u8][..]);
    let len = u32::try_from(ADMIN_LEN_MAX + 1).unwrap();
    long.extend_from_slice(&len.to_le_bytes());
    long.resize(5 + ADMIN_LEN_MAX + 1, b' ');
    let error = Request::decode(0x30, long.freeze()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MalformedFrame);
    assert!(!error.fatal());
}

#[test]
fn a_hello_of_another_protocol_or_version_is_fatal() {
    let cases: [(&'static [u8], bool); 4] = [
        (b"SMPN\x01\x00\x05\x00", true),
        (b"GET / HT", false),
        (b"SMPN\x05\x00\x01\x00", false),
        (b"SM", false),
    ];
    for (payload, right) in cases {
        let decoded = Request::decode(1, Bytes::from_static(payload));
        assert_eq!(decoded.is_ok(), right, "{payload:?}");
        if let Err(error) = decoded {
            assert!(error.fatal());
            assert_eq!(error.code(), ErrorCode::UnsupportedVersion);
        }
    }
    let hello = |version_min, version_max| {
        Hello {
            version_min,
            version_max,
        }
        .agreed_version()
    };
    assert_eq!(
        (hello(1, 1), hello(0, 9), hello(2, 9)),
        (Some(1), Some(1), None)
    );
}

#[test]
fn headers_that_are_not_headers_are_refused_in_a_send() {
    let mut builder = BatchBuilder::new();
    let headers = Bytes::from_static(&[5, b'a']);
    builder
        .push(NewMessage {
            body: Bytes::from_static(b"x"),
            headers,
            ..NewMessage::default()
        })
        .unwrap();
    let queue = Name::from("q");
    let send = Send {
        queue,
        producer: None,
        batch: builder.finish(),
    };
    assert_eq!(
        refusal(&Request::Send(send)).0,
        ErrorCode::HeadersOutOfRange
    );
}

#[test]
fn ids_of_a_send_come_one_by_one() {
    let sent = Sent {
        runs: vec![(MessageId(5), 2), (MessageId(9), 1)],
    };
    assert!(sent.ids().eq([MessageId(5), MessageId(6), MessageId(9)]));
    assert_eq!(Sent::of(sent.ids()), sent);
    let back = [7, 5, 6, 5, 5].map(MessageId);
    let sent = Sent::of(back);
    assert_eq!(sent.runs.len(), 4);
    assert!(sent.ids().eq(back));
}
