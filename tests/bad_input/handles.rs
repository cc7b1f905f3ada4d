//! Goal: each receipt handle of a request is judged by itself. Method: one request with handles
//! that are malformed, superseded, expired, deleted already, and good.

use sampan_protocol::{
    AttributeChanges, ChangeVisibility, Delete, ErrorCode, Handles, QueueCreate, ReceiptHandle,
    Receive, ReceivedMessage, Reply, Request,
};

use super::batches::{Message, send_frame};
use crate::broker::{Broker, Setup};
use crate::first_line::START_MAX;
use crate::waiting::within;
use crate::wire::Wire;

/// The shortest there is.
const SHORT_MS: u32 = 1_000;
const LONG_MS: u32 = 3_600_000;

fn create(wire: &mut Wire, name: &str) {
    let changes = AttributeChanges::default();
    wire.ask(&Request::QueueCreate(QueueCreate {
        name: name.into(),
        changes,
    }));
}

fn send(wire: &mut Wire, queue: &str, body: &[u8]) {
    wire.write(&send_frame(queue, 1_000, &[Message::new(body)]));
    assert!(matches!(wire.reply_to(1_000), Reply::Sent(_)));
}

fn receive(wire: &mut Wire, queue: &str, visibility_ms: u32) -> ReceivedMessage {
    let receive = Receive {
        queue: queue.into(),
        count_max: 1,
        len_max: 0,
        wait_ms: Some(30_000),
        visibility_timeout_ms: Some(visibility_ms),
    };
    match wire.ask(&Request::Receive(receive)) {
        Reply::Received(mut messages) if messages.len() == 1 => messages.remove(0),
        other => panic!("{other:?}"),
    }
}

fn in_flight(wire: &mut Wire, queue: &str) -> u64 {
    match wire.ask(&Request::QueueShow { name: queue.into() }) {
        Reply::QueueShown(shown) => shown.counts.in_flight,
        other => panic!("{other:?}"),
    }
}

fn wait_for_lapse(wire: &mut Wire, queue: &str) {
    within(START_MAX, "the end of a visibility", || {
        (in_flight(wire, queue) == 0).then_some(())
    });
}

fn delete(wire: &mut Wire, queue: &str, handles: &[ReceiptHandle]) -> Vec<(u16, ErrorCode)> {
    let handles = Handles::from_iter(handles.iter().copied());
    match wire.ask(&Request::Delete(Delete {
        queue: queue.into(),
        handles,
    })) {
        Reply::Deleted(results) => results.failures,
        other => panic!("{other:?}"),
    }
}

#[test]
fn bad_handles_are_refused_one_by_one_and_the_others_are_done() {
    let broker = Broker::start(Setup {
        without_tls: true,
        ..Setup::default()
    });
    let mut wire = Wire::open(&broker);
    for queue in ["orders", "lapsing", "others"] {
        create(&mut wire, queue);
    }
    // One message received twice, so that its first handle is superseded.
    send(&mut wire, "lapsing", b"twice");
    let superseded = receive(&mut wire, "lapsing", SHORT_MS);
    let latest = receive(&mut wire, "lapsing", LONG_MS);
    assert_eq!((latest.id, latest.receive_count), (superseded.id, 2));
    assert_ne!(latest.handle, superseded.handle);
    // One whose visibility has ended.
    send(&mut wire, "orders", b"expired");
    let expired = receive(&mut wire, "orders", SHORT_MS);
    wait_for_lapse(&mut wire, "orders");
    let again = receive(&mut wire, "orders", LONG_MS);
    // One of another queue.
    send(&mut wire, "others", b"foreign");
    let foreign = receive(&mut wire, "others", LONG_MS);

    let malformed = ReceiptHandle(latest.handle.0 ^ 1);
    let handles = [
        malformed,
        superseded.handle,
        ReceiptHandle(0),
        ReceiptHandle(u64::MAX),
        latest.handle,
        latest.handle,
    ];
    let wrong = ErrorCode::ReceiptMalformed;
    let late = ErrorCode::ReceiptExpired;
    let failures = delete(&mut wire, "lapsing", &handles);
    assert_eq!(
        failures,
        [(0, wrong), (1, late), (2, wrong), (3, wrong), (5, late)]
    );
    let failures = delete(
        &mut wire,
        "orders",
        &[expired.handle, foreign.handle, again.handle],
    );
    assert_eq!(failures, [(0, late), (1, wrong)]);
    for (queue, count) in [("lapsing", 0), ("orders", 0), ("others", 1)] {
        assert_eq!(in_flight(&mut wire, queue), count, "{queue}");
    }
}

#[test]
fn an_expired_handle_hides_nothing_and_a_good_one_beside_it_does() {
    let broker = Broker::start(Setup {
        without_tls: true,
        ..Setup::default()
    });
    let mut wire = Wire::open(&broker);
    create(&mut wire, "orders");
    send(&mut wire, "orders", b"first");
    let expired = receive(&mut wire, "orders", SHORT_MS);
    wait_for_lapse(&mut wire, "orders");
    send(&mut wire, "orders", b"second");
    let one = receive(&mut wire, "orders", LONG_MS);
    let two = receive(&mut wire, "orders", LONG_MS);
    let release = Request::ChangeVisibility(ChangeVisibility {
        queue: "orders".into(),
        visibility_timeout_ms: 0,
        handles: Handles::from_iter([expired.handle, two.handle]),
    });
    let Reply::VisibilityChanged(results) = wire.ask(&release) else {
        panic!("refused")
    };
    assert_eq!(results.failures, [(0, ErrorCode::ReceiptExpired)]);
    assert_eq!(in_flight(&mut wire, "orders"), 1);
    let back = receive(&mut wire, "orders", LONG_MS);
    assert_eq!(
        (back.id, back.receive_count),
        (two.id, two.receive_count + 1)
    );
    assert_eq!(delete(&mut wire, "orders", &[one.handle, back.handle]), []);
}
