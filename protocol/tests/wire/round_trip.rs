//! Goal: every value that the types allow comes out of its own encoding, and every encoding out of
//! its value. Method: random values of each kind, within the limits of the protocol.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use sampan_protocol::limits::{
    ADMIN_LEN_MAX, BODY_LEN_MAX, ERROR_TEXT_LEN_MAX, FRAME_LEN_MAX, RECEIVE_LEN_MAX,
    RETENTION_MIN_MS, ROUTE_NODE_COUNT_MAX,
};
use sampan_protocol::{
    AttributeChanges, BatchBuilder, ChangeVisibility, ErrorCode, ErrorReply, FrameDecoder,
    FrameHeader, Handles, Hello, MessageId, Name, NewMessage, ProducerNumber, ProducerSession,
    QueueAttributes, QueueList, ReceiptHandle, Receive, Reply, Request, RouteReply, Send, Sent,
    SetId, WhenFull,
};

use crate::strategies::{batch, changes, name, producer, reply, request};

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
    let with_bytes = |bytes, when_full, dead_letter_queue| AttributeChanges {
        byte_count_max: Some(bytes),
        when_full: Some(when_full),
        dead_letter_queue: Some(dead_letter_queue),
        ..unchanged
    };
    let drop_oldest = WhenFull::DropOldestToDeadLetter;
    for right in [
        with_bytes(1, WhenFull::Refuse, 0),
        with_bytes(1 << 50, drop_oldest, 7),
        with_rewind(0, 60_000),
        with_rewind(60_000, 60_000),
        with_window(0),
        with_window(86_400_000),
        with_rest(0, 0),
        with_rest(1, 1),
        with_rest(1, 43_200_000),
        with_counts(1, 1, 0),
        with_counts(1_000_000_000_000, 1_000_000, 100_000_000),
        with_timeout(1_000),
        with_timeout(43_200_000),
        with_retention(RETENTION_MIN_MS),
        with_retention(34_560_000_000),
        with_delay(345_600_000),
        with_size(1),
        with_size(1 << 20),
        with_wait(30_000),
    ] {
        assert!(apply(right).is_ok(), "{right:?}");
    }
    for wrong in [
        with_bytes(0, WhenFull::Refuse, 0),
        with_bytes((1 << 50) + 1, WhenFull::Refuse, 0),
        with_bytes(1, drop_oldest, 0),
        with_rewind(60_001, 60_000),
        with_rest(0, 1),
        with_rest(2, 1),
        with_rest(1, 43_200_001),
        with_counts(0, 1, 0),
        with_counts(1, 0, 0),
        with_counts(1, 1_000_001, 0),
        with_counts(1, 1, 100_000_001),
        with_timeout(999),
        with_timeout(43_200_001),
        with_retention(RETENTION_MIN_MS - 1),
        with_retention(34_560_000_001),
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
