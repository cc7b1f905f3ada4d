//! Goal: a batch comes out as it went in, and nothing but a right batch is taken over.
//! Method: batches of the builder, whole, damaged in one place, and at each limit.

use super::*;

fn message(body: &[u8], headers: &[u8], delay_ms: Option<u64>) -> NewMessage {
    NewMessage {
        body: Bytes::copy_from_slice(body),
        headers: Bytes::copy_from_slice(headers),
        delay_ms,
        ..NewMessage::default()
    }
}

fn keyed(body: &[u8], headers: &[u8], key: &[u8]) -> NewMessage {
    NewMessage {
        dedup_key: Bytes::copy_from_slice(key),
        ..message(body, headers, None)
    }
}

fn batch_of(messages: impl IntoIterator<Item = NewMessage>) -> MessageBatch {
    let mut builder = BatchBuilder::new();
    for message in messages {
        builder.push(message).unwrap();
    }
    builder.finish()
}

/// The batch of two messages with `change` made to its bytes.
fn decode_changed(change: impl FnOnce(&mut BytesMut)) -> Result<MessageBatch, ErrorCode> {
    let batch = batch_of([message(b"one", b"h", None), message(b"three", b"", Some(5))]);
    let mut bytes = BytesMut::from(&batch.as_bytes()[..]);
    change(&mut bytes);
    MessageBatch::decode(bytes.freeze())
}

#[test]
fn messages_come_out_as_they_went_in() {
    let batch = batch_of([
        message(b"one", b"hh", None),
        message(b"three", b"", Some(0)),
    ]);
    let decoded = MessageBatch::decode(batch.as_bytes().clone()).unwrap();
    assert_eq!(decoded, batch);
    assert_eq!(decoded.count(), 2);
    assert!(decoded.has_delays());
    let delays: Vec<_> = decoded.records().map(|record| record.delay_ms).collect();
    assert_eq!(delays, [MessageRecord::DELAY_DEFAULT, 0]);
    assert_eq!(decoded.body(0).unwrap(), &b"one"[..]);
    assert_eq!(decoded.body(1).unwrap(), &b"three"[..]);
    assert_eq!(decoded.body(2), None);
    assert_eq!(decoded.body_len_max(), 5);
    assert_eq!(decoded.check_bodies(), Ok(()));
}

#[test]
fn places_of_messages_count_from_the_start_of_the_bytes() {
    let batch = batch_of([message(b"one", b"hh", None), message(b"three", b"", None)]);
    let (record, start) = batch.messages(1).next().unwrap();
    assert_eq!(
        &batch.as_bytes()[start..start + record.content_len()],
        b"three"
    );
    let (record, start) = batch.messages(0).next().unwrap();
    assert_eq!(
        &batch.as_bytes()[start..start + record.content_len()],
        b"hhone"
    );
}

#[test]
fn a_deduplication_key_lies_between_headers_and_body_and_is_taken_for_neither() {
    let batch = batch_of([
        keyed(b"one", b"hh", b"key"),
        message(b"three", b"h", None),
        keyed(b"x", b"", &[7; KEY_LEN_MAX]),
    ]);
    let decoded = MessageBatch::decode(batch.as_bytes().clone()).unwrap();
    let keys: Vec<_> = decoded
        .messages(0)
        .map(|(record, start)| decoded.dedup_key(&record, start))
        .collect();
    assert_eq!(keys, [&b"key"[..], b"", &[7; KEY_LEN_MAX]]);
    let bodies: Vec<_> = (0..3).map(|index| decoded.body(index).unwrap()).collect();
    assert_eq!(bodies, [&b"one"[..], b"three", b"x"]);
    assert_eq!(decoded.check_bodies(), Ok(()), "of the bodies only");
    let (record, start) = decoded.messages(0).next().unwrap();
    assert_eq!(
        &decoded.as_bytes()[start..start + record.content_len()],
        b"hhkeyone"
    );
}

#[test]
fn a_group_key_lies_before_the_deduplication_key_and_neither_is_taken_for_the_other() {
    let grouped = |key: &[u8], message| NewMessage {
        group_key: Bytes::copy_from_slice(key),
        ..message
    };
    let batch = batch_of([
        grouped(b"group", keyed(b"one", b"hh", b"key")),
        grouped(b"g", message(b"three", b"h", None)),
        keyed(b"x", b"", b"k"),
        grouped(&[7; KEY_LEN_MAX], message(b"y", b"", None)),
    ]);
    let decoded = MessageBatch::decode(batch.as_bytes().clone()).unwrap();
    let keys: Vec<_> = decoded
        .messages(0)
        .map(|(record, start)| {
            let group_key = decoded.group_key(&record, start);
            (group_key, decoded.dedup_key(&record, start))
        })
        .collect();
    let longest = &[7; KEY_LEN_MAX][..];
    let none = &b""[..];
    let expected = [
        (&b"group"[..], &b"key"[..]),
        (b"g", none),
        (none, b"k"),
        (longest, none),
    ];
    assert_eq!(keys, expected);
    let bodies: Vec<_> = (0..4).map(|index| decoded.body(index).unwrap()).collect();
    assert_eq!(bodies, [&b"one"[..], b"three", b"x", b"y"]);
    let long = grouped(&[7; KEY_LEN_MAX + 1], message(b"y", b"", None));
    let refused = BatchBuilder::new().push(long);
    assert_eq!(refused, Err(ErrorCode::HeadersOutOfRange));
}

#[test]
fn bodies_are_shared_and_not_copied() {
    let batch = batch_of([message(&[7; 1000], b"", None)]);
    let body = batch.body(0).unwrap();
    let (_, start) = batch.messages(0).next().unwrap();
    assert_eq!(body.as_ptr(), batch.as_bytes()[start..].as_ptr());
}

#[test]
fn a_batch_without_delays_says_so() {
    assert!(!batch_of([message(b"a", b"", None)]).has_delays());
}

#[test]
fn a_changed_body_is_found_by_its_checksum() {
    let batch = decode_changed(|bytes| *bytes.last_mut().unwrap() ^= 1).unwrap();
    assert_eq!(batch.check_bodies(), Err(1));
}

#[test]
fn missing_and_surplus_bytes_are_refused() {
    let batch = batch_of([message(b"one", b"h", None)]);
    for len in 0..batch.as_bytes().len() {
        let cut = MessageBatch::decode(batch.as_bytes().slice(..len));
        assert_eq!(cut, Err(ErrorCode::MalformedFrame), "{len} bytes");
    }
    let surplus = decode_changed(|bytes| bytes.put_u8(0));
    assert_eq!(surplus, Err(ErrorCode::MalformedFrame));
}

#[test]
fn reserved_fields_must_be_zero() {
    // Flags, reserved of the header, reserved of the record.
    for place in [2, 3, 4, 7, 28, 31, 55] {
        let decoded = decode_changed(|bytes| bytes[place] ^= 0x40);
        assert_eq!(decoded, Err(ErrorCode::ReservedField), "byte {place}");
    }
}

#[test]
fn the_flag_for_delays_must_be_right() {
    let unset = decode_changed(|bytes| bytes[2] = 0);
    assert_eq!(unset, Err(ErrorCode::MalformedFrame));
    let no_delay = batch_of([message(b"a", b"", None)]);
    let mut bytes = BytesMut::from(&no_delay.as_bytes()[..]);
    bytes[2] = 1;
    assert_eq!(
        MessageBatch::decode(bytes.freeze()),
        Err(ErrorCode::MalformedFrame)
    );
}

#[test]
fn counts_out_of_range_are_refused() {
    for count in [0_u16, 257, u16::MAX] {
        let decoded = decode_changed(|bytes| bytes[..2].copy_from_slice(&count.to_le_bytes()));
        assert_eq!(decoded, Err(ErrorCode::BatchOutOfRange), "{count} messages");
    }
}

#[test]
fn lengths_out_of_range_are_refused_by_their_own_number() {
    let body_len = |len: u32| {
        decode_changed(|bytes| bytes[8..12].copy_from_slice(&len.to_le_bytes())).map(|_| ())
    };
    assert_eq!(body_len(0), Err(ErrorCode::BodyEmpty));
    assert_eq!(body_len(1 << 20), Err(ErrorCode::MalformedFrame));
    assert_eq!(body_len((1 << 20) + 1), Err(ErrorCode::MessageTooLarge));
    assert_eq!(body_len(u32::MAX), Err(ErrorCode::MessageTooLarge));
    let headers_len = |len: u16| {
        decode_changed(|bytes| bytes[24..26].copy_from_slice(&len.to_le_bytes())).map(|_| ())
    };
    assert_eq!(headers_len(4352), Err(ErrorCode::MalformedFrame));
    assert_eq!(headers_len(4353), Err(ErrorCode::HeadersOutOfRange));
    let key_len = |len: u8| decode_changed(|bytes| bytes[27] = len).map(|_| ());
    assert_eq!(key_len(128), Err(ErrorCode::MalformedFrame));
    assert_eq!(key_len(129), Err(ErrorCode::HeadersOutOfRange));
    assert_eq!(key_len(255), Err(ErrorCode::HeadersOutOfRange));
}

#[test]
fn the_builder_refuses_what_decode_would_refuse() {
    let mut builder = BatchBuilder::new();
    let refused = |builder: &mut BatchBuilder, message| builder.push(message).unwrap_err();
    assert_eq!(
        refused(&mut builder, message(b"", b"", None)),
        ErrorCode::BodyEmpty
    );
    let long = message(&vec![0; BODY_LEN_MAX + 1], b"", None);
    assert_eq!(refused(&mut builder, long), ErrorCode::MessageTooLarge);
    let headers = message(b"a", &[0; STORED_HEADERS_LEN_MAX + 1], None);
    assert_eq!(refused(&mut builder, headers), ErrorCode::HeadersOutOfRange);
    let key = keyed(b"a", b"", &[0; KEY_LEN_MAX + 1]);
    assert_eq!(refused(&mut builder, key), ErrorCode::HeadersOutOfRange);
    assert_eq!(builder.count(), 0);
}

#[test]
fn the_builder_is_full_at_256_messages_and_at_4_mib() {
    let mut builder = BatchBuilder::new();
    for _ in 0..BATCH_COUNT_MAX {
        builder.push(message(b"a", b"", None)).unwrap();
    }
    assert_eq!(
        builder.push(message(b"a", b"", None)),
        Err(ErrorCode::BatchOutOfRange)
    );
    assert_eq!(builder.finish().count(), BATCH_COUNT_MAX);
    assert_eq!(builder.count(), 0, "finish empties the builder");

    let body = vec![0; BODY_LEN_MAX - RECORD_LEN - 2];
    for _ in 0..4 {
        builder.push(message(&body, b"", None)).unwrap();
    }
    assert_eq!(builder.encoded_len(), BATCH_LEN_MAX);
    assert_eq!(
        builder.push(message(b"a", b"", None)),
        Err(ErrorCode::BatchOutOfRange)
    );
    let batch = builder.finish();
    assert_eq!(batch.as_bytes().len(), BATCH_LEN_MAX);
    assert_eq!(MessageBatch::decode(batch.as_bytes().clone()), Ok(batch));
}

#[test]
fn delay_that_stands_for_the_default_is_not_a_delay() {
    let batch = batch_of([message(b"a", b"", Some(MessageRecord::DELAY_DEFAULT))]);
    assert!(!batch.has_delays());
    assert!(MessageBatch::decode(batch.as_bytes().clone()).is_ok());
}
