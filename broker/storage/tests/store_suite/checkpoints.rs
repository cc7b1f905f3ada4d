//! Goal: what checkpoints promise about room, failures, segments and removed queues.
//! Method: one small story each, on the simulated disk.

use sampan_protocol::{MessageId, QueueId};
use sampan_storage::io::{Folder, SimulatedDisk};
use sampan_storage::store::{QUEUE_REMOVAL_COUNT_MAX, StoreError};

use crate::image::files;
use crate::support::{Harness, log_id, row_key, segment_names};

const QUEUE: QueueId = QueueId(1);

fn open() -> (SimulatedDisk, Harness) {
    let disk = SimulatedDisk::new();
    let harness = Harness::open(disk.root()).unwrap();
    (disk, harness)
}

fn used_len(folder: &dyn Folder) -> u64 {
    let own = files(folder).into_values();
    own.map(|bytes| bytes.len() as u64).sum()
}

#[test]
fn what_died_before_the_checkpoint_reaches_no_segment() {
    let (disk, mut harness) = open();
    harness.insert(QUEUE, 100, 500, false);
    harness.remove(QUEUE, 1, 100);
    assert_eq!(harness.store.overlay_len(), 0);
    harness.checkpoint(Vec::new()).unwrap();
    assert_eq!(segment_names(&*disk.root()), Vec::<String>::new());
}

#[test]
fn a_segment_goes_when_nothing_in_it_lives() {
    let (disk, mut harness) = open();
    harness.insert(QUEUE, 40, 500, false);
    harness.checkpoint(Vec::new()).unwrap();
    assert!(!segment_names(&*disk.root()).is_empty());
    harness.remove(QUEUE, 1, 40);
    harness.checkpoint(Vec::new()).unwrap();
    assert_eq!(segment_names(&*disk.root()), Vec::<String>::new());
    harness.insert(QUEUE, 3, 500, false);
    harness.checkpoint(Vec::new()).unwrap();
    harness.assert_disk_holds_exactly();
}

#[test]
fn a_segment_that_is_too_short_to_be_rewritten_goes_when_nothing_in_it_lives() {
    let (disk, mut harness) = open();
    harness.insert(QUEUE, 1, 10, false);
    harness.checkpoint(Vec::new()).unwrap();
    assert!(harness.store.segment_stats().len < 256);
    harness.remove(QUEUE, 1, 1);
    harness.checkpoint(Vec::new()).unwrap();
    assert_eq!(segment_names(&*disk.root()), Vec::<String>::new());
}

#[test]
fn the_newest_segment_is_rewritten_by_the_checkpoint_that_finds_it_sparse() {
    let (disk, mut harness) = open();
    harness.insert(QUEUE, 25, 900, false);
    harness.checkpoint(Vec::new()).unwrap();
    harness.remove_living(QUEUE, |id| id != 5);
    harness.checkpoint(Vec::new()).unwrap();
    let after = harness.store.segment_stats();
    assert_eq!(after.count, 1);
    assert!(after.len < 4_000, "{after:?}");
    assert_eq!(segment_names(&*disk.root()).len(), 1);
    harness.assert_disk_holds_exactly();
}

#[test]
fn one_old_message_does_not_keep_its_segment() {
    let (disk, mut harness) = open();
    for _ in 0..20 {
        harness.insert(QUEUE, 30, 900, false);
        harness.checkpoint(Vec::new()).unwrap();
    }
    let before = harness.store.segment_stats();
    harness.remove_living(QUEUE, |id| id != 5);
    for _ in 0..6 {
        harness.checkpoint(Vec::new()).unwrap();
        harness.assert_disk_holds_exactly();
    }
    let after = harness.store.segment_stats();
    assert_eq!(after.count, 1, "{before:?} {after:?}");
    assert!(
        after.len < 4_000 && after.live_len * 2 > after.len,
        "{after:?}"
    );
    assert_eq!(segment_names(&*disk.root()).len(), 1);
}

#[test]
fn a_removal_during_a_checkpoint_hides_the_message_at_once_and_on_disk_at_the_next() {
    let (disk, mut harness) = open();
    harness.insert(QUEUE, 10, 100, false);
    let job = harness.begin(Vec::new()).unwrap();
    harness.remove(QUEUE, 3, 2);
    harness.insert(QUEUE, 1, 100, false);
    harness.assert_holds();
    harness.run(job).unwrap();
    harness.assert_holds();
    harness.checkpoint(Vec::new()).unwrap();
    harness.assert_disk_holds_exactly();
    harness.reopen(disk.after_crash(1).root()).unwrap();
}

#[test]
fn a_full_disk_leaves_the_last_checkpoint_and_the_same_one_can_be_run_again() {
    let (disk, mut harness) = open();
    harness.insert(QUEUE, 30, 500, false);
    harness
        .checkpoint(vec![(row_key(QUEUE, 1), Some(vec![1; 200]))])
        .unwrap();
    let before = harness.model.clone();
    harness.insert(QUEUE, 200, 2_000, false);
    let rows = (0..60)
        .map(|number| (row_key(QUEUE, number), Some(vec![2; 3_000])))
        .collect();
    disk.set_capacity(used_len(&*disk.root()) + 1_000);
    let error = harness.checkpoint(rows).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert!(!harness.store.can_begin_checkpoint());
    harness.assert_holds();
    // The undone checkpoint gave back what it had taken.
    disk.set_capacity(used_len(&*disk.root()) + 1_000);
    let again = harness.store.retry_checkpoint().unwrap();
    assert!(harness.run(again).unwrap_err().is_full());
    let left = disk.after_crash(1);
    let mut other = Harness::open(SimulatedDisk::new().root()).unwrap();
    other.checkpoints.insert(1, before);
    other.given = harness.given.clone();
    other.reopen(left.root()).unwrap();
    disk.set_capacity(u64::MAX);
    let again = harness.store.retry_checkpoint().unwrap();
    harness.run(again).unwrap();
    harness.assert_disk_holds_exactly();
    harness.reopen(disk.after_crash(1).root()).unwrap();
}

#[test]
fn every_amount_of_room_is_either_enough_or_a_refusal() {
    for room in (0..400_000).step_by(9_000) {
        let (disk, mut harness) = open();
        harness.insert(QUEUE, 20, 500, false);
        harness.checkpoint(Vec::new()).unwrap();
        disk.set_capacity(used_len(&*disk.root()) + room);
        let mut has_refused = false;
        for round in 0..6 {
            harness.insert(QUEUE, 40, 2_000, false);
            let rows =
                (0..30).map(|number| (row_key(QUEUE, round * 30 + number), Some(vec![7; 900])));
            if let Err(error) = harness.checkpoint(rows.collect()) {
                assert!(error.is_full(), "room {room}: {error}");
                has_refused = true;
                break;
            }
        }
        disk.set_capacity(u64::MAX);
        if has_refused {
            let again = harness.store.retry_checkpoint().unwrap();
            harness.run(again).unwrap();
        }
        harness.assert_disk_holds_exactly();
        harness.reopen(disk.after_crash(1).root()).unwrap();
        harness.assert_holds();
    }
}

#[test]
fn consuming_what_is_in_memory_makes_room_for_the_checkpoint() {
    let (disk, mut harness) = open();
    harness.checkpoint(Vec::new()).unwrap();
    harness.insert(QUEUE, 200, 2_000, false);
    disk.set_capacity(used_len(&*disk.root()) + 20_000);
    assert!(harness.checkpoint(Vec::new()).unwrap_err().is_full());
    harness.remove(QUEUE, 1, 198);
    let again = harness.store.retry_checkpoint().unwrap();
    harness.run(again).unwrap();
    harness.checkpoint(Vec::new()).unwrap();
    harness.assert_disk_holds_exactly();
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_done_until_the_store_is_opened_again() {
    let (disk, mut harness) = open();
    harness.insert(QUEUE, 20, 500, false);
    harness.checkpoint(Vec::new()).unwrap();
    let start = disk.operation_count();
    harness.insert(QUEUE, 20, 500, false);
    harness.checkpoint(Vec::new()).unwrap();
    let count = disk.operation_count() - start;
    for failing in 1..=count {
        let (disk, mut harness) = open();
        harness.insert(QUEUE, 20, 500, false);
        harness.checkpoint(Vec::new()).unwrap();
        disk.fail_at(disk.operation_count() + failing);
        harness.insert(QUEUE, 20, 500, false);
        let error = harness.checkpoint(Vec::new()).unwrap_err();
        assert!(!error.is_full(), "operation {failing}: {error}");
        assert!(!harness.store.can_begin_checkpoint());
        assert!(harness.store.retry_checkpoint().is_none());
        let refused = harness
            .store
            .begin_checkpoint(log_id(9), Vec::new(), std::iter::empty());
        assert!(matches!(refused, Err(StoreError::Latched)));
        let read = harness.store.reader().read(QUEUE, &[MessageId(1)]);
        assert!(matches!(read, Err(StoreError::Latched)));
        harness.reopen(disk.after_crash(1).root()).unwrap();
        harness.assert_holds();
        harness.checkpoint(Vec::new()).unwrap();
    }
}

#[test]
fn a_second_checkpoint_waits_for_the_first() {
    let (_disk, mut harness) = open();
    let job = harness.begin(Vec::new()).unwrap();
    let refused = harness
        .store
        .begin_checkpoint(log_id(9), Vec::new(), std::iter::empty());
    assert!(matches!(refused, Err(StoreError::CheckpointUnfinished)));
    harness.run(job).unwrap();
    assert!(harness.store.can_begin_checkpoint());
}

#[test]
fn a_large_queue_is_removed_in_bounded_steps_and_gone_at_once_for_readers() {
    let (disk, mut harness) = open();
    let rows = u64::try_from(QUEUE_REMOVAL_COUNT_MAX).unwrap() + 500;
    let all = (0..rows).map(|number| (row_key(QUEUE, number), Some(vec![1])));
    harness.insert(QUEUE, 20, 500, false);
    harness.checkpoint(all.collect()).unwrap();
    harness.remove_queue(QUEUE);
    harness.checkpoint(Vec::new()).unwrap();
    harness.assert_disk_holds_exactly();
    let left = sampan_storage::store::check(&disk.root())
        .unwrap()
        .row_count;
    assert!(left > 0 && left <= 600, "{left} rows are left");
    let disk = disk.after_crash(1);
    harness.reopen(disk.root()).unwrap();
    harness.checkpoint(Vec::new()).unwrap();
    assert_eq!(
        sampan_storage::store::check(&disk.root())
            .unwrap()
            .row_count,
        0
    );
    assert_eq!(segment_names(&*disk.root()), Vec::<String>::new());
}

#[test]
fn a_row_over_the_limit_is_refused_and_changes_nothing() {
    let (disk, mut harness) = open();
    harness.insert(QUEUE, 2, 10, false);
    let error = harness
        .checkpoint(vec![(row_key(QUEUE, 1), Some(vec![0; 70_000]))])
        .unwrap_err();
    assert!(matches!(error, StoreError::TooLong { .. }), "{error}");
    let report = sampan_storage::store::check(&disk.root()).unwrap();
    assert_eq!(
        (report.applied, report.row_count, report.message_count),
        (None, 0, 0)
    );
}

#[test]
fn a_paged_row_is_read_when_it_is_asked_for_and_not_at_the_start() {
    let (disk, mut harness) = open();
    let key = sampan_core::RowKey {
        queue: QUEUE,
        kind: sampan_core::RowKey::PAGE,
        number: 4,
    };
    harness
        .checkpoint(vec![(key, Some(b"page".to_vec()))])
        .unwrap();
    harness.checkpoints.get_mut(&1).unwrap().rows.clear();
    harness.reopen(disk.after_crash(1).root()).unwrap();
    let other = sampan_core::RowKey { number: 5, ..key };
    let rows = harness.store.reader().read_rows(&[other, key]).unwrap();
    assert_eq!(rows, [(other, None), (key, Some("page".into()))]);
}
