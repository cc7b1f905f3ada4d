//! Goal: a damaged extent costs its own messages and no others; they are named, replaced from
//! elsewhere, and on disk again after the next checkpoint.
//! Method: bytes of segments are changed under an open store.

use sampan_protocol::{MessageId, QueueId};
use sampan_storage::io::SimulatedDisk;
use sampan_storage::store::{
    EXTENT_HEADER_LEN, Reader, SEGMENT_HEADER_LEN, StoreError, StoredMessage, check, segment_name,
};

use crate::support::{Harness, INCARNATION, chunks, live, segment_names};

const QUEUE: QueueId = QueueId(1);

/// A store with a damaged first extent, and a twin that is not damaged.
fn damaged() -> (SimulatedDisk, Harness, Harness) {
    let [(disk, own), (_, twin)] = [(); 2].map(|()| {
        let disk = SimulatedDisk::new();
        let mut harness = Harness::open(disk.root()).unwrap();
        for _ in 0..3 {
            harness.insert(QUEUE, 5, 600, false);
            harness.checkpoint(Vec::new()).unwrap();
        }
        (disk, harness)
    });
    flip(
        &disk,
        SEGMENT_HEADER_LEN as u64 + EXTENT_HEADER_LEN as u64 + 70,
    );
    (disk, own, twin)
}

fn flip(disk: &SimulatedDisk, offset: u64) {
    let file = live(&*disk.root()).open(&segment_name(1)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

fn lost(reader: &Reader, ids: &[u64]) -> Vec<u64> {
    let ids: Vec<MessageId> = ids.iter().copied().map(MessageId).collect();
    match reader.read(QUEUE, &ids) {
        Ok(found) => {
            assert!(found.iter().all(Option::is_some));
            Vec::new()
        }
        Err(StoreError::DamagedMessages {
            queue, ids, file, ..
        }) => {
            assert_eq!((queue, file), (QUEUE, segment_name(1)));
            ids.into_iter().map(|id| id.0).collect()
        }
        Err(error) => panic!("{error}"),
    }
}

fn replacements(twin: &Harness, ids: &[u64]) -> Vec<(MessageId, StoredMessage)> {
    let ids: Vec<MessageId> = ids.iter().copied().map(MessageId).collect();
    let found = twin.store.reader().read(QUEUE, &ids).unwrap();
    ids.into_iter().zip(found.into_iter().flatten()).collect()
}

#[test]
fn a_read_names_every_message_of_a_damaged_extent_and_spares_the_others() {
    let (_disk, own, _twin) = damaged();
    let reader = own.store.reader();
    assert_eq!(lost(&reader, &[2]), [1, 2, 3, 4, 5]);
    assert_eq!(lost(&reader, &[4, 9]), [1, 2, 3, 4, 5]);
    assert_eq!(lost(&reader, &[6, 10, 15]), []);
}

#[test]
fn an_extent_that_was_only_read_ahead_may_be_damaged() {
    let (disk, own, _twin) = damaged();
    flip(
        &disk,
        SEGMENT_HEADER_LEN as u64 + EXTENT_HEADER_LEN as u64 + 70,
    );
    let reader = own.store.reader();
    // In the second extent, which reading on from the first one reads ahead.
    let segment = live(&*disk.root()).open(&segment_name(1)).unwrap();
    flip(&disk, segment.len().unwrap() * 3 / 4);
    assert_eq!(lost(&reader, &[6]), [6, 7, 8, 9, 10]);
    let damaged = 6;
    for id in 1..damaged {
        assert_eq!(lost(&reader, &[id]), [], "id {id}");
    }
}

#[test]
fn replaced_messages_are_read_at_once_and_on_disk_after_the_next_checkpoint() {
    let (disk, mut own, twin) = damaged();
    let reader = own.store.reader();
    let ids = lost(&reader, &[1]);
    own.store
        .replace_damaged(QUEUE, replacements(&twin, &ids))
        .unwrap();
    own.assert_disk_holds_exactly();
    own.checkpoint(Vec::new()).unwrap();
    own.assert_disk_holds_exactly();
    assert_eq!(check(&disk.root()).unwrap().finding_count, 0);
    own.reopen(disk.after_crash(0).root()).unwrap();
    own.assert_disk_holds_exactly();
}

#[test]
fn a_part_waits_for_the_rest_unless_that_is_removed() {
    let (disk, mut own, twin) = damaged();
    let reader = own.store.reader();
    reader
        .replace_damaged(QUEUE, replacements(&twin, &[1, 2, 4]))
        .unwrap();
    assert_eq!(lost(&reader, &[1, 2, 4]), []);
    assert_eq!(lost(&reader, &[3]), [1, 2, 3, 4, 5]);
    own.checkpoint(Vec::new()).unwrap();
    assert_eq!(lost(&reader, &[1, 2, 4]), []);
    own.remove(QUEUE, 3, 1);
    own.remove(QUEUE, 4, 1);
    own.checkpoint(Vec::new()).unwrap();
    assert_eq!(lost(&reader, &[5]), [1, 2, 5]);
    own.remove(QUEUE, 5, 1);
    own.checkpoint(Vec::new()).unwrap();
    assert_eq!(check(&disk.root()).unwrap().finding_count, 0);
    own.assert_disk_holds_exactly();
}

#[test]
fn a_message_that_does_not_fit_its_record_replaces_nothing() {
    let (_disk, own, twin) = damaged();
    let mut messages = replacements(&twin, &[1, 2]);
    let mut content = messages[1].1.content.to_vec();
    let last = content.len() - 1;
    content[last] ^= 1;
    messages[1].1.content = content.into();
    let refused = own.store.replace_damaged(QUEUE, messages);
    assert!(matches!(
        refused,
        Err(StoreError::WrongReplacement {
            id: MessageId(2),
            ..
        })
    ));
    assert_eq!(lost(&own.store.reader(), &[1]), [1, 2, 3, 4, 5]);
}

#[test]
fn a_sparse_segment_with_damage_in_it_does_not_stop_the_checkpoints() {
    let disk = SimulatedDisk::new();
    let mut own = Harness::open(disk.root()).unwrap();
    for _ in 0..10 {
        own.insert(QUEUE, 30, 900, false);
        own.checkpoint(Vec::new()).unwrap();
    }
    flip(&disk, 3_000);
    own.remove_living(QUEUE, |id| id != 2 && id < 280);
    for _ in 0..5 {
        own.checkpoint(Vec::new()).unwrap();
    }
    assert!(!segment_names(&*disk.root()).is_empty());
    let reader = own.store.reader();
    assert_eq!(lost(&reader, &[290]), []);
}

#[test]
fn an_extent_that_the_device_does_not_give_back_is_replaced_like_a_changed_one() {
    let disk = SimulatedDisk::new();
    let [mut own, mut twin] =
        [disk.root(), SimulatedDisk::new().root()].map(|root| Harness::open(root).unwrap());
    for harness in [&mut own, &mut twin] {
        for _ in 0..3 {
            harness.insert(QUEUE, 5, 600, false);
            harness.checkpoint(Vec::new()).unwrap();
        }
    }
    let bad = SEGMENT_HEADER_LEN + 512..SEGMENT_HEADER_LEN + 1024;
    disk.spoil("g-00000001", &segment_name(1), bad).unwrap();
    let reader = own.store.reader();
    let ids = lost(&reader, &[2]);
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert_eq!(lost(&reader, &[6, 10, 15]), []);
    let mut snapshot = own.store.snapshot(INCARNATION).unwrap().unwrap();
    let error = snapshot.next_chunk().unwrap_err();
    assert!(
        matches!(error, StoreError::DamagedMessages { .. }),
        "{error}"
    );
    drop(snapshot);
    let messages = replacements(&twin, &ids);
    own.store.replace_damaged(QUEUE, messages).unwrap();
    own.checkpoint(Vec::new()).unwrap();
    own.assert_disk_holds_exactly();
    chunks(&own.store);
}

#[test]
fn sparse_segments_that_cannot_be_read_stop_neither_checkpoints_nor_the_rewriting_of_others() {
    let disk = SimulatedDisk::new();
    let mut own = Harness::open(disk.root()).unwrap();
    for _ in 0..12 {
        own.insert(QUEUE, 30, 900, false);
        own.checkpoint(Vec::new()).unwrap();
    }
    // Opened anew, so that a file that is gone is not open any more.
    let disk = disk.after_crash(0);
    own.reopen(disk.root()).unwrap();
    let names = segment_names(&*disk.root());
    assert_eq!(names.len(), 12);
    // More than are rewritten at a time, one of each kind.
    for name in &names[..4] {
        disk.spoil("g-00000001", name, 3_000..3_001).unwrap();
    }
    let inside = live(&*disk.root());
    inside.open(&names[4]).unwrap().set_len(3_000).unwrap();
    inside.remove(&names[5]).unwrap();
    own.remove_living(QUEUE, |id| id % 30 != 2);
    for _ in 0..4 {
        own.insert(QUEUE, 1, 100, false);
        own.checkpoint(Vec::new()).unwrap();
    }
    let left = segment_names(&*disk.root());
    assert_eq!(left[..5], names[..5]);
    assert_eq!(left.len(), 6, "the others were rewritten into the newest");
    let reader = own.store.reader();
    for segment in 6..12 {
        assert_eq!(lost(&reader, &[segment * 30 + 2]), []);
    }
    assert!(reader.read(QUEUE, &[MessageId(2)]).unwrap_err().is_damage());
}
