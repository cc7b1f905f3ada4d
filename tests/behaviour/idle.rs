//! Goal: whoever only waits costs nothing: no entry in the log, next to no processor time. Method:
//! 1,000 receives parked in 100 queues by 10 connections, and then 1,000 that find nothing and do
//! not wait; the log's files are compared over some seconds. The processor time is printed, not
//! asserted: it belongs to the machine.

use std::time::Duration;

use sampan_protocol::{AttributeChanges, QueueCreate, Receive, Reply, Request};

use crate::broker::{Broker, Setup};
use crate::folder::{Content, content, settled};
use crate::wire::Wire;

const CONNECTION_COUNT: usize = 10;
const QUEUE_COUNT: usize = 100;
/// Receives that find nothing: what a thousand a second do in a second.
const POLL_COUNT: usize = 1_000;
const IDLE: Duration = Duration::from_secs(5);

fn log_of(broker: &Broker) -> Content {
    content(&broker.data().join("log"))
}

#[test]
fn a_thousand_parked_receives_a_thousand_polls_and_an_idle_broker_write_nothing() {
    let broker = Broker::start(Setup {
        without_tls: true,
        ..Setup::default()
    });
    let mut wires: Vec<_> = (0..CONNECTION_COUNT).map(|_| Wire::open(&broker)).collect();
    for queue in 0..QUEUE_COUNT {
        let changes = AttributeChanges::default();
        let create = QueueCreate {
            name: (&format!("q{queue}")).into(),
            changes,
        };
        assert!(matches!(
            wires[0].ask(&Request::QueueCreate(create)),
            Reply::QueueCreated
        ));
    }
    for wire in &mut wires {
        for queue in 0..QUEUE_COUNT {
            wire.request(&Request::Receive(Receive {
                queue: (&format!("q{queue}")).into(),
                count_max: 1,
                len_max: 0,
                wait_ms: Some(30_000),
                visibility_timeout_ms: None,
            }));
        }
        // Taken in order, so the answer tells that the receives have been; none of them has one.
        assert!(matches!(wire.ask(&Request::Ping), Reply::Pong));
    }
    let mut poller = Wire::open(&broker);
    // The log has been closed behind the last write.
    let before = settled(&broker.data().join("log"));
    let used_before = broker.processor_time();
    // That nothing is written has no sign to wait for: this is how long it is looked at.
    std::thread::sleep(IDLE);
    let used = broker.processor_time() - used_before;
    for poll in 0..POLL_COUNT {
        let request = Request::Receive(Receive {
            queue: (&format!("q{}", poll % QUEUE_COUNT)).into(),
            count_max: 1,
            len_max: 0,
            wait_ms: Some(0),
            visibility_timeout_ms: None,
        });
        match poller.ask(&request) {
            Reply::Received(messages) => assert!(messages.is_empty()),
            other => panic!("{other:?} to a receive"),
        }
    }
    assert_eq!(log_of(&broker), before, "an idle broker wrote to its log");
    let share = used.as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    println!(
        "1,000 parked receives: {used:?} of processor time in {IDLE:?} ({share:.2} % of a core)"
    );
}
