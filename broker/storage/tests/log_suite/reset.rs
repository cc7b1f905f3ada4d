//! Goal: a set whose store was lost begins again before what its log has purged, and nothing from
//! before comes back, whatever waits meanwhile. Method: one small story each, on a simulated disk.

use bytes::Bytes;
use sampan_storage::io::SimulatedDisk;
use sampan_storage::log::Step;

use crate::support::{A, B, Stepped, bytes, id, small, vote};

/// A log of some files with a set that has purged its first hundred entries.
fn purged(disk: &SimulatedDisk) -> Stepped {
    let mut log = Stepped::on(disk).unwrap();
    log.vote(A, vote(6));
    log.purge(A, id(3, 100));
    for index in 101..130 {
        log.append(A, 3, index, &[bytes(index, 9_000)]);
        log.settle();
    }
    log
}

fn payloads(log: &Stepped) -> Vec<(u64, Bytes)> {
    let entries = log.entries(A).into_iter();
    entries
        .map(|entry| (entry.id.index, entry.payload))
        .collect()
}

#[test]
fn a_set_begins_again_before_what_it_has_purged_and_keeps_its_vote() {
    for at in [None, Some(id(1, 7)), Some(id(3, 110)), Some(id(9, 5_000))] {
        let disk = SimulatedDisk::new();
        let mut log = purged(&disk);
        let reset = log.reset(A, at);
        let state = log.log.state(A);
        assert_eq!((state.purged, state.last), (at, at));
        assert_eq!(log.entries(A), []);
        let first = at.map_or(0, |at| at.index + 1);
        let appended = log.append(A, 9, first, &[bytes(1, 10), bytes(2, 10)]);
        assert!(log.log.synced(A) < Some(first), "not synced yet");
        assert_eq!(payloads(&log)[0], (first, bytes(1, 10)));
        log.settle();
        assert!(reset.is_done() && appended.is_done());
        assert_eq!(log.log.synced(A), Some(first + 1));
        drop(log);
        let log = Stepped::on(&disk.after_crash(0)).unwrap();
        let state = log.log.state(A);
        assert_eq!((state.purged, state.last), (at, Some(id(9, first + 1))));
        assert_eq!(state.vote, Some(vote(6)));
        assert_eq!(payloads(&log).len(), 2);
        assert_eq!(log.log.log_id(A, 100), at.filter(|at| at.index == 100));
    }
}

#[test]
fn a_reset_gives_up_the_files_that_only_its_set_held() {
    let disk = SimulatedDisk::new();
    let mut log = purged(&disk);
    assert!(log.log.stats().file_count > 4);
    log.reset(A, Some(id(1, 7)));
    log.settle();
    assert_eq!(log.log.stats().file_count, 1);
    assert_eq!(log.log.oldest_holder(), None);
    for index in 8..60 {
        log.append(A, 9, index, &[bytes(index, 9_000)]);
        log.settle();
    }
    drop(log);
    let log = Stepped::on(&disk.after_crash(1)).unwrap();
    assert_eq!(log.log.state(A).purged, Some(id(1, 7)));
    assert_eq!(payloads(&log).len(), 52);
}

#[test]
fn a_purge_from_before_a_reset_takes_nothing_that_came_after_it() {
    let disk = SimulatedDisk::new();
    let mut log = purged(&disk);
    let waiting = log.purge(A, id(3, 125));
    log.reset(A, Some(id(1, 7)));
    log.append(A, 9, 8, &[bytes(8, 500), bytes(9, 500)]);
    log.append(B, 9, 1, &[bytes(1, 31_200)]);
    log.append(A, 9, 10, &[bytes(10, 500)]);
    // Some of it in one batch, the rest in the next.
    assert_eq!(log.writer.step(), Step::Wrote);
    assert!(waiting.is_done());
    assert_eq!(payloads(&log).len(), 3);
    log.settle();
    assert_eq!(payloads(&log)[2], (10, bytes(10, 500)));
    assert_eq!(log.log.log_id(A, 7), Some(id(1, 7)));
}

#[test]
fn what_follows_a_cut_that_waits_is_not_taken_for_synced() {
    let disk = SimulatedDisk::new();
    let mut log = purged(&disk);
    assert_eq!(log.log.synced(A), Some(129));
    log.truncate(A, Some(104));
    log.append(A, 4, 105, &[bytes(1, 10), bytes(2, 10)]);
    assert_eq!(log.log.synced(A), Some(104));
    assert_eq!(log.log.purge_floor(A, 0), Some(104));
    log.settle();
    assert_eq!(log.log.synced(A), Some(106));
}

#[test]
fn no_purge_overtakes_a_reset_when_the_disk_is_full() {
    let disk = SimulatedDisk::new();
    disk.set_capacity(4 * small().file_len);
    let mut log = Stepped::on(&disk).unwrap();
    let mut count = 0;
    loop {
        let appended = log.append(A, 1, count, &[bytes(count, 4_096)]);
        log.settle();
        if !appended.is_done() {
            break;
        }
        count += 1;
    }
    let outcomes = [
        log.reset(A, Some(id(1, 2))),
        log.append(A, 2, 3, &[bytes(3, 100)]),
        log.purge(A, id(2, 3)),
    ];
    log.settle();
    assert!(outcomes.iter().all(|outcome| !outcome.has_ended()));
    let left = Stepped::on(&disk.after_crash(0)).unwrap();
    assert_eq!(left.entries(A).len() as u64, count);
    disk.set_capacity(8 * small().file_len);
    log.settle();
    assert!(outcomes.iter().all(|outcome| outcome.is_done()));
    assert_eq!(log.log.state(A).purged, Some(id(2, 3)));
    assert_eq!(log.entries(A), []);
    drop(log);
    let log = Stepped::on(&disk).unwrap();
    assert_eq!(log.log.state(A).purged, Some(id(2, 3)));
}
