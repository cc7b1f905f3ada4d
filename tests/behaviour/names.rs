//! Goal: a name means the queue that has it now, also on a connection that used it before. Method:
//! one connection sends to a queue, which goes and is made again, and to another one in between;
//! two spellings of the name.

use sampan_protocol::{
    AttributeChanges, BatchBuilder, NewMessage, QueueCreate, Reply, Request, Send,
};

use crate::broker::{Broker, Setup};
use crate::wire::Wire;

fn send(name: &str) -> Request {
    let mut builder = BatchBuilder::new();
    let body = vec![7].into();
    builder
        .push(NewMessage {
            body,
            ..NewMessage::default()
        })
        .unwrap();
    Request::Send(Send {
        queue: name.into(),
        producer: None,
        batch: builder.finish(),
    })
}

fn create(wire: &mut Wire, name: &str) {
    let create = QueueCreate {
        name: name.into(),
        changes: AttributeChanges::default(),
    };
    let created = wire.ask(&Request::QueueCreate(create));
    assert!(matches!(created, Reply::QueueCreated), "{created:?}");
}

fn ready(wire: &mut Wire, name: &str) -> u64 {
    let name = name.into();
    match wire.ask(&Request::QueueShow { name }) {
        Reply::QueueShown(shown) => shown.counts.ready,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_means_its_queue_whatever_was_asked_before() {
    let broker = Broker::start(Setup {
        without_tls: true,
        ..Setup::default()
    });
    let mut wire = Wire::open(&broker);
    create(&mut wire, "bills");
    for round in 1..=3 {
        create(&mut wire, "Orders");
        for name in ["Orders", "orders", "bills", "Orders"] {
            let sent = wire.ask(&send(name));
            assert!(matches!(sent, Reply::Sent(_)), "{sent:?}");
        }
        assert_eq!(ready(&mut wire, "bills"), round);
        assert_eq!(ready(&mut wire, "Orders"), 3);
        let name = "Orders".into();
        let deleted = wire.ask(&Request::QueueDelete { name });
        assert!(matches!(deleted, Reply::QueueDeleted), "{deleted:?}");
    }
}
