//! Goal: a power cut at any moment of receiving and installing a snapshot leaves the old store or
//! the new one, whole, and the reception goes on from where it was.
//! Method: one reception with several steps on the simulated disk, cut at every write, sync and
//! change of names; what is left is opened, compared, and the reception finished there.

use sampan_protocol::QueueId;
use sampan_storage::io::SimulatedDisk;
use sampan_storage::store::{SnapshotId, SnapshotWriter, Store, StoreError};

use bytes::Bytes;

use crate::support::{Harness, IDENTITY, OPTIONS, chunks, receive, row_key};

const QUEUE: QueueId = QueueId(1);

/// The store that sends, and what it sends.
fn sender() -> (Harness, SnapshotId, Vec<Bytes>) {
    let mut sender = Harness::open(SimulatedDisk::new().root()).unwrap();
    // So that the entry of the snapshot is none of the receiver's own.
    sender.next_index = 40;
    for round in 0..3 {
        sender.insert(QUEUE, 14, 900, false);
        sender.remove_living(QUEUE, |id| id % 7 == round);
        let row = (row_key(QUEUE, round), Some(vec![3; 900]));
        sender.checkpoint(vec![row]).unwrap();
    }
    let (id, chunks) = chunks(&sender.store);
    (sender, id, chunks)
}

/// A store with something of its own, which is to be replaced.
fn receiver(disk: &SimulatedDisk) -> Harness {
    let mut receiver = Harness::open(disk.root()).unwrap();
    receiver.insert(QueueId(9), 6, 400, false);
    receiver
        .checkpoint(vec![(row_key(QueueId(9), 1), Some(vec![1; 50]))])
        .unwrap();
    receiver
}

/// Opens what is left: the old store, or the new one. Finishes the reception.
fn go_on(
    disk: &SimulatedDisk,
    mut receiver: Harness,
    (sender, id, chunks): (&Harness, &SnapshotId, &[Bytes]),
    what: &str,
) {
    let known = sender.checkpoints[&id.applied.index].clone();
    receiver.checkpoints.insert(id.applied.index, known);
    receiver.given.extend(&sender.given);
    let recovered = receiver.reopen(disk.root());
    let recovered = recovered.unwrap_or_else(|error| panic!("{what}: {error}"));
    if recovered.applied == Some(id.applied) {
        assert_eq!(recovered.snapshot_applied, Some(id.applied), "{what}");
        assert_eq!(disk.root().folders().unwrap(), ["g-00000002"], "{what}");
        return;
    }
    assert_eq!(recovered.snapshot_applied, None, "{what}");
    let incoming = receive(disk.root(), id, chunks).unwrap();
    let (store, recovered) = incoming.install(receiver.store.retire()).unwrap();
    let mut receiver = Harness::adopt(store, &recovered, sender);
    receiver.checkpoint(Vec::new()).unwrap();
    receiver.assert_disk_holds_exactly();
}

/// Receives, with a part of another snapshot before it, and installs. Gives back what the receiver
/// knows, with a store that is of no use.
fn story(
    disk: &SimulatedDisk,
    receiver: Harness,
    id: &SnapshotId,
    chunks: &[Bytes],
) -> (Result<(), StoreError>, Harness) {
    let old = SnapshotId {
        incarnation: 1,
        ..id.clone()
    };
    let begun = SnapshotWriter::begin(disk.root(), IDENTITY, OPTIONS, &old).map(drop);
    let incoming = begun.and_then(|()| receive(disk.root(), id, chunks));
    let mut knowledge = Harness::open(SimulatedDisk::new().root()).unwrap();
    knowledge.checkpoints = receiver.checkpoints;
    knowledge.given = receiver.given;
    let installed = incoming.and_then(|incoming| incoming.install(receiver.store.retire()));
    (installed.map(drop), knowledge)
}

#[test]
fn a_cut_at_any_moment_leaves_the_old_store_or_the_new_one() {
    let (sender, id, chunks) = sender();
    let disk = SimulatedDisk::new();
    let old = receiver(&disk);
    let made = disk.operation_count();
    story(&disk, old, &id, &chunks).0.unwrap();
    let count = disk.operation_count();
    assert!(count - made > 60, "{} operations", count - made);
    for number in made + 1..=count {
        for seed in [0, 2 + number] {
            let disk = SimulatedDisk::new();
            let old = receiver(&disk);
            disk.crash_at(number);
            let (Err(_), old) = story(&disk, old, &id, &chunks) else {
                continue;
            };
            let left = disk.after_crash(seed);
            let what = format!("operation {number} seed {seed}");
            go_on(&left, old, (&sender, &id, &chunks), &what);
        }
    }
}

#[test]
fn a_cut_after_the_restart_that_follows_a_kill_leaves_the_old_store_or_the_new_one() {
    let (sender, id, chunks) = sender();
    let disk = SimulatedDisk::new();
    let old = receiver(&disk);
    let made = disk.operation_count();
    story(&disk, old, &id, &chunks).0.unwrap();
    for number in made + 1..=disk.operation_count() {
        let later = (number % 3 == 0).then_some(Some(1 + number * 7 % 40));
        for second in std::iter::once(None).chain(later) {
            let disk = SimulatedDisk::new();
            let old = receiver(&disk);
            disk.crash_at(number);
            let (Err(_), old) = story(&disk, old, &id, &chunks) else {
                continue;
            };
            let killed = disk.after_kill();
            let (store, found) = Store::open(killed.root(), IDENTITY, OPTIONS).unwrap();
            let is_installed = found.applied == Some(id.applied);
            if let (Some(second), false) = (second, is_installed) {
                killed.crash_at(killed.operation_count() + second);
                // Goes on with what is there, however far it comes.
                drop(receive(killed.root(), &id, &chunks));
            }
            drop(store);
            let left = killed.after_crash(0);
            let what = format!("killed at {number}, cut at {second:?}");
            go_on(&left, old, (&sender, &id, &chunks), &what);
        }
    }
}

#[test]
fn a_failed_operation_ends_the_reception_and_what_is_there_is_of_use() {
    let (sender, id, chunks) = sender();
    let disk = SimulatedDisk::new();
    let old = receiver(&disk);
    let made = disk.operation_count();
    story(&disk, old, &id, &chunks).0.unwrap();
    let count = disk.operation_count();
    for number in (made + 1..=count).step_by(2) {
        let disk = SimulatedDisk::new();
        let old = receiver(&disk);
        disk.fail_at(number);
        let (Err(_), old) = story(&disk, old, &id, &chunks) else {
            continue;
        };
        let left = disk.after_crash(1);
        go_on(
            &left,
            old,
            (&sender, &id, &chunks),
            &format!("failing {number}"),
        );
    }
}
