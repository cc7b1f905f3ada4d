//! Goal: a name means the queue that has it now, also on a connection that used it before. Method:
//! one connection sends to a queue, which goes and is made again; two spellings of the name.

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

#[test]
fn a_queue_that_was_made_again_is_found_by_who_used_the_first() {
    let broker = Broker::start(Setup {
        without_tls: true,
        ..Setup::default()
    });
    let mut wire = Wire::open(&broker);
    for _ in 0..3 {
        let create = QueueCreate {
            name: "Orders".into(),
            changes: AttributeChanges::default(),
        };
        let created = wire.ask(&Request::QueueCreate(create));
        assert!(matches!(created, Reply::QueueCreated), "{created:?}");
        for name in ["Orders", "orders", "Orders"] {
            let sent = wire.ask(&send(name));
            assert!(matches!(sent, Reply::Sent(_)), "{sent:?}");
        }
        let name = "Orders".into();
        let shown = wire.ask(&Request::QueueShow { name });
        let Reply::QueueShown(shown) = shown else {
            panic!("{shown:?}")
        };
        assert_eq!(shown.counts.ready, 3);
        let name = "Orders".into();
        let deleted = wire.ask(&Request::QueueDelete { name });
        assert!(matches!(deleted, Reply::QueueDeleted), "{deleted:?}");
    }
}
