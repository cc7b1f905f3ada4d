//! Goal: what a replica needs of its log beyond appending: it is told of a cut-off end before that
//! is repaired, it keeps what a paused peer may ask for, and it begins again behind a snapshot.
//! Method: one small story each, on the simulated disk.

use std::io;

use bytes::Bytes;
use sampan_storage::io::SimulatedDisk;
use sampan_storage::log::{Log, LogError};

use crate::support::{A, B, IDENTITY, Stepped, bytes, id, image, small, vote};

/// A log whose last batch did not survive whole.
fn torn() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.append(A, 1, 1, &[bytes(1, 100)]);
    log.settle();
    log.append(A, 1, 2, &[bytes(2, 9_000)]);
    let next_sync = disk.operation_count() + 2;
    disk.crash_at(next_sync);
    log.settle();
    (2..)
        .map(|seed| disk.after_crash(seed))
        .find(|left| Stepped::on(&left.after_crash(1)).unwrap().recovery.cut_off)
        .unwrap()
}

#[test]
fn a_cut_off_end_is_told_before_it_is_forgotten() {
    let disk = torn();
    let before = image(&*disk.root());
    let refused = Log::<Bytes>::open_noting(disk.root(), IDENTITY, small(), |found| {
        assert!(found.cut_off);
        Err(io::Error::other("no room for the note"))
    });
    assert!(matches!(refused, Err(LogError::Io { .. })));
    assert_eq!(image(&*disk.root()), before, "nothing was changed");
    let operations = disk.operation_count();
    let mut noted = None;
    let root = disk.root();
    let log = Log::<Bytes>::open_stepped_noting(root, IDENTITY, small(), |found| {
        let synced = operations + 1;
        assert_eq!(disk.operation_count(), synced, "nothing was written");
        noted = Some(*found);
        Ok(())
    });
    assert!(noted.unwrap().cut_off);
    drop(log);
    assert!(!Stepped::on(&disk).unwrap().recovery.cut_off);
}

#[test]
fn the_newest_bytes_of_the_log_stay_whole_file_by_file() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    assert_eq!(log.log.purge_floor(A, 0), None);
    for round in 0..40 {
        log.append(A, 1, round + 1, &[bytes(round, 9_000)]);
        if round == 3 {
            log.append(B, 1, 1, &[bytes(round, 100)]);
        }
        log.settle();
    }
    let file_len = small().file_len;
    let files = log.log.stats().file_count as u64;
    assert!(files > 5);
    assert_eq!(log.log.purge_floor(A, u64::MAX), None);
    assert_eq!(log.log.purge_floor(A, 0), Some(40));
    assert_eq!(log.log.purge_floor(B, file_len), Some(1));
    let mut floor_before = 41;
    for kept in 1..files {
        let Some(floor) = log.log.purge_floor(A, kept * file_len) else {
            assert!(kept >= files - 1);
            continue;
        };
        assert!(floor < floor_before, "more kept, less purged");
        floor_before = floor;
    }
    let floor = log.log.purge_floor(A, 2 * file_len).unwrap();
    log.purge(A, id(1, floor));
    log.purge(B, id(1, 1));
    log.settle();
    let kept_count = log.log.stats().file_count;
    assert_eq!(kept_count, 3, "two whole files and the one that is written");
    assert_eq!(log.entries(A).len() as u64, 40 - floor);
    assert_eq!(log.log.purge_floor(A, 2 * file_len), None);
}

#[test]
fn a_fresh_log_goes_on_behind_what_its_sets_have_applied() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.vote(A, vote(7));
    log.purge(A, id(5, 1_000));
    log.settle();
    log.writer.step_idle();
    drop(log);
    let mut log = Stepped::on(&disk.after_crash(0)).unwrap();
    let state = log.log.state(A);
    assert_eq!(
        (state.purged, state.last),
        (Some(id(5, 1_000)), Some(id(5, 1_000)))
    );
    assert_eq!(state.vote, Some(vote(7)));
    assert_eq!(log.log.log_id(A, 1_000), Some(id(5, 1_000)));
    let gap = log.append(A, 6, 1_002, &[bytes(1, 10)]);
    assert!(matches!(
        gap.error(),
        LogError::OutOfOrder { needed: 1_001, .. }
    ));
    // The state is carried from file to file, however many entries follow.
    for index in 1_001..1_060 {
        assert!(!log.append(A, 6, index, &[bytes(index, 9_000)]).has_ended());
        log.settle();
    }
    assert_eq!(log.entries(A).len(), 59);
}

#[test]
fn the_times_of_syncs_are_counted_and_a_failed_one_says_why_the_log_is_shut() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    for index in 1..10 {
        log.append(A, 1, index, &[bytes(index, 10)]);
        log.settle();
    }
    let stats = log.log.stats();
    assert_eq!(stats.sync_times.count(), stats.sync_count);
    assert!(log.log.latched().is_none());
    disk.fail_at(disk.operation_count() + 2);
    log.append(A, 1, 10, &[bytes(1, 10)]);
    log.settle();
    let cause = log.log.latched().unwrap();
    assert_eq!(cause.to_string(), "the device failed");
}
