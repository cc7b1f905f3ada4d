//! Goal: a receive of many megabytes comes in frames of moderate length, from memory as well as
//! from segment files. Method: 200 messages of 64 KiB, received in as few requests as the limits
//! allow, frame by frame.

use bytes::Bytes;
use sampan_protocol::limits::{RECEIVE_FRAME_LEN, RECEIVE_LEN_MAX};
use sampan_protocol::{
    AttributeChanges, BatchBuilder, NewMessage, QueueCreate, Receive, ReceivedMessage, Reply,
    Request, Send,
};

use crate::broker::{Broker, Setup};
use crate::wire::Wire;

const COUNT: usize = 200;
const BODY_LEN: usize = 64 * 1024;
/// Header flag: another frame of the same reply follows.
const MORE: u8 = 1;

fn body(number: usize) -> Bytes {
    let number = u8::try_from(number).expect("below 256");
    vec![number; BODY_LEN].into()
}

fn fill(wire: &mut Wire) {
    let changes = AttributeChanges::default();
    wire.ask(&Request::QueueCreate(QueueCreate {
        name: "orders".into(),
        changes,
    }));
    for numbers in (0..COUNT).collect::<Vec<_>>().chunks(20) {
        let mut batch = BatchBuilder::new();
        for number in numbers {
            batch
                .push(NewMessage {
                    body: body(*number),
                    ..NewMessage::default()
                })
                .unwrap();
        }
        let batch = batch.finish();
        let send = Send {
            queue: "orders".into(),
            producer: None,
            batch,
        };
        assert!(matches!(wire.ask(&Request::Send(send)), Reply::Sent(_)));
    }
}

/// One receive; its messages, and the lengths of its frames.
fn receive(wire: &mut Wire, len_max: u32) -> (Vec<ReceivedMessage>, Vec<usize>) {
    let id = wire.request(&Request::Receive(Receive {
        queue: "orders".into(),
        count_max: 256,
        len_max,
        wait_ms: Some(0),
        visibility_timeout_ms: Some(3_600_000),
    }));
    let (mut messages, mut lengths) = (Vec::new(), Vec::new());
    loop {
        let frame = wire.next_frame().expect("the connection stays open");
        assert_eq!(frame.header.request_id, id);
        lengths.push(frame.payload.len());
        let more = frame.header.flags & MORE != 0;
        match Reply::decode(frame.header.kind, frame.payload).unwrap() {
            Reply::Received(part) => messages.extend(part),
            other => panic!("{other:?}"),
        }
        if !more {
            return (messages, lengths);
        }
    }
}

fn assert_in_pieces(wire: &mut Wire) {
    let (messages, lengths) = receive(wire, RECEIVE_LEN_MAX);
    assert_eq!(messages.len(), COUNT);
    assert!(
        lengths.len() >= COUNT * BODY_LEN / (RECEIVE_FRAME_LEN + BODY_LEN),
        "{lengths:?}"
    );
    // One message may reach over the mark.
    let len_max = RECEIVE_FRAME_LEN + BODY_LEN + 8 * 1024;
    assert!(lengths.iter().all(|len| *len <= len_max), "{lengths:?}");
    for (number, message) in messages.iter().enumerate() {
        assert_eq!(message.body, body(number), "message {number}");
        assert!(message.check_body().is_ok());
    }
}

#[test]
fn a_large_reply_from_memory_comes_in_several_frames() {
    let broker = Broker::start(Setup {
        without_tls: true,
        ..Setup::default()
    });
    let mut wire = Wire::open(&broker);
    fill(&mut wire);
    assert_in_pieces(&mut wire);
}

#[test]
fn a_large_reply_from_segment_files_comes_in_several_frames() {
    let storage = "overlay_len = 65536".to_owned();
    let mut broker = Broker::start(Setup {
        without_tls: true,
        storage,
        ..Setup::default()
    });
    fill(&mut Wire::open(&broker));
    // Most of what was sent.
    broker.wait_for_segments((COUNT * BODY_LEN * 9 / 10) as u64);
    broker.kill();
    broker.launch();
    assert_in_pieces(&mut Wire::open(&broker));
}

#[test]
fn a_reply_holds_what_was_asked_for_and_at_least_one_message() {
    let broker = Broker::start(Setup {
        without_tls: true,
        ..Setup::default()
    });
    let mut wire = Wire::open(&broker);
    fill(&mut wire);
    assert_eq!(receive(&mut wire, 1).0.len(), 1);
    let (messages, _) = receive(&mut wire, 4 * BODY_LEN as u32 + 1_024);
    assert!((3..=4).contains(&messages.len()), "{}", messages.len());
    let (messages, _) = receive(&mut wire, 0);
    let default_count = 4 * 1024 * 1024 / BODY_LEN;
    assert!(
        (default_count - 2..=default_count).contains(&messages.len()),
        "{}",
        messages.len()
    );
}
