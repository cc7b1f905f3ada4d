//! Goal: a snapshot is the state as of its entry, whatever goes on beside it, and nothing but its
//! own chunks, in their order, can fill a store. Method: a store with everything in it is sent to
//! another disk, in one go and in pieces, with wrong chunks in between.

use std::sync::Arc;

use bytes::Bytes;
use sampan_protocol::{MessageId, QueueId};
use sampan_storage::io::{Folder, SimulatedDisk};
use sampan_storage::store::{
    SnapshotId, SnapshotWriter, Store, StoreError, StoreIdentity, StoreOptions, check,
};

use crate::image::files;
use crate::support::{
    Harness, IDENTITY, INCARNATION, OPTIONS, Row, chunks, live, receive, row_key, segment_names,
};

const ONE: QueueId = QueueId(1);
const TWO: QueueId = QueueId(2);
const GONE: QueueId = QueueId(3);

fn rows(round: u64) -> Vec<Row> {
    let content = vec![u8::try_from(round).unwrap(); 200];
    (0..10)
        .map(|number| (row_key(ONE, round * 7 + number), Some(content.clone())))
        .collect()
}

/// Several queues and segments, holes, rewritten segments, delayed messages, a removed queue.
fn full() -> (SimulatedDisk, Harness) {
    let disk = SimulatedDisk::new();
    let mut harness = Harness::open(disk.root()).unwrap();
    for round in 1..=6 {
        harness.insert(ONE, 12, 900, false);
        harness.insert(TWO, 4, 1_500, true);
        harness.insert(GONE, 6, 300, false);
        harness.remove_living(ONE, |id| id + 20 < round * 12 && id % 8 != 0);
        harness.checkpoint(rows(round)).unwrap();
    }
    harness.remove_queue(GONE);
    harness.checkpoint(Vec::new()).unwrap();
    (disk, harness)
}

fn empty() -> (SimulatedDisk, Store) {
    let disk = SimulatedDisk::new();
    let (store, _) = Store::open(disk.root(), IDENTITY, OPTIONS).unwrap();
    (disk, store)
}

fn writer(root: Arc<dyn Folder>, id: &SnapshotId) -> (SnapshotWriter, u64) {
    SnapshotWriter::resume(root, IDENTITY, OPTIONS, id).unwrap()
}

#[test]
fn a_snapshot_is_the_state_at_its_entry_while_the_store_goes_on() {
    let (_disk, mut sender) = full();
    let mut reader = sender.store.snapshot(INCARNATION).unwrap().unwrap();
    let id = reader.id().clone();
    assert_eq!(Some(id.applied), sender.model.applied);
    let mut chunks = Vec::new();
    for round in 0u64.. {
        let Some(chunk) = reader.next_chunk().unwrap() else {
            break;
        };
        chunks.push(chunk);
        if round % 2 == 0 && round < 20 {
            sender.insert(ONE, 5, 700, false);
            sender.remove_living(ONE, |id| id % 3 == round % 3);
            sender.remove_living(TWO, |id| id % 5 == round % 5);
            sender.checkpoint(rows(round)).unwrap();
            sender.assert_disk_holds_exactly();
        }
    }
    drop(reader);
    assert!(chunks.len() > 5, "{} chunks", chunks.len());
    let (disk, store) = empty();
    let incoming = receive(disk.root(), &id, &chunks).unwrap();
    let (store, recovered) = incoming.install(store.retire()).unwrap();
    assert_eq!(recovered.applied, Some(id.applied));
    let mut receiver = Harness::adopt(store, &recovered, &sender);
    assert_eq!(disk.root().folders().unwrap(), ["g-00000002"]);
    assert!(
        !live(&*disk.root())
            .list()
            .unwrap()
            .contains(&"incoming".to_owned())
    );
    let report = check(&disk.root()).unwrap();
    assert_eq!(report.message_count, receiver.model.messages.len() as u64);
    assert!(
        report.findings.is_empty() && report.leftovers.is_empty(),
        "{report:?}"
    );
    // It stays a store that came as a snapshot until its first checkpoint.
    let again = receiver.reopen(disk.after_crash(0).root()).unwrap();
    assert_eq!(again.snapshot_applied, Some(id.applied));
    receiver.insert(ONE, 3, 100, false);
    receiver.checkpoint(rows(60)).unwrap();
    receiver.assert_disk_holds_exactly();
}

#[test]
fn a_checkpoint_ends_what_the_snapshot_said_of_the_log() {
    let (_disk, sender) = full();
    let (id, chunks) = chunks(&sender.store);
    let (disk, store) = empty();
    let incoming = receive(disk.root(), &id, &chunks).unwrap();
    let (store, recovered) = incoming.install(store.retire()).unwrap();
    let mut receiver = Harness::adopt(store, &recovered, &sender);
    receiver.checkpoint(Vec::new()).unwrap();
    let again = receiver.reopen(disk.after_crash(1).root()).unwrap();
    assert_eq!(again.snapshot_applied, None);
}

#[test]
fn a_new_store_has_no_snapshot_and_an_empty_checkpoint_is_one() {
    let (_disk, store) = empty();
    assert!(store.snapshot(INCARNATION).unwrap().is_none());
    let disk = SimulatedDisk::new();
    let mut sender = Harness::open(disk.root()).unwrap();
    sender.checkpoint(Vec::new()).unwrap();
    let (id, chunks) = chunks(&sender.store);
    assert_eq!(chunks.len(), 1);
    let (disk, store) = empty();
    let incoming = receive(disk.root(), &id, &chunks).unwrap();
    let (store, recovered) = incoming.install(store.retire()).unwrap();
    Harness::adopt(store, &recovered, &sender);
}

#[test]
fn a_snapshot_is_taken_over_by_a_node_of_another_name() {
    let (_disk, sender) = full();
    let (id, chunks) = chunks(&sender.store);
    let other = StoreIdentity {
        node: 9,
        cluster: 5,
        ..IDENTITY
    };
    let root = SimulatedDisk::new().root();
    let (store, _) = Store::open(root.clone(), other, OPTIONS).unwrap();
    let mut writer = SnapshotWriter::begin(root.clone(), other, OPTIONS, &id).unwrap();
    chunks.iter().for_each(|chunk| {
        writer.write_chunk(chunk.clone()).unwrap();
    });
    drop(writer.finish().unwrap().install(store.retire()).unwrap());
    let (store, recovered) = Store::open(root, other, OPTIONS).unwrap();
    Harness::adopt(store, &recovered, &sender);
}

#[test]
fn pins_keep_segments_until_the_snapshot_is_dropped_and_no_longer() {
    let (disk, mut sender) = full();
    let mut reader = sender.store.snapshot(INCARNATION).unwrap().unwrap();
    let pinned = segment_names(&*disk.root());
    assert!(pinned.len() > 2);
    let count = sender.store.reader().pinned_count();
    assert_eq!(count, pinned.len());
    sender.remove_living(ONE, |_| true);
    sender.remove_living(TWO, |_| true);
    for _ in 0..3 {
        sender.checkpoint(Vec::new()).unwrap();
    }
    assert_eq!(
        segment_names(&*disk.root()),
        pinned,
        "nothing that is read is removed"
    );
    // A restart does not know of pins: it removes what is dead.
    let left = disk.after_crash(1);
    Store::open(left.root(), IDENTITY, OPTIONS).unwrap();
    assert!(segment_names(&*left.root()).is_empty());
    while reader.next_chunk().unwrap().is_some() {}
    drop(reader);
    assert_eq!(sender.store.reader().pinned_count(), 0);
    sender.checkpoint(Vec::new()).unwrap();
    assert!(segment_names(&*disk.root()).is_empty());
}

#[test]
fn the_same_checkpoint_gives_the_same_chunks_from_wherever_it_is_read() {
    let options = StoreOptions {
        chunk_len: 100,
        ..OPTIONS
    };
    let disk = SimulatedDisk::new();
    let mut sender = Harness::open(disk.root()).unwrap();
    sender.insert(ONE, 50, 900, false);
    sender
        .checkpoint(
            (0..200)
                .map(|n| (row_key(ONE, n), Some(vec![7; 90])))
                .collect(),
        )
        .unwrap();
    let left = disk.after_crash(1);
    let (store, _) = Store::open(left.root(), IDENTITY, options).unwrap();
    let (id, all) = chunks(&store);
    assert!(all.len() > 150, "{}", all.len());
    assert_eq!(chunks(&store), (id.clone(), all.clone()));
    let mut reader = store.snapshot(INCARNATION).unwrap().unwrap();
    for number in [70, 3, 130, 64, 63, 0, all.len() - 1] {
        reader.seek(number as u64).unwrap();
        assert_eq!(reader.next_number(), number as u64);
        assert_eq!(reader.next_chunk().unwrap().as_ref(), Some(&all[number]));
    }
    assert_eq!(reader.next_chunk().unwrap(), None);
    assert!(reader.seek(all.len() as u64 + 1).is_err());
    let other = store.snapshot(INCARNATION + 1).unwrap().unwrap();
    assert_ne!(*other.id(), id, "another life of the data folder");
    sender.checkpoint(Vec::new()).unwrap();
    assert_ne!(chunks(&sender.store).0, id, "another checkpoint");
}

#[test]
fn a_broken_connection_and_a_restart_cost_what_was_not_durable_and_no_more() {
    let (_disk, sender) = full();
    let (id, chunks) = chunks(&sender.store);
    let (disk, store) = empty();
    let (mut first, next) = writer(disk.root(), &id);
    assert_eq!(next, 0);
    let half = chunks.len() / 2;
    for chunk in &chunks[..half] {
        first.write_chunk(chunk.clone()).unwrap();
    }
    let durable = first.durable_number();
    assert!(durable > 0 && durable <= half as u64, "{durable} of {half}");
    assert_eq!(first.next_number(), half as u64);
    drop((first, store));
    let left = disk.after_crash(0);
    let (store, recovered) = Store::open(left.root(), IDENTITY, OPTIONS).unwrap();
    assert_eq!((recovered.applied, recovered.quarantined.len()), (None, 0));
    let unfinished = SnapshotWriter::unfinished(left.root()).unwrap();
    assert_eq!(unfinished.as_ref(), Some(&id));
    let (second, next) = writer(left.root(), &id);
    assert_eq!(next, durable);
    drop(second);
    let incoming = receive(left.root(), &id, &chunks).unwrap();
    drop(incoming);
    // Received whole and not installed: nothing has to come again.
    let left = left.after_crash(0);
    drop(store);
    let (store, _) = Store::open(left.root(), IDENTITY, OPTIONS).unwrap();
    let (writer, next) = writer(left.root(), &id);
    assert_eq!(next, chunks.len() as u64);
    assert!(writer.is_complete());
    let incoming = writer.finish().unwrap();
    let (store, recovered) = incoming.install(store.retire()).unwrap();
    Harness::adopt(store, &recovered, &sender);
}

#[test]
fn another_snapshot_begins_anew_and_the_old_part_goes() {
    let (_disk, mut sender) = full();
    let (old, old_chunks) = chunks(&sender.store);
    sender.insert(ONE, 3, 100, false);
    sender.checkpoint(Vec::new()).unwrap();
    let (id, chunks) = chunks(&sender.store);
    let (disk, store) = empty();
    let (mut first, _) = writer(disk.root(), &old);
    for chunk in &old_chunks[..4] {
        first.write_chunk(chunk.clone()).unwrap();
    }
    first.sync().unwrap();
    let at_work = SnapshotWriter::resume(disk.root(), IDENTITY, OPTIONS, &id);
    assert!(at_work.is_err(), "two writers at once");
    drop(first);
    let incoming = receive(disk.root(), &id, &chunks).unwrap();
    assert_eq!(disk.root().folders().unwrap(), ["g-00000001", "g-00000002"]);
    drop(incoming);
    SnapshotWriter::discard(disk.root()).unwrap();
    assert_eq!(SnapshotWriter::unfinished(disk.root()).unwrap(), None);
    assert_eq!(disk.root().folders().unwrap(), ["g-00000001"]);
    drop(store);
}

#[test]
fn chunks_out_of_order_of_others_or_too_early_ended_are_refused_and_leave_no_trace() {
    let (_disk, mut sender) = full();
    let (id, own) = chunks(&sender.store);
    sender.insert(TWO, 1, 10, false);
    sender.checkpoint(Vec::new()).unwrap();
    let (_, others) = chunks(&sender.store);
    let (disk, store) = empty();
    let (mut writer, _) = writer(disk.root(), &id);
    for (number, chunk) in own.iter().enumerate() {
        let refused = writer.write_chunk(others[number.min(others.len() - 1)].clone());
        assert!(
            matches!(refused, Err(StoreError::WrongChunk { .. })),
            "{refused:?}"
        );
        for wrong in [number + 1, number.wrapping_sub(1)] {
            let Some(chunk) = own.get(wrong) else {
                continue;
            };
            let refused = writer.write_chunk(chunk.clone());
            assert!(
                matches!(refused, Err(StoreError::ChunkOutOfOrder { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(writer.next_number(), number as u64);
        let next = writer.write_chunk(chunk.clone()).unwrap();
        assert_eq!(next, number as u64 + 1);
    }
    let incoming = writer.finish().unwrap();
    let (store, recovered) = incoming.install(store.retire()).unwrap();
    Harness::adopt(store, &recovered, &sender);
    let (disk, _store) = empty();
    let (mut writer, _) = self::writer(disk.root(), &id);
    writer.write_chunk(own[0].clone()).unwrap();
    let early = writer.finish();
    assert!(matches!(
        early,
        Err(StoreError::SnapshotIncomplete { next: 1 })
    ));
}

#[test]
fn no_changed_byte_of_a_chunk_is_taken_in() {
    let disk = SimulatedDisk::new();
    let mut sender = Harness::open(disk.root()).unwrap();
    sender.insert(ONE, 6, 80, false);
    sender.insert(TWO, 2, 300, true);
    sender.checkpoint(rows(1)).unwrap();
    let (id, chunks) = chunks(&sender.store);
    let (disk, _store) = empty();
    let (mut writer, _) = writer(disk.root(), &id);
    for chunk in &chunks {
        for place in 0..chunk.len() {
            let mut flipped = chunk.to_vec();
            flipped[place] ^= 1 << (place % 8);
            writer.write_chunk(Bytes::from(flipped)).unwrap_err();
        }
        for len in [0, 1, chunk.len() / 2, chunk.len() - 1] {
            writer.write_chunk(chunk.slice(..len)).unwrap_err();
        }
        let longer = [&chunk[..], &[0]].concat();
        writer.write_chunk(Bytes::from(longer)).unwrap_err();
        writer.write_chunk(chunk.clone()).unwrap();
    }
    assert!(writer.is_complete());
}

#[test]
fn readers_turn_to_the_new_store_and_its_predecessor_writes_no_more() {
    let (_disk, sender) = full();
    let (id, chunks) = chunks(&sender.store);
    let disk = SimulatedDisk::new();
    let mut old = Harness::open(disk.root()).unwrap();
    old.insert(GONE, 4, 100, false);
    old.checkpoint(vec![(row_key(GONE, 1), Some(vec![1]))])
        .unwrap();
    let reader = old.store.reader();
    let mut of_old = old.store.snapshot(INCARNATION).unwrap().unwrap();
    assert!(reader.read(GONE, &[MessageId(1)]).unwrap()[0].is_some());
    old.insert(GONE, 4, 100, false);
    let job = old.begin(Vec::new()).unwrap();
    let incoming = receive(disk.root(), &id, &chunks).unwrap();
    let (store, recovered) = incoming.install(old.store.retire()).unwrap();
    let mut receiver = Harness::adopt(store, &recovered, &sender);
    assert!(reader.read(GONE, &[MessageId(1)]).unwrap()[0].is_none());
    let row = reader.read_rows(&[row_key(GONE, 1)]).unwrap();
    assert_eq!(row, [(row_key(GONE, 1), None)]);
    let (queue, id) = *receiver.model.messages.keys().next().unwrap();
    assert!(reader.read(queue, &[MessageId(id)]).unwrap()[0].is_some());
    assert!(matches!(of_old.next_chunk(), Err(StoreError::Replaced)));
    let outcome = job.run();
    assert!(!outcome.is_durable());
    let refused = receiver.store.finish_checkpoint(outcome);
    assert!(matches!(refused, Err(StoreError::Replaced)));
    receiver.checkpoint(Vec::new()).unwrap();
    receiver.assert_disk_holds_exactly();
}

#[test]
fn a_damaged_extent_ends_the_snapshot_and_is_never_sent() {
    let (disk, sender) = full();
    for name in segment_names(&*disk.root()) {
        let file = live(&*disk.root()).open(&name).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 300).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 300).unwrap();
    }
    let mut reader = sender.store.snapshot(INCARNATION).unwrap().unwrap();
    let error = loop {
        match reader.next_chunk() {
            Ok(chunk) => assert!(chunk.is_some(), "damage was sent"),
            Err(error) => break error,
        }
    };
    assert!(error.is_damage());
    assert!(error.to_string().contains(".seg"), "{error}");
    assert!(error.to_string().contains("at byte"), "{error}");
}

#[test]
fn no_room_ends_the_reception_and_it_can_be_resumed() {
    let (_disk, sender) = full();
    let (id, chunks) = chunks(&sender.store);
    let (disk, store) = empty();
    let (mut first, _) = writer(disk.root(), &id);
    let used: usize = files(&*disk.root()).values().map(Vec::len).sum();
    disk.set_capacity(used as u64 + 10_000);
    let failed = chunks
        .iter()
        .find_map(|chunk| first.write_chunk(chunk.clone()).err());
    assert!(failed.unwrap().is_full());
    assert!(matches!(
        first.write_chunk(chunks[0].clone()),
        Err(StoreError::Latched)
    ));
    drop(first);
    disk.set_capacity(u64::MAX);
    let incoming = receive(disk.root(), &id, &chunks).unwrap();
    let (store, recovered) = incoming.install(store.retire()).unwrap();
    Harness::adopt(store, &recovered, &sender);
}

#[test]
fn a_snapshot_during_which_the_index_was_opened_anew_sends_nothing_wrong() {
    let (disk, mut sender) = full();
    let (_, expected) = chunks(&sender.store);
    let mut reader = sender.store.snapshot(INCARNATION).unwrap().unwrap();
    let mut found = vec![reader.next_chunk().unwrap().unwrap()];
    let used: usize = files(&*disk.root()).values().map(Vec::len).sum();
    sender.insert(ONE, 200, 2_000, false);
    disk.set_capacity(used as u64 + 1_000);
    assert!(sender.checkpoint(Vec::new()).unwrap_err().is_full());
    // The index was opened anew under it: what is not in memory already is refused.
    while let Ok(Some(chunk)) = reader.next_chunk() {
        found.push(chunk);
    }
    assert_eq!(found, expected[..found.len()]);
    drop(reader);
    assert_eq!(sender.store.reader().pinned_count(), 0);
    disk.set_capacity(u64::MAX);
    let again = sender.store.retry_checkpoint().unwrap();
    sender.run(again).unwrap();
    sender.assert_disk_holds_exactly();
    let (id, chunks) = chunks(&sender.store);
    let (disk, store) = empty();
    let incoming = receive(disk.root(), &id, &chunks).unwrap();
    let (store, recovered) = incoming.install(store.retire()).unwrap();
    Harness::adopt(store, &recovered, &sender);
}
