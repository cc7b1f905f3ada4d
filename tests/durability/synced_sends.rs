//! Goal: a reply is written only after the sync that covers its message. Method: 100 sends, each
//! after the reply to the one before, on a broker under strace. Each body is a text of its own, so
//! the write that takes it to the log can be found among the system calls; behind that write there
//! must be a sync of the same file that ends before the reply is written to the socket.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use sampan_protocol::{BatchBuilder, NewMessage, QueueCreate, Reply, Request, Send};

use super::strace::{self, Edge, Event};
use crate::broker::{Broker, Setup};
use crate::first_line::START_MAX;
use crate::waiting::within;
use crate::wire::Wire;

const SEND_COUNT: usize = 100;

fn body(number: usize) -> String {
    format!("body-number-{number:06}")
}

#[test]
fn each_of_100_sends_is_synced_before_its_reply_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("trace");
    let run_by = strace::command(output.to_str().unwrap());
    let broker = Broker::start(Setup {
        run_by,
        without_tls: true,
        ..Setup::default()
    });
    let mut wire = Wire::open(&broker);
    let create = QueueCreate {
        name: "traced".into(),
        changes: Default::default(),
    };
    assert!(matches!(
        wire.ask(&Request::QueueCreate(create)),
        Reply::QueueCreated
    ));
    // The sends have a connection of their own, with nothing on it but hello and authentication.
    let mut wire = Wire::open(&broker);
    let client = wire.stream.local_addr().unwrap();
    for number in 0..SEND_COUNT {
        assert!(matches!(wire.ask(&send(number)), Reply::Sent(_)));
    }
    drop(wire);
    drop(broker);
    let events = strace::events(&finished_trace(&output));
    let replies: Vec<usize> = replies(&events, &format!("->{client}]"));
    assert_eq!(replies.len(), SEND_COUNT, "one write per reply");
    for (number, reply) in replies.iter().enumerate() {
        assert_synced_before(&events[..*reply], number);
    }
    let syncs = events
        .iter()
        .filter(|event| is_sync(event) && event.edge == Edge::Done);
    let sync_count = syncs.filter(|event| is_log(event)).count();
    println!("{sync_count} syncs of the log for {SEND_COUNT} sends");
    assert!(sync_count >= SEND_COUNT, "{sync_count} syncs");
}

fn send(number: usize) -> Request {
    let mut batch = BatchBuilder::new();
    let body = Bytes::from(body(number));
    batch
        .push(NewMessage {
            body,
            ..NewMessage::default()
        })
        .expect("a short body");
    let batch = batch.finish();
    Request::Send(Send {
        queue: "traced".into(),
        producer: None,
        batch,
    })
}

/// The trace once strace, which outlives the broker by a moment, has written its end.
fn finished_trace(output: &Path) -> String {
    within(START_MAX, "the end of strace", || {
        let trace = fs::read(output).expect("strace writes a trace");
        let trace = String::from_utf8_lossy(&trace).into_owned();
        let is_whole = trace.trim_end().ends_with("+++ killed by SIGKILL +++");
        is_whole.then_some(trace)
    })
}

/// Places of the writes to the client at `peer`, those for hello and authentication left out.
fn replies(events: &[Event], peer: &str) -> Vec<usize> {
    let to_client = |event: &Event| {
        event.edge == Edge::Begin && event.target.starts_with("TCP") && event.target.ends_with(peer)
    };
    let places = events
        .iter()
        .enumerate()
        .filter(|(_, event)| to_client(event));
    places.map(|(place, _)| place).skip(2).collect()
}

fn is_log(event: &Event) -> bool {
    event.target.ends_with(".log")
}

fn is_sync(event: &Event) -> bool {
    event.call == "fdatasync" || event.call == "fsync"
}

/// `events` are those before the reply to send `number` is written.
fn assert_synced_before(events: &[Event], number: usize) {
    let body = body(number);
    let written = |event: &Event| is_log(event) && !is_sync(event) && event.text.contains(&body);
    let written = |edge| {
        events
            .iter()
            .position(|event| event.edge == edge && written(event))
    };
    let wrote = written(Edge::Done).unwrap_or_else(|| panic!("{body} was not in the log yet"));
    let log = &events[wrote].target;
    let sync = |edge| {
        let is = move |event: &Event| is_sync(event) && event.edge == edge && event.target == *log;
        move |events: &[Event]| events.iter().position(is)
    };
    // A sync that began before the write was over need not cover it.
    let began = sync(Edge::Begin)(&events[wrote..]).map(|place| wrote + place);
    let began = began.unwrap_or_else(|| panic!("no sync began between {body} and its reply"));
    let done = sync(Edge::Done)(&events[began..]);
    assert!(done.is_some(), "no sync ended between {body} and its reply");
}
