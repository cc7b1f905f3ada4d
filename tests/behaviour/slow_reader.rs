//! Goal: a client that asks and does not read is slowed down and in the end cut off, at a bounded
//! cost in memory, while others go on. Method: a socket with a small receive buffer asks for far
//! more than it takes; meanwhile another connection is served.

use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use sampan_protocol::limits::{BATCH_COUNT_MAX, RECEIVE_LEN_MAX};
use sampan_protocol::{
    AttributeChanges, BatchBuilder, NewMessage, QueueCreate, Receive, Reply, Request, Send,
};
use socket2::{Domain, Socket, Type};

use crate::broker::{Broker, Setup};
use crate::first_line::START_MAX;
use crate::waiting::within;
use crate::wire::Wire;

/// What waits in the queue: far more than the broker may hold for one client.
const FILLED_LEN: usize = 160 * 1024 * 1024;
const BODY_LEN: usize = 512 * 1024;
/// The outbox of a connection holds 8 MiB, its requests 32 MiB; the rest is slack for the
/// allocator.
const GROWTH_MAX: u64 = 96 * 1024 * 1024;

fn fill(wire: &mut Wire) {
    let changes = AttributeChanges::default();
    for name in ["large", "small"] {
        let create = QueueCreate {
            name: name.into(),
            changes,
        };
        assert!(matches!(
            wire.ask(&Request::QueueCreate(create)),
            Reply::QueueCreated
        ));
    }
    let body = Bytes::from(vec![7; BODY_LEN]);
    for _ in 0..FILLED_LEN / BODY_LEN / 4 {
        assert!(matches!(wire.ask(&send("large", &body, 4)), Reply::Sent(_)));
    }
}

fn send(queue: &str, body: &Bytes, count: usize) -> Request {
    let mut batch = BatchBuilder::new();
    for _ in 0..count {
        batch
            .push(NewMessage {
                body: body.clone(),
                ..NewMessage::default()
            })
            .unwrap();
    }
    let batch = batch.finish();
    Request::Send(Send {
        queue: queue.into(),
        producer: None,
        batch,
    })
}

fn receive(queue: &str) -> Request {
    Request::Receive(Receive {
        queue: queue.into(),
        count_max: u16::try_from(BATCH_COUNT_MAX).unwrap(),
        len_max: RECEIVE_LEN_MAX,
        wait_ms: Some(0),
        visibility_timeout_ms: None,
    })
}

/// A connection whose receive buffer is as small as the kernel lets it be.
fn narrow(broker: &Broker) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&broker.address.into()).unwrap();
    let mut wire = Wire::over(TcpStream::from(socket));
    wire.authenticate(broker);
    wire
}

#[test]
fn a_client_that_does_not_read_costs_little_and_is_cut_off_while_others_go_on() {
    let storage = "overlay_len = 16777216".to_owned();
    let broker = Broker::start(Setup {
        without_tls: true,
        storage,
        ..Setup::default()
    });
    let mut other = Wire::open(&broker);
    fill(&mut other);
    let before = broker.resident_len();
    let mut slow = narrow(&broker);
    let mut requests = BytesMut::new();
    for id in 0..64 {
        receive("large").encode(1_000 + id, &mut requests);
    }
    slow.write(&requests);
    let (mut peak, mut served_count) = (0, 0);
    let small = Bytes::from_static(b"small");
    // Long enough to be cut off, which takes half a minute of silence.
    within(START_MAX, "the end of the slow client", || {
        assert!(matches!(
            other.ask(&send("small", &small, 1)),
            Reply::Sent(_)
        ));
        match other.ask(&receive("small")) {
            Reply::Received(messages) => served_count += messages.len(),
            reply => panic!("{reply:?}"),
        }
        peak = peak.max(broker.resident_len());
        broker.log().contains("took nothing for").then_some(())
    });
    let growth = peak.saturating_sub(before);
    println!("{before} bytes before, {growth} more at most; {served_count} served meanwhile");
    assert!(growth < GROWTH_MAX, "{growth} bytes more than before");
    assert!(served_count > 0);
    // What the slow client was given and did not take is not lost.
    let shown = other.ask(&Request::QueueShow {
        name: "large".into(),
    });
    let Reply::QueueShown(shown) = shown else {
        panic!("{shown:?}")
    };
    let held = shown.counts.ready + shown.counts.in_flight;
    assert_eq!(held, (FILLED_LEN / BODY_LEN) as u64);
}
