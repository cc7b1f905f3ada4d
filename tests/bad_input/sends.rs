//! Goal: a send that passes a limit is refused with the limit in the text, and nothing of its batch
//! is stored. Method: batches laid out by hand, each with a good message before the bad one.

use sampan_protocol::limits::{BATCH_COUNT_MAX, BATCH_LEN_MAX, BODY_LEN_MAX, KEY_LEN_MAX};
use sampan_protocol::{
    Applied, AttributeChanges, ErrorCode, ErrorReply, QueueCreate, Reply, Request,
};

use super::batches::{Message, send_frame};
use crate::broker::{Broker, Setup};
use crate::wire::Wire;
use crate::wrong_frames::refusal;

const QUEUE: &str = "orders";
const MESSAGE_SIZE_MAX: u32 = 1_000;
const RETENTION_MS: u64 = 60_000;

/// A queue for small messages that keeps them for a minute, and one with the defaults.
fn start() -> (Broker, Wire) {
    let broker = Broker::start(Setup {
        without_tls: true,
        ..Setup::default()
    });
    let mut wire = Wire::open(&broker);
    let changes = AttributeChanges {
        message_size_max: Some(MESSAGE_SIZE_MAX),
        retention_ms: Some(RETENTION_MS),
        ..AttributeChanges::default()
    };
    for (name, changes) in [(QUEUE, changes), ("large", AttributeChanges::default())] {
        let create = Request::QueueCreate(QueueCreate {
            name: name.into(),
            changes,
        });
        assert!(matches!(wire.ask(&create), Reply::QueueCreated));
    }
    (broker, wire)
}

/// The refusal of a send, after which neither queue holds anything.
fn refused(wire: &mut Wire, queue: &str, messages: &[Message<'_>]) -> ErrorReply {
    wire.write(&send_frame(queue, 77, messages));
    let error = refusal(wire.reply_to(77));
    assert_eq!(error.applied, Applied::No);
    for queue in [QUEUE, "large"] {
        let Reply::QueueShown(shown) = wire.ask(&Request::QueueShow { name: queue.into() }) else {
            panic!("the queue is there");
        };
        assert_eq!(
            (shown.counts.ready, shown.counts.delayed),
            (0, 0),
            "something was stored"
        );
    }
    error
}

/// Fails unless the refusal has this code, and the limit in its text.
fn assert_limit(error: &ErrorReply, code: ErrorCode, limit: impl ToString) {
    assert_eq!(error.code(), Some(code), "{}", error.text);
    let limit = limit.to_string();
    assert!(
        error.text.contains(&limit),
        "{limit} is not in {:?}",
        error.text
    );
}

#[test]
fn a_send_that_passes_a_limit_is_refused_with_the_limit_and_nothing_of_it_is_stored() {
    let (_broker, mut wire) = start();
    let good = || Message::new(b"good");
    let error = refused(&mut wire, QUEUE, &[good(), Message::new(b"")]);
    assert_limit(&error, ErrorCode::BodyEmpty, 1);

    let long = vec![b'x'; MESSAGE_SIZE_MAX as usize + 1];
    let error = refused(&mut wire, QUEUE, &[good(), Message::new(&long)]);
    assert_limit(&error, ErrorCode::MessageTooLarge, MESSAGE_SIZE_MAX);

    let longest = vec![b'x'; BODY_LEN_MAX + 1];
    let error = refused(&mut wire, "large", &[good(), Message::new(&longest)]);
    assert_limit(&error, ErrorCode::MessageTooLarge, BODY_LEN_MAX);

    let many: Vec<_> = (0..=BATCH_COUNT_MAX).map(|_| good()).collect();
    assert_limit(
        &refused(&mut wire, QUEUE, &many),
        ErrorCode::BatchOutOfRange,
        BATCH_COUNT_MAX,
    );
    let none = refused(&mut wire, QUEUE, &[]);
    assert_limit(&none, ErrorCode::BatchOutOfRange, BATCH_COUNT_MAX);

    let mib = vec![b'x'; BODY_LEN_MAX];
    let four: Vec<_> = (0..4).map(|_| Message::new(&mib)).collect();
    let error = refused(&mut wire, "large", &four);
    assert_limit(&error, ErrorCode::BatchOutOfRange, BATCH_LEN_MAX);

    let late = Message {
        delay_ms: RETENTION_MS + 1,
        ..good()
    };
    let error = refused(&mut wire, QUEUE, &[good(), late]);
    assert_limit(&error, ErrorCode::DelayOutOfRange, RETENTION_MS);

    let keyed = Message {
        dedup_key: &[b'k'; KEY_LEN_MAX + 1],
        ..good()
    };
    let error = refused(&mut wire, QUEUE, &[good(), keyed]);
    assert_limit(&error, ErrorCode::HeadersOutOfRange, KEY_LEN_MAX);

    let grouped = Message {
        group_key: &[b'k'; KEY_LEN_MAX + 1],
        ..good()
    };
    let error = refused(&mut wire, QUEUE, &[good(), grouped]);
    assert_limit(&error, ErrorCode::HeadersOutOfRange, KEY_LEN_MAX);
}

#[test]
fn a_body_that_does_not_have_its_checksum_is_refused_with_the_whole_batch() {
    let (_broker, mut wire) = start();
    let good = Message::new(b"good");
    let changed = Message {
        checksum: good.checksum ^ 1,
        ..Message::new(b"good")
    };
    let error = refused(&mut wire, QUEUE, &[good, changed]);
    assert_eq!(error.code(), Some(ErrorCode::ChecksumMismatch));
    assert!(
        error.text.contains('1'),
        "the place in the batch: {:?}",
        error.text
    );
}

#[test]
fn a_session_without_a_number_and_a_number_without_a_session_are_refused() {
    let (_broker, mut wire) = start();
    let frame = send_frame(QUEUE, 5, &[Message::new(b"good")]);
    // Behind the header of 16 bytes: a session of 16 bytes, and a number.
    for place in [16, 32] {
        let mut frame = frame.clone();
        frame[place] = 1;
        wire.write(&frame);
        let error = refusal(wire.reply_to(5));
        assert_eq!(error.code(), Some(ErrorCode::MalformedFrame));
    }
}

#[test]
fn fields_that_are_reserved_must_be_empty() {
    let (_broker, mut wire) = start();
    let mut frame = send_frame(QUEUE, 5, &[Message::new(b"good")]);
    let reserved = frame.len() - b"good".len() - 4;
    frame[reserved] = 1;
    wire.write(&frame);
    assert_eq!(
        refusal(wire.reply_to(5)).code(),
        Some(ErrorCode::ReservedField)
    );
}
