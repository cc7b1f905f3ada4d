//! Goal: a numbered send is stored once, whoever is killed between its tries. Method: frames made
//! by hand, so that a repeat is a repeat to the byte; SIGKILL and checkpoints in between.

use bytes::Bytes;
use sampan_protocol::{
    Authenticated, BatchBuilder, ErrorCode, NewMessage, ProducerNumber, ProducerSession,
    QueueCreate, Reply, Request, Send, Sent, Timestamp,
};

use crate::broker::{Broker, Setup};
use crate::wire::{Wire, proof};

const DAY_MS: u64 = 86_400_000;

fn send(session: ProducerSession, number: u64, delays_ms: &[u64]) -> Request {
    let mut batch = BatchBuilder::new();
    for (place, delay_ms) in delays_ms.iter().enumerate() {
        let body = Bytes::from(format!("{number}/{place}").repeat(100));
        let message = NewMessage {
            body,
            delay_ms: Some(*delay_ms),
            ..NewMessage::default()
        };
        batch.push(message).expect("a short body");
    }
    Request::Send(Send {
        queue: "orders".into(),
        producer: Some(ProducerNumber { session, number }),
        batch: batch.finish(),
    })
}

fn sent(wire: &mut Wire, request: &Request) -> Sent {
    match wire.ask(request) {
        Reply::Sent(reply) => reply.sent,
        other => panic!("not stored: {other:?}"),
    }
}

fn refused(wire: &mut Wire, request: &Request) -> Option<ErrorCode> {
    match wire.ask(request) {
        Reply::Error(error) => error.code(),
        other => panic!("not refused: {other:?}"),
    }
}

fn present(wire: &mut Wire) -> u64 {
    let name = "orders".into();
    match wire.ask(&Request::QueueShow { name }) {
        Reply::QueueShown(queue) => queue.counts.ready + queue.counts.delayed,
        other => panic!("not shown: {other:?}"),
    }
}

/// What the broker says of the time.
fn now(broker: &Broker) -> Timestamp {
    let mut wire = Wire::connect(broker);
    let (nonce, env) = (wire.hello().nonce, broker.env());
    let proof = proof(&nonce, &env["SAMPAN_SECRET_ID"], &env["SAMPAN_SECRET_KEY"]);
    match wire.ask(&proof) {
        Reply::Authenticated(Authenticated { now }) => now,
        other => panic!("not authenticated: {other:?}"),
    }
}

fn start(storage: &str) -> (Broker, Wire) {
    let broker = Broker::start(Setup {
        without_tls: true,
        storage: storage.to_owned(),
        ..Setup::default()
    });
    let mut wire = Wire::open(&broker);
    let create = Request::QueueCreate(QueueCreate {
        name: "orders".into(),
        changes: Default::default(),
    });
    assert_eq!(wire.ask(&create), Reply::QueueCreated);
    (broker, wire)
}

#[test]
fn repeats_get_their_first_replies_after_the_broker_was_killed() {
    // With the small overlay, checkpoints run all the time; without it, there is none.
    for storage in ["", "overlay_len = 65536"] {
        let (mut broker, mut wire) = start(storage);
        let session = ProducerSession::new(now(&broker), [1; 10]);
        let requests: Vec<Request> = (1..=200)
            .map(|number| match number % 3 {
                0 => send(session, number, &[0, DAY_MS, 0, 0, DAY_MS]),
                1 => send(session, number, &[0]),
                _ => send(session, number, &[DAY_MS, DAY_MS]),
            })
            .collect();
        let first: Vec<Sent> = requests
            .iter()
            .map(|request| sent(&mut wire, request))
            .collect();
        let count = present(&mut wire);
        for _ in 0..2 {
            broker.kill();
            broker.launch();
            wire = Wire::open(&broker);
            for (request, first) in requests.iter().zip(&first) {
                assert_eq!(sent(&mut wire, request), *first);
            }
            assert_eq!(present(&mut wire), count, "{storage:?}");
        }
        let gap = send(session, 202, &[0]);
        assert_eq!(refused(&mut wire, &gap), Some(ErrorCode::OutOfOrder));
        sent(&mut wire, &send(session, 201, &[0]));
        sent(&mut wire, &gap);
        assert_eq!(present(&mut wire), count + 2);
    }
}

#[test]
fn a_session_of_another_day_is_refused_and_the_outcome_told_as_unknown() {
    let (broker, mut wire) = start("");
    let now = now(&broker).0;
    for drawn_at in [0, now - DAY_MS - 60_000, now + DAY_MS + 60_000] {
        let session = ProducerSession::new(Timestamp(drawn_at), [2; 10]);
        let Reply::Error(error) = wire.ask(&send(session, 1, &[0])) else {
            panic!("stored with a session of {drawn_at}");
        };
        assert_eq!(error.code(), Some(ErrorCode::ProducerExpired));
        assert_eq!(error.applied, sampan_protocol::Applied::Unknown);
    }
    assert_eq!(present(&mut wire), 0);
}
