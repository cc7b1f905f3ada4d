//! Goal: after restoring, each set has the queues that the catalog says, and only those. Method: a
//! store whose set is ahead of, behind, or at odds with a catalog, settled and opened again.

use super::*;
use bytes::Bytes;
use sampan_core::{CatalogCommand, NodeJoin};
use sampan_protocol::{BatchBuilder, Name, NewMessage, QueueAttributes, Timestamp};
use sampan_storage::io::SimulatedDisk;
use sampan_storage::store::{StoreIdentity, StoreOptions};

use crate::set::membership_of;

const SET: SetId = SetId(1);
const IDENTITY: StoreIdentity = StoreIdentity {
    node: 4,
    cluster: 8 << 70,
    set: SET,
};
const APPLIED: LogId = LogId {
    term: 3,
    node: 0,
    index: 50,
};

fn attributes(retention_ms: u64) -> QueueAttributes {
    QueueAttributes {
        retention_ms,
        ..QueueAttributes::default()
    }
}

fn apply(broker: &mut Broker, commands: Vec<Command>) -> (Vec<Effect>, Vec<Reply>) {
    let (mut effects, mut replies) = (Vec::new(), Vec::new());
    let stamp = Timestamp(1_700_000_000_000);
    let entry = Entry {
        stamp,
        commands,
        ..Entry::default()
    };
    broker.apply(&entry, &mut effects, &mut replies).unwrap();
    (effects, replies)
}

fn create(queue: u64, retention_ms: u64) -> Command {
    Command::QueueCreate {
        queue: QueueId(queue),
        name: format!("q{queue}"),
        attributes: attributes(retention_ms),
        secret: queue,
    }
}

/// A checkpoint of a broker that has carried `commands` out, in a store of its own.
fn stored(commands: Vec<Command>) -> (Store, Recovered, Broker) {
    let root = SimulatedDisk::new().root();
    let options = StoreOptions::default();
    let (mut store, _) = Store::open(root.clone(), IDENTITY, options).unwrap();
    let mut broker = Broker::new();
    let (effects, _) = apply(&mut broker, commands);
    for effect in effects {
        if let Effect::Stored {
            queue,
            first,
            index,
            count,
            sent_at,
            batch,
        } = effect
        {
            store.insert(queue, first, index, count, sent_at, batch);
        }
    }
    let rows = broker.freeze().into_rows();
    let job = store.begin_checkpoint(APPLIED, Vec::new(), rows).unwrap();
    store.finish_checkpoint(job.run()).unwrap();
    drop(store);
    let (store, recovered) = Store::open(root, IDENTITY, options).unwrap();
    (store, recovered, broker)
}

/// What the store holds after it was settled, and its membership.
fn settled(settlement: &Settlement, set: SetId, commands: Vec<Command>) -> (Broker, Vec<u8>) {
    let (mut store, recovered, _) = stored(commands);
    settlement
        .settle(set, &mut store, recovered, APPLIED)
        .unwrap();
    let mut reader = store.snapshot(1).unwrap().unwrap();
    let root = SimulatedDisk::new().root();
    let (fresh, _) = Store::open(root.clone(), IDENTITY, StoreOptions::default()).unwrap();
    let options = StoreOptions::default();
    let id = reader.id().clone();
    let writer = sampan_storage::store::SnapshotWriter::begin(root, IDENTITY, options, &id);
    let mut writer = writer.unwrap();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        writer.write_chunk(chunk).unwrap();
    }
    let installed = writer.finish().unwrap().install(fresh.retire()).unwrap();
    let recovered = installed.1;
    assert_eq!(recovered.applied, Some(APPLIED));
    let membership = recovered.membership.clone();
    (Broker::restore(recovered.rows).unwrap(), membership)
}

fn record(queue: u64, set: SetId, state: QueueState, retention_ms: u64) -> CatalogRecord {
    CatalogRecord {
        queue: QueueId(queue),
        name: format!("q{queue}"),
        account: 0,
        set,
        attributes: attributes(retention_ms),
        created_at: Timestamp(1),
        state,
    }
}

fn settlement(records: Vec<CatalogRecord>) -> Settlement {
    let records = records.into_iter().map(|record| (record.queue, record));
    Settlement {
        node: 4,
        records: records.collect(),
        random: || 77,
    }
}

fn send(queue: u64) -> Command {
    let mut batch = BatchBuilder::new();
    batch
        .push(NewMessage {
            body: Bytes::from_static(b"body"),
            ..NewMessage::default()
        })
        .unwrap();
    Command::Send {
        queue: QueueId(queue),
        producer: None,
        batch: batch.finish(),
    }
}

const DAY: u64 = 86_400_000;

#[test]
fn a_set_gets_the_queues_that_the_catalog_says() {
    let settlement = settlement(vec![
        record(1, SET, QueueState::Ready, DAY),
        record(2, SET, QueueState::Ready, 2 * DAY),
        record(3, SET, QueueState::Ready, DAY),
        record(4, SetId(0), QueueState::Ready, DAY),
        record(5, SET, QueueState::Deleting, DAY),
        record(6, SET, QueueState::Creating, DAY),
        record(7, SET, QueueState::Changing, 2 * DAY),
    ]);
    let mut commands: Vec<Command> = [1, 2, 4, 5, 7, 9].map(|queue| create(queue, DAY)).into();
    commands.extend([send(1), send(2), send(9)]);
    let (broker, membership) = settled(&settlement, SET, commands);
    let queues: Vec<u64> = broker.queues().map(|queue| queue.0).collect();
    assert_eq!(queues, [1, 2, 3, 5, 7], "4 and 9 are nobody's here");
    let ready = |queue| broker.receivable_count(QueueId(queue));
    assert_eq!([1, 2, 3].map(ready), [1, 1, 0]);
    let retention = |queue| broker.attributes(QueueId(queue)).unwrap().retention_ms;
    assert_eq!([2, 3, 7].map(retention), [2 * DAY, DAY, DAY]);
    let membership = membership_of(&membership).unwrap();
    let voters: Vec<u64> = membership.membership().voter_ids().collect();
    assert_eq!(voters, [4]);
    assert_eq!(membership.log_id().unwrap().index, APPLIED.index);
}

#[test]
fn the_catalog_keeps_its_queues_and_forgets_the_cluster() {
    let name = Name::from_utf8(Bytes::from_static(b"orders")).unwrap();
    let join = NodeJoin {
        node: 1,
        incarnation: 5,
        peer_address: "a:7413".to_owned(),
        client_address: "a:7411".to_owned(),
        http_address: String::new(),
        zone: String::new(),
        format_version_max: 1,
        release: String::new(),
    };
    let commands = [
        CatalogCommand::ClusterFound {
            cluster: 99,
            set_count: 2,
            replica_count: 3,
            format_version: 1,
        },
        CatalogCommand::NodeJoin(join),
        CatalogCommand::NodeReplaced {
            node: 1,
            incarnation: 5,
        },
        CatalogCommand::Create {
            account: 0,
            name,
            attributes: QueueAttributes::default(),
            set: SET,
        },
    ];
    let commands = commands.map(Command::Catalog).into();
    let (broker, _) = settled(&settlement(Vec::new()), SetId(0), commands);
    let catalog = broker.catalog();
    assert!(catalog.cluster().is_none() && catalog.nodes().count() == 0);
    assert!(!catalog.is_retired(5));
    assert_eq!(catalog.find(0, "orders").unwrap().queue, QueueId(1));
}
