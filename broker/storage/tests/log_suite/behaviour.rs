//! What the log promises, one claim after the other, on a simulated disk and without threads
//! except where threads are the point.

use std::sync::Arc;
use std::sync::mpsc;

use crate::support::{A, B, IDENTITY, Outcome, Stepped, bytes, entry, id, image, small, vote};
use bytes::Bytes;
use sampan_protocol::SetId;
use sampan_storage::io::{DiskFolder, SimulatedDisk};
use sampan_storage::log::{Log, LogError, LogIdentity, LogOptions, Step};

fn payloads(seed: u64, count: usize, len: usize) -> Vec<Bytes> {
    (0..count as u64)
        .map(|number| bytes(seed + number, len))
        .collect()
}

/// Appends `count` entries of 4 KiB from `first` on, each in a batch of its own.
fn fill(log: &mut Stepped, set: SetId, first: u64, count: u64) {
    for index in first..first + count {
        log.append(set, 1, index, &[bytes(index, 4096)]);
        log.settle();
    }
}

#[test]
fn entries_are_readable_at_once_and_done_when_synced() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    let appended = log.append(A, 1, 0, &payloads(1, 3, 100));
    assert!(!appended.has_ended());
    assert_eq!(log.entries(A).len(), 3);
    assert_eq!(log.log.synced(A), None);
    assert_eq!(log.writer.step(), Step::Wrote);
    assert!(appended.is_done());
    assert_eq!(log.log.synced(A), Some(2));
    assert_eq!(log.writer.step(), Step::Idle);
}

#[test]
fn one_sync_serves_all_sets() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.settle();
    let before = (disk.operation_count(), log.log.stats().sync_count);
    let outcomes: Vec<Outcome> = (0..10)
        .map(|set| log.append(SetId(set), 1, 0, &payloads(1, 5, 200)))
        .collect();
    log.writer.step();
    assert!(outcomes.iter().all(Outcome::is_done));
    assert_eq!(disk.operation_count(), before.0 + 2);
    assert_eq!(log.log.stats().sync_count, before.1 + 1);
}

#[test]
fn everything_is_there_after_reopening() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.append(A, 1, 0, &payloads(1, 20, 3000));
    log.append(B, 4, 1, &payloads(2, 3, 10));
    log.vote(B, vote(4));
    log.append(A, 2, 20, &payloads(3, 2, 0));
    log.truncate(A, Some(20));
    log.purge(A, id(1, 4));
    log.settle();
    let before = [A, B].map(|set| (log.log.state(set), log.entries(set)));
    drop(log);
    let log = Stepped::on(&disk).unwrap();
    assert_eq!(
        [A, B].map(|set| (log.log.state(set), log.entries(set))),
        before
    );
    assert_eq!(log.log.state(A).last, Some(id(2, 20)));
    assert_eq!(log.log.state(A).purged, Some(id(1, 4)));
    assert_eq!(log.log.state(B).vote, Some(vote(4)));
    assert_eq!(log.entries(A).len(), 16);
    assert_eq!(log.log.log_id(A, 19), Some(id(1, 19)));
    assert_eq!(log.log.log_id(A, 4), Some(id(1, 4)));
    assert_eq!(log.log.log_id(A, 3), None);
}

#[test]
fn a_vote_outlives_ten_turns_of_the_log() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.vote(B, vote(5));
    log.append(B, 5, 0, &payloads(9, 1, 10));
    log.settle();
    log.purge(B, id(5, 0));
    log.append(A, 1, 0, &payloads(0, 1, 10));
    let mut index = 1;
    for _ in 0..200 {
        fill(&mut log, A, index, 1);
        log.purge(A, id(1, index));
        log.settle();
        index += 1;
    }
    let names = disk.root().list().unwrap();
    let newest = names
        .iter()
        .filter_map(|name| name.strip_suffix(".log"))
        .next_back()
        .unwrap();
    assert!(newest.parse::<u64>().unwrap() > 20, "{names:?}");
    assert!(names.len() <= 6, "{names:?}");
    drop(log);
    let log = Stepped::on(&disk).unwrap();
    assert_eq!(log.log.state(B).vote, Some(vote(5)));
    assert_eq!(log.log.state(B).last, Some(id(5, 0)));
    assert_eq!(log.log.state(A).last, Some(id(1, index - 1)));
}

#[test]
fn the_set_that_holds_the_oldest_file_is_named() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.append(B, 1, 0, &payloads(1, 3, 10));
    fill(&mut log, A, 0, 40);
    assert!(log.log.stats().file_count > 2);
    log.purge(A, id(1, 39));
    log.settle();
    assert_eq!(log.log.oldest_holder(), Some((B, 2)));
    log.purge(B, id(1, 2));
    log.settle();
    assert_eq!(log.log.oldest_holder(), None);
    assert_eq!(log.log.stats().file_count, 1);
}

#[test]
fn a_purge_beyond_the_end_moves_the_end() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.append(A, 1, 0, &payloads(1, 3, 10));
    log.purge(A, id(6, 100));
    log.append(A, 6, 101, &payloads(2, 2, 10));
    log.settle();
    assert_eq!(log.entries(A).len(), 2);
    assert!(matches!(
        log.log.read(A, 100, 200, 1),
        Err(LogError::NoEntry { index: 100, .. })
    ));
    drop(log);
    let log = Stepped::on(&disk).unwrap();
    assert_eq!(log.log.state(A).purged, Some(id(6, 100)));
    assert_eq!(log.entries(A)[0].id, id(6, 101));
}

#[test]
fn entries_appended_after_a_cut_replace_those_before() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.append(A, 1, 0, &payloads(1, 10, 600));
    log.settle();
    // Not synced yet, and the cache is too small: neither may the old entries be read.
    log.truncate(A, Some(3));
    log.append(A, 2, 4, &payloads(50, 10, 600));
    let read = log.entries(A);
    log.settle();
    assert_eq!(log.entries(A), read);
    assert_eq!(read[4], entry(2, 4, &bytes(50, 600)));
    drop(log);
    let log = Stepped::on(&disk).unwrap();
    assert_eq!(log.entries(A), read);
    log.truncate(A, None);
    assert_eq!(log.log.state(A).last, None);
}

#[test]
fn a_cut_that_is_not_written_yet_hides_what_it_cuts() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.append(A, 1, 0, &payloads(1, 4, 800));
    log.settle();
    // One record on disk holds entries 0 to 3, and none of them is in memory any more.
    log.append(B, 1, 0, &payloads(1, 1, 4000));
    log.settle();
    log.truncate(A, Some(1));
    log.append(A, 1, 2, &payloads(7, 1, 10));
    let read = log.log.read(A, 0, 9, 1 << 20).unwrap();
    assert_eq!(read.last(), Some(&entry(1, 2, &bytes(7, 10))));
    assert_eq!(read.len(), 3);
}

#[test]
fn a_read_gives_at_least_one_entry_and_keeps_to_its_length() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.append(A, 1, 0, &payloads(1, 10, 1000));
    log.settle();
    for (len_max, count) in [(0, 1), (1, 1), (2500, 2), (3000, 3), (100_000, 10)] {
        assert_eq!(
            log.log.read(A, 0, 10, len_max).unwrap().len(),
            count,
            "{len_max}"
        );
    }
    assert_eq!(log.log.read(A, 3, 5, 100_000).unwrap().len(), 2);
    assert!(log.log.read(A, 10, 20, 100).unwrap().is_empty());
    assert!(log.log.read(B, 0, 20, 100).unwrap().is_empty());
}

#[test]
fn calls_that_make_no_sense_are_refused_and_change_nothing() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.append(A, 1, 0, &payloads(1, 3, 10));
    log.purge(A, id(1, 1));
    log.settle();
    let state = log.log.state(A);
    let gap = log.append(A, 1, 5, &payloads(1, 1, 1));
    assert!(matches!(
        gap.error(),
        LogError::OutOfOrder {
            needed: 3,
            found: 5,
            ..
        }
    ));
    let repeated = log.append(A, 1, 2, &payloads(1, 1, 1));
    assert!(matches!(
        repeated.error(),
        LogError::OutOfOrder {
            needed: 3,
            found: 2,
            ..
        }
    ));
    let large = log.append(A, 1, 3, &payloads(1, 1, 40_000));
    assert!(matches!(
        large.error(),
        LogError::EntryTooLarge { len: 40_000, .. }
    ));
    assert!(matches!(
        log.truncate(A, Some(0)).error(),
        LogError::Purged { .. }
    ));
    assert!(matches!(
        log.truncate(A, Some(3)).error(),
        LogError::NoEntry { index: 3, .. }
    ));
    assert_eq!(log.log.state(A), state);
    assert_eq!(log.writer.step(), Step::Idle);
}

#[test]
fn a_long_append_is_written_in_parts_and_done_once() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    let appended = log.append(A, 1, 0, &payloads(1, 40, 10_000));
    let before = log.log.stats().sync_count;
    log.settle();
    assert!(appended.is_done());
    assert!(log.log.stats().sync_count > before + 10);
    assert_eq!(log.entries(A).len(), 40);
    assert_eq!(log.log.stats().appended_len, 400_000);
}

#[test]
fn too_much_that_waits_is_refused() {
    let disk = SimulatedDisk::new();
    let options = LogOptions {
        pending_len_max: 5000,
        ..small()
    };
    let mut log = Stepped::open_with(disk.root(), options).unwrap();
    let accepted = log.append(A, 1, 0, &payloads(1, 4, 1000));
    let refused = log.append(A, 1, 4, &payloads(1, 1, 1000));
    assert!(matches!(refused.error(), LogError::Overloaded { .. }));
    log.settle();
    assert!(accepted.is_done());
    let accepted = log.append(A, 1, 4, &payloads(1, 1, 1000));
    log.settle();
    assert!(accepted.is_done());
}

#[test]
fn a_failed_sync_shuts_the_log_and_is_not_tried_again() {
    // 1: the write fails, 2: the sync does.
    for failing in [1, 2] {
        let disk = SimulatedDisk::new();
        let mut log = Stepped::on(&disk).unwrap();
        log.append(A, 1, 0, &payloads(1, 1, 10));
        log.settle();
        disk.fail_at(disk.operation_count() + failing);
        let taken = log.append(A, 1, 1, &payloads(2, 1, 10));
        log.writer.step();
        assert!(matches!(taken.error(), LogError::Latched(_)));
        let operations = disk.operation_count();
        assert!(matches!(log.vote(A, vote(1)).error(), LogError::Latched(_)));
        assert!(matches!(
            log.log.read(A, 0, 1, 1),
            Err(LogError::Latched(_))
        ));
        log.settle();
        log.writer.step_idle();
        assert_eq!(disk.operation_count(), operations);
        assert!(matches!(log.log.close(), Err(LogError::Latched(_))));
        drop((log.writer, log.preparer));
        let log = Stepped::on(&disk).unwrap();
        assert_eq!(log.entries(A)[0].payload, bytes(1, 10));
    }
}

#[test]
fn logs_of_others_are_refused_and_stay_as_they_are() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.append(A, 1, 0, &payloads(1, 3, 10));
    log.settle();
    let open = |identity| Log::<Bytes>::open_stepped(disk.root(), identity, small()).map(drop);
    assert!(matches!(open(IDENTITY), Err(LogError::InUse { .. })));
    drop(log);
    let before = image(&*disk.root());
    let other = LogIdentity {
        node: 2,
        ..IDENTITY
    };
    assert!(matches!(
        open(other),
        Err(LogError::OtherNode {
            found: 1,
            own: 2,
            ..
        })
    ));
    let other = LogIdentity {
        cluster: 1,
        ..IDENTITY
    };
    assert!(matches!(open(other), Err(LogError::OtherCluster { .. })));
    assert_eq!(image(&*disk.root()), before);
    open(IDENTITY).unwrap();
}

#[test]
fn a_missing_file_is_damage() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    fill(&mut log, A, 0, 40);
    drop(log);
    let files = image(&*disk.root());
    let used = files
        .iter()
        .filter(|(name, _)| name.ends_with(".log"))
        .count()
        - 2;
    assert!(used > 3);
    for missing in 0..used - 1 {
        let mut rest = files.clone();
        rest.remove(missing);
        let refused = Stepped::on(&crate::support::disk_of(&rest))
            .map(drop)
            .unwrap_err();
        match missing {
            0 => assert!(matches!(
                refused,
                LogError::EntriesMissing {
                    set: A,
                    first: 0,
                    ..
                }
            )),
            _ => assert!(matches!(refused, LogError::Damaged { .. }), "{refused}"),
        }
    }
}

#[test]
fn the_end_is_clean_once_it_was_closed() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    assert!(log.recovery.clean && !log.recovery.boot_changed);
    log.append(A, 1, 0, &payloads(1, 3, 10));
    log.settle();
    drop(log);
    let mut log = Stepped::on(&disk).unwrap();
    assert!(!log.recovery.clean && !log.recovery.cut_off);
    log.append(A, 1, 3, &payloads(1, 3, 10));
    log.settle();
    log.writer.step_idle();
    let operations = disk.operation_count();
    log.writer.step_idle();
    assert_eq!(
        disk.operation_count(),
        operations,
        "one closing batch is enough"
    );
    drop(log);
    let options = LogOptions {
        boot_id: || 7,
        ..small()
    };
    let log = Stepped::open_with(disk.root(), options).unwrap();
    assert!(log.recovery.clean && log.recovery.boot_changed);
    assert_eq!(log.entries(A).len(), 6);
}

#[test]
fn a_full_disk_delays_appends_until_a_purge_makes_room() {
    let disk = SimulatedDisk::new();
    disk.set_capacity(4 * 64 * 1024);
    let mut log = Stepped::on(&disk).unwrap();
    log.settle();
    log.log.check_room().unwrap();
    let mut index = 0;
    let stuck = loop {
        let appended = log.append(A, 1, index, &[bytes(index, 4096)]);
        log.settle();
        index += 1;
        if !appended.is_done() {
            break appended;
        }
    };
    assert!(index > 20);
    assert!(matches!(log.log.check_room(), Err(LogError::Full)));
    assert!(!stuck.has_ended());
    // The purge is written ahead of what waits, for it is what makes room.
    let purged = log.purge(A, id(1, index - 2));
    log.settle();
    assert!(purged.is_done() && stuck.is_done());
    for index in index..index + 20 {
        assert!(
            log.append(A, 1, index, &[bytes(index, 4096)])
                .error_free(&mut log)
        );
    }
    drop(log);
    let log = Stepped::on(&disk).unwrap();
    assert_eq!(log.log.state(A).purged, Some(id(1, index - 2)));
    assert_eq!(log.entries(A).len(), 21);
}

impl Outcome {
    fn error_free(&self, log: &mut Stepped) -> bool {
        log.settle();
        self.is_done()
    }
}

#[test]
fn a_full_disk_at_the_start_is_named() {
    let disk = SimulatedDisk::new();
    disk.set_capacity(60_000);
    assert!(matches!(Stepped::on(&disk).map(drop), Err(LogError::Full)));
    disk.set_capacity(70_000);
    let mut log = Stepped::on(&disk).unwrap();
    let appended = log.append(A, 1, 0, &payloads(1, 1, 10));
    log.settle();
    assert!(appended.is_done());
    assert!(matches!(log.log.check_room(), Err(LogError::Full)));
}

#[test]
fn files_of_another_length_are_read_and_then_replaced() {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    fill(&mut log, A, 0, 40);
    drop(log);
    let options = LogOptions {
        file_len: 128 * 1024,
        ..small()
    };
    let mut log = Stepped::open_with(disk.root(), options).unwrap();
    fill(&mut log, A, 40, 60);
    assert_eq!(log.entries(A).len(), 100);
    log.purge(A, id(1, 99));
    log.settle();
    fill(&mut log, A, 100, 60);
    drop(log);
    let log = Stepped::open_with(disk.root(), options).unwrap();
    assert_eq!(log.entries(A).len(), 60);
    for (name, bytes) in image(&*disk.root()) {
        assert_eq!(bytes.len(), 128 * 1024, "{name}");
    }
}

#[test]
fn threads_write_what_comes_from_many_callers_and_close_the_end() {
    let place = tempfile::tempdir().unwrap();
    let folder = Arc::new(DiskFolder::open(place.path()).unwrap());
    let (log, _) = Log::<Bytes>::open(folder.clone(), IDENTITY, small()).unwrap();
    std::thread::scope(|scope| {
        for set in 0..4 {
            let log = &log;
            scope.spawn(move || {
                let (sender, receiver) = mpsc::channel();
                for index in 0..200 {
                    let sender = sender.clone();
                    let done = Box::new(move |result| sender.send(result).unwrap());
                    log.append(SetId(set), vec![entry(1, index, &bytes(index, 500))], done);
                    if index % 4 == 3 {
                        (0..4).for_each(|_| receiver.recv().unwrap().unwrap());
                    }
                    if index % 50 == 49 {
                        let upto = id(1, index - 10);
                        log.purge(SetId(set), upto, Box::new(|result| result.unwrap()));
                    }
                }
            });
        }
    });
    let other = log.clone();
    log.close().unwrap();
    assert!(matches!(
        other.read(A, 0, 1, 1),
        Err(LogError::NoEntry { .. })
    ));
    let late = Outcome::default();
    other.save_vote(A, vote(1), late.done());
    assert!(matches!(late.error(), LogError::Closed));
    let (log, recovery) = Log::<Bytes>::open(folder, IDENTITY, small()).unwrap();
    assert!(recovery.clean && !recovery.cut_off && !recovery.boot_changed);
    for set in 0..4 {
        assert_eq!(log.state(SetId(set)).last, Some(id(1, 199)));
        assert_eq!(log.read(SetId(set), 190, 200, 1 << 20).unwrap().len(), 10);
    }
}

#[test]
fn a_log_that_is_dropped_in_its_own_callback_ends() {
    let place = tempfile::tempdir().unwrap();
    let folder = Arc::new(DiskFolder::open(place.path()).unwrap());
    let (log, _) = Log::<Bytes>::open(folder, IDENTITY, small()).unwrap();
    let (sender, receiver) = mpsc::channel();
    let held = log.clone();
    let done = Box::new(move |result| {
        drop(held);
        sender.send(result).unwrap();
    });
    log.save_vote(A, vote(1), done);
    drop(log);
    receiver.recv().unwrap().unwrap();
}

#[test]
fn a_callback_that_panics_shuts_the_log() {
    let place = tempfile::tempdir().unwrap();
    let folder = Arc::new(DiskFolder::open(place.path()).unwrap());
    let (log, _) = Log::<Bytes>::open(folder, IDENTITY, small()).unwrap();
    log.save_vote(A, vote(1), Box::new(|_| panic!("on purpose")));
    let other = log.clone();
    assert!(matches!(log.close(), Err(LogError::Latched(_))));
    let late = Outcome::default();
    other.save_vote(A, vote(2), late.done());
    assert!(matches!(late.error(), LogError::Latched(_)));
}
