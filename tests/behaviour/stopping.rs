//! Goal: SIGTERM ends a broker cleanly within 10 s, whoever is connected, and what was in hand is
//! answered. Method: receives parked for far longer, idle connections, sends under way.

use std::time::{Duration, Instant};

use sampan_protocol::{
    AttributeChanges, BatchBuilder, ErrorCode, NewMessage, QueueCreate, Receive, Reply, Request,
    Send,
};

use crate::broker::{Broker, Setup};
use crate::wire::Wire;

/// Promised; and a machine that needs longer for this has other troubles.
const DRAIN_MAX: Duration = Duration::from_secs(10);

fn parked() -> Request {
    Request::Receive(Receive {
        queue: "orders".into(),
        count_max: 1,
        len_max: 0,
        wait_ms: Some(30_000),
        visibility_timeout_ms: None,
    })
}

fn send() -> Request {
    let mut batch = BatchBuilder::new();
    batch
        .push(NewMessage {
            body: "body".into(),
            ..NewMessage::default()
        })
        .unwrap();
    let batch = batch.finish();
    Request::Send(Send {
        queue: "sent".into(),
        producer: None,
        batch,
    })
}

#[test]
fn a_terminated_broker_answers_what_is_in_hand_and_exits_0() {
    let mut broker = Broker::start(Setup {
        without_tls: true,
        ..Setup::default()
    });
    let mut wire = Wire::open(&broker);
    for name in ["orders", "sent"] {
        let changes = AttributeChanges::default();
        let create = Request::QueueCreate(QueueCreate {
            name: name.into(),
            changes,
        });
        assert!(matches!(wire.ask(&create), Reply::QueueCreated));
    }
    let parked: Vec<u64> = (0..50).map(|_| wire.request(&parked())).collect();
    assert!(matches!(wire.ask(&Request::Ping), Reply::Pong));
    let mut sender = Wire::open(&broker);
    let sends: Vec<u64> = (0..200).map(|_| sender.request(&send())).collect();
    // The broker has read the first of them at least.
    let (first, reply) = sender.next_reply().unwrap();
    assert!(matches!(reply, Reply::Sent(_)), "{reply:?}");
    let began = Instant::now();
    broker.signal_end();
    let mut answered = vec![first];
    let mut sent_count = 1;
    while let Some((id, reply)) = sender.next_reply() {
        match reply {
            Reply::Sent(_) => sent_count += 1,
            Reply::Error(error) => assert_eq!(error.code(), Some(ErrorCode::ShuttingDown)),
            other => panic!("{other:?}"),
        }
        answered.push(id);
    }
    // Requests that were not read yet get no answer; those that were, get theirs in any order.
    answered.sort_unstable();
    answered.dedup();
    assert!(answered.len() >= sent_count && answered.iter().all(|id| sends.contains(id)));
    let mut ended = Vec::new();
    while let Some((id, reply)) = wire.next_reply() {
        match reply {
            Reply::Received(messages) => assert!(messages.is_empty()),
            Reply::Error(error) => assert_eq!(error.code(), Some(ErrorCode::ShuttingDown)),
            other => panic!("{other:?}"),
        }
        ended.push(id);
    }
    ended.sort_unstable();
    assert_eq!(ended, parked, "each parked receive is answered once");
    let status = broker.ended();
    assert_eq!(status.code(), Some(0), "{}", broker.log());
    assert!(began.elapsed() < DRAIN_MAX, "{:?}", began.elapsed());
    broker.launch();
    let shown = Wire::open(&broker).ask(&Request::QueueShow {
        name: "sent".into(),
    });
    let Reply::QueueShown(shown) = shown else {
        panic!("{shown:?}")
    };
    let sent_count = u64::try_from(sent_count).unwrap();
    assert!(
        shown.counts.ready >= sent_count,
        "{} of {sent_count}",
        shown.counts.ready
    );
}
