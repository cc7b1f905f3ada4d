//! Goal: a lazy append is done once it is written and synced soon after; everything else waits for
//! its sync, which covers the lazy ones before it. What a power cut may take of them is no damage.
//! Method: a log without threads, its operations counted; then bytes broken on purpose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::naive::read_back;
use crate::support::{A, B, IDENTITY, Outcome, Stepped, bytes, disk_of, image, small, vote};
use bytes::Bytes;
use sampan_storage::io::{DiskFolder, SimulatedDisk};
use sampan_storage::log::{Log, LogError, Step, limits::PAGE_LEN};

/// A log whose last batch is an ordinary one, so that the next may be lazy.
fn begun(disk: &SimulatedDisk) -> Stepped {
    let mut log = Stepped::on(disk).unwrap();
    log.append(A, 1, 0, &[bytes(0, 10)]);
    log.settle();
    log
}

/// Appends one entry that fills a page, in a batch of its own.
fn append_lazily(log: &mut Stepped, index: u64) -> Outcome {
    let appended = log.append_lazily(A, 1, index, &[bytes(index, 3_000)]);
    log.settle();
    appended
}

#[test]
fn a_lazy_append_is_done_when_it_is_written_and_counts_as_synced_later() {
    let disk = SimulatedDisk::new();
    let mut log = begun(&disk);
    let (operations, syncs) = (disk.operation_count(), log.log.stats().sync_count);
    assert!(append_lazily(&mut log, 1).is_done());
    assert!(append_lazily(&mut log, 2).is_done());
    assert_eq!(disk.operation_count(), operations + 2, "two writes");
    assert_eq!(log.log.stats().sync_count, syncs);
    assert_eq!(log.log.synced(A), Some(0));
    log.writer.step_sync();
    assert_eq!(disk.operation_count(), operations + 3, "one sync");
    assert_eq!(log.log.stats().sync_count, syncs + 1);
    assert_eq!(log.log.synced(A), Some(2));
    log.writer.step_sync();
    assert_eq!(
        disk.operation_count(),
        operations + 3,
        "nothing is left to sync"
    );
}

#[test]
fn what_follows_a_lazy_append_is_done_when_both_are_synced() {
    let disk = SimulatedDisk::new();
    let mut log = begun(&disk);
    assert!(append_lazily(&mut log, 1).is_done());
    let operations = disk.operation_count();
    disk.crash_at(operations + 2);
    let voted = log.vote(B, vote(3));
    log.settle();
    assert!(!voted.is_done(), "the power went during the sync");

    let disk = SimulatedDisk::new();
    let mut log = begun(&disk);
    append_lazily(&mut log, 1);
    let voted = log.vote(B, vote(3));
    log.settle();
    assert!(voted.is_done());
    assert_eq!(log.log.synced(A), Some(1));
    let log = Stepped::on(&disk.after_crash(0)).unwrap();
    assert_eq!(log.log.state(A).last.unwrap().index, 1);
    assert_eq!(log.log.state(B).vote, Some(vote(3)));
}

#[test]
fn a_batch_with_anything_else_is_synced_before_any_of_it_is_done() {
    let disk = SimulatedDisk::new();
    let mut log = begun(&disk);
    let syncs = log.log.stats().sync_count;
    let lazy = log.append_lazily(A, 1, 1, &[bytes(1, 10)]);
    let other = log.append(B, 1, 0, &[bytes(2, 10)]);
    assert_eq!(log.writer.step(), Step::Wrote);
    assert!(lazy.is_done() && other.is_done());
    assert_eq!(log.log.stats().sync_count, syncs + 1);
    assert_eq!([log.log.synced(A), log.log.synced(B)], [Some(1), Some(0)]);
    let found = read_back(&Stepped::on(&disk.after_crash(0)).unwrap());
    assert_eq!(found, read_back(&log));
}

#[test]
fn to_sync_a_set_is_to_sync_all_that_it_was_given() {
    let disk = SimulatedDisk::new();
    let mut log = begun(&disk);
    append_lazily(&mut log, 1);
    log.append_lazily(A, 1, 2, &[bytes(2, 10)]);
    let synced = Outcome::default();
    log.log.sync(A, synced.done());
    assert!(!synced.has_ended());
    log.settle();
    assert!(synced.is_done());
    assert_eq!(log.log.synced(A), Some(2));
}

#[test]
fn the_first_append_behind_a_closing_batch_is_synced_whatever_it_asks_for() {
    let disk = SimulatedDisk::new();
    let mut log = begun(&disk);
    log.writer.step_idle();
    assert!(append_lazily(&mut log, 1).is_done());
    assert_eq!(log.log.synced(A), Some(1));
    assert!(append_lazily(&mut log, 2).is_done());
    assert_eq!(log.log.synced(A), Some(1));
    let left = Stepped::on(&disk.after_crash(0)).unwrap();
    assert!(!left.recovery.clean, "an acknowledged entry may be missing");
    log.writer.step_idle();
    assert_eq!(log.log.synced(A), Some(2));
    assert!(Stepped::on(&disk.after_crash(0)).unwrap().recovery.clean);
}

#[test]
fn a_file_is_synced_before_the_next_one_is_written() {
    let disk = SimulatedDisk::new();
    let mut log = begun(&disk);
    let mut index = 1;
    while log.log.stats().file_count < 3 {
        append_lazily(&mut log, index);
        index += 1;
    }
    assert_eq!(
        log.log.synced(A),
        Some(index - 1),
        "a file begins with a synced batch"
    );
    append_lazily(&mut log, index);
    let log = Stepped::on(&disk.after_crash(0)).unwrap();
    assert_eq!(log.log.state(A).last.unwrap().index, index - 1);
}

#[test]
fn a_failed_sync_of_what_was_written_shuts_the_log() {
    let disk = SimulatedDisk::new();
    let mut log = begun(&disk);
    append_lazily(&mut log, 1);
    disk.fail_at(disk.operation_count() + 1);
    log.writer.step_sync();
    assert!(log.log.latched().is_some());
    let refused = append_lazily(&mut log, 2);
    assert!(matches!(refused.error(), LogError::Latched(_)));
}

/// Where the batch of the entry that `seed` made lies.
fn place_of(content: &[u8], seed: u64) -> usize {
    let payload = bytes(seed, 3_000);
    let at = content
        .windows(64)
        .position(|window| window == &payload[..64]);
    at.expect("it is in there") / PAGE_LEN * PAGE_LEN
}

/// A log with the batches of entries 1 to 4: the first two of them synced as the fourth says, then
/// `end`; and what opening it comes to when the batch of entry `broken` is.
fn broken(broken: u64, end: impl FnOnce(&mut Stepped)) -> Result<(Option<u64>, bool), LogError> {
    let disk = SimulatedDisk::new();
    let mut log = begun(&disk);
    for index in 1..=4 {
        append_lazily(&mut log, index);
        if index == 2 {
            log.writer.step_sync();
        }
    }
    end(&mut log);
    drop(log);
    let mut files = image(&*disk.root());
    let content = &mut files[0].1;
    let at = place_of(content, broken);
    content[at + 100] ^= 1;
    let disk = disk_of(&files);
    let log = Stepped::on(&disk)?;
    let last = log.log.state(A).last.map(|last| last.index);
    let found = read_back(&log);
    drop(log);
    let again = Stepped::on(&disk).unwrap();
    assert!(!again.recovery.cut_off, "what was cut off is gone for good");
    assert_eq!(read_back(&again), found);
    Ok((last, true))
}

#[test]
fn a_batch_that_was_not_synced_may_be_missing_though_a_later_one_is_there() {
    assert_eq!(broken(3, |_| ()).unwrap().0, Some(2));
    assert_eq!(broken(4, |_| ()).unwrap().0, Some(3));
}

#[test]
fn a_batch_that_a_later_one_says_was_synced_is_damage() {
    for synced in [1, 2] {
        let refused = broken(synced, |_| ()).unwrap_err();
        assert!(matches!(refused, LogError::Damaged { .. }), "{refused}");
    }
    for any in 1..=4 {
        let refused = broken(any, |log| log.writer.step_idle()).unwrap_err();
        assert!(matches!(refused, LogError::Damaged { .. }), "{refused}");
    }
}

#[test]
fn the_writer_syncs_by_itself_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Arc::new(DiskFolder::open(folder.path()).unwrap());
    let (log, _) = Log::<Bytes>::open(folder, IDENTITY, small()).unwrap();
    for index in 0..20 {
        let id = crate::support::id(1, index);
        let payload = bytes(index, 100);
        log.append_lazily(
            A,
            vec![sampan_storage::log::LogEntry { id, payload }],
            Box::new(drop),
        );
    }
    let patience = Instant::now() + Duration::from_secs(60);
    while log.synced(A) != Some(19) {
        assert!(Instant::now() < patience, "it was never synced");
        std::thread::sleep(Duration::from_millis(5));
    }
    log.close().unwrap();
}
