//! Goal: replicas that did the same have the same state hash, and one that did otherwise has not.
//!
//! Method: two brokers get the same entries; then one of them has had a row changed, as damage in
//! memory would, and the first entry whose outcome differs must show. That freezes, evictions and
//! restores leave the hash alone is checked on random entries in `tests/model`.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::collections::BTreeMap;

use bytes::Bytes;
use sampan_core::{Broker, CatalogCommand, Command, Effect, Entry, Reply, RowKey};
use sampan_protocol::{
    BatchBuilder, Durability, Handles, MessageBatch, NewMessage, QueueAttributes, QueueId, SetId,
    Timestamp,
};

const QUEUE: QueueId = QueueId(1);
const START: u64 = 1_700_000_000_000;

fn batch(count: usize) -> MessageBatch {
    let mut builder = BatchBuilder::new();
    for _ in 0..count {
        let body = Bytes::from_static(b"m");
        builder
            .push(NewMessage {
                body,
                ..Default::default()
            })
            .unwrap();
    }
    builder.finish()
}

fn create(secret: u64) -> Command {
    Command::QueueCreate {
        queue: QUEUE,
        name: "orders".to_owned(),
        attributes: QueueAttributes::default(),
        secret,
    }
}

fn send(count: usize) -> Command {
    Command::Send {
        queue: QUEUE,
        producer: None,
        batch: batch(count),
    }
}

fn receive(count_max: u16) -> Command {
    Command::Receive {
        queue: QUEUE,
        count_max,
        len_max: 0,
        visibility_timeout_ms: None,
    }
}

fn delete(handles: Handles) -> Command {
    Command::Delete {
        queue: QUEUE,
        handles,
    }
}

fn apply(broker: &mut Broker, after_ms: u64, commands: Vec<Command>) -> Vec<Reply> {
    let (mut effects, mut replies) = (Vec::new(), Vec::new());
    let stamp = Timestamp(START + after_ms);
    let entry = Entry {
        stamp,
        commands,
        ..Entry::default()
    };
    broker.apply(&entry, &mut effects, &mut replies).unwrap();
    replies
}

fn handles(reply: &Reply) -> Handles {
    let Reply::Received(deliveries) = reply else {
        panic!("{reply:?}")
    };
    deliveries.iter().map(|delivery| delivery.handle).collect()
}

/// A broker whose row of this kind has one byte changed.
fn with_damage(broker: &mut Broker, kind: u8, at: usize) -> Broker {
    let rows = broker.freeze().into_rows();
    let mut rows: BTreeMap<RowKey, Vec<u8>> =
        rows.filter_map(|(key, row)| Some((key, row?))).collect();
    let row = rows.iter_mut().find(|(key, _)| key.kind == kind).unwrap().1;
    row[at] ^= 1;
    Broker::restore(rows.into_iter().map(|(key, row)| (key, row.into()))).unwrap()
}

#[test]
fn a_different_outcome_makes_a_different_hash() {
    let hash_after = |commands: Vec<Command>| {
        let mut broker = Broker::new();
        apply(&mut broker, 0, vec![create(5), send(3)]);
        apply(&mut broker, 1, commands);
        broker.state_hash()
    };
    let catalog = |name: &str| {
        Command::Catalog(CatalogCommand::Create {
            account: 0,
            name: name.into(),
            attributes: QueueAttributes::default(),
            set: SetId(1),
        })
    };
    let hashes = [
        hash_after(vec![]),
        hash_after(vec![send(1)]),
        hash_after(vec![send(2)]),
        hash_after(vec![send(1), send(1)]),
        hash_after(vec![receive(1)]),
        hash_after(vec![receive(2)]),
        hash_after(vec![receive(0)]),
        hash_after(vec![delete(
            [sampan_protocol::ReceiptHandle(9)].into_iter().collect(),
        )]),
        hash_after(vec![Command::QueueDelete { queue: QUEUE }]),
        hash_after(vec![Command::QueueDelete { queue: QueueId(9) }]),
        hash_after(vec![catalog("one")]),
        hash_after(vec![catalog("two")]),
        hash_after(vec![catalog("two"), catalog("two")]),
    ];
    for (place, hash) in hashes.iter().enumerate() {
        assert!(!hashes[place + 1..].contains(hash), "at {place}");
    }
}

#[test]
fn time_alone_moves_the_hash() {
    let mut broker = Broker::new();
    apply(&mut broker, 0, vec![]);
    let before = broker.state_hash();
    apply(&mut broker, 5, vec![]);
    assert_ne!(broker.state_hash(), before);
}

/// A lease whose message id was damaged: its lapse brings back, or its delete removes, another one.
#[test]
fn a_damaged_lease_shows_at_its_delete_and_at_its_lapse() {
    for is_deleted in [true, false] {
        let mut sound = Broker::new();
        apply(&mut sound, 0, vec![create(5), send(3)]);
        let replies = apply(&mut sound, 1, vec![receive(3)]);
        // Behind version, live, deadline and the first slot's instant.
        let mut damaged = with_damage(&mut sound, RowKey::LEASES, 1 + 8 + 8 + 8);
        assert_eq!(
            damaged.state_hash(),
            sound.state_hash(),
            "nothing came of it yet"
        );
        for broker in [&mut sound, &mut damaged] {
            if is_deleted {
                apply(broker, 2, vec![delete(handles(&replies[0]))]);
            } else {
                apply(broker, 60_000, vec![]);
            }
        }
        assert_ne!(damaged.state_hash(), sound.state_hash());
    }
}

#[test]
fn a_damaged_receive_count_shows_at_the_next_receive() {
    let mut sound = Broker::new();
    apply(&mut sound, 0, vec![create(5), send(1)]);
    apply(&mut sound, 1, vec![receive(1)]);
    // Behind version, live, deadline, instant, id and the first receive's instant; 1 becomes 3.
    let mut damaged = with_damage(&mut sound, RowKey::LEASES, 1 + 8 + 8 + 8 + 8 + 8 + 1);
    for broker in [&mut sound, &mut damaged] {
        apply(broker, 60_000, vec![receive(1)]);
    }
    assert_ne!(damaged.state_hash(), sound.state_hash());
}

#[test]
fn other_handles_are_another_hash() {
    let [one, other] = [5, 6].map(|secret| {
        let mut broker = Broker::new();
        apply(&mut broker, 0, vec![create(secret), send(1)]);
        apply(&mut broker, 1, vec![receive(1)]);
        broker.state_hash()
    });
    assert_ne!(one, other);
}

/// When a log confirms an entry is nothing that a queue knows of.
#[test]
fn the_hash_does_not_depend_on_the_durability_of_entries() {
    let run = |durability| {
        let mut broker = Broker::new();
        for (stamp, commands) in [(0, vec![create(5), send(8)]), (1, vec![receive(8)])] {
            let entry = Entry {
                stamp: Timestamp(START + stamp),
                commands,
                durability,
            };
            broker
                .apply(&entry, &mut Vec::new(), &mut Vec::new())
                .unwrap();
        }
        broker.state_hash()
    };
    assert_eq!(run(Durability::Sync), run(Durability::Async));
}

/// A leader may drain its effects after each entry, a replay after many: runs in the list are
/// joined differently then.
#[test]
fn the_hash_does_not_depend_on_how_the_caller_collects_effects() {
    let run = |collects: bool| {
        let (mut broker, mut effects, mut replies) = (Broker::new(), Vec::new(), Vec::new());
        let mut removals = 0;
        apply(&mut broker, 0, vec![create(5), send(8)]);
        let received = apply(&mut broker, 1, vec![receive(8)]);
        for handle in handles(&received[0]).iter() {
            let commands = vec![delete([handle].into_iter().collect())];
            let stamp = Timestamp(START + 2);
            let entry = Entry {
                stamp,
                commands,
                ..Entry::default()
            };
            broker.apply(&entry, &mut effects, &mut replies).unwrap();
            if !collects {
                removals += effects.len();
                effects.clear();
            }
        }
        let removed = |effect: &&Effect| matches!(effect, Effect::Removed { .. });
        (
            broker.state_hash(),
            removals + effects.iter().filter(removed).count(),
        )
    };
    let (collected, cleared) = (run(true), run(false));
    assert_eq!((collected.1, cleared.1), (1, 8), "the lists do differ");
    assert_eq!(collected.0, cleared.0);
}
