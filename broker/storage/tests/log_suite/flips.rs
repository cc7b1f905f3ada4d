//! Goal: a changed byte never becomes a wrong entry. Method: flip every byte of a small log that
//! was closed, and of one that was not, and open it. Damage must be reported, except where nobody
//! reads, and in the last batch of a log that was not closed: nothing tells whether that was
//! synced.

use crate::naive::{Model, ModelSet, read_back};
use crate::support::{A, B, Stepped, bytes, disk_of, id, image, vote};
use sampan_storage::io::SimulatedDisk;
use sampan_storage::log::LogError;

const PAGE_LEN: usize = 4096;

/// A log of three files with some batches in each.
fn small_log(closed: bool) -> (Vec<(String, Vec<u8>)>, Model) {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    let mut index = 0;
    while log.log.stats().file_count < 3 {
        log.append(A, 1, index, &[bytes(index, 20), bytes(index, 40)]);
        log.append(B, 2, index / 2, &[bytes(index, 5)]);
        log.vote(B, vote(index));
        log.settle();
        index += 2;
    }
    log.purge(B, id(2, 1));
    log.settle();
    if closed {
        log.writer.step_idle();
    }
    let model = read_back(&log);
    drop(log);
    (image(&*disk.root()), model)
}

/// The flip at one place: `None` when it was reported, else what was found.
fn flipped(files: &mut [(String, Vec<u8>)], file: usize, at: usize) -> Option<(bool, Model)> {
    files[file].1[at] ^= 1 << (at % 8);
    let opened = Stepped::on(&disk_of(files));
    files[file].1[at] ^= 1 << (at % 8);
    match opened {
        Ok(log) => Some((log.recovery.cut_off, read_back(&log))),
        Err(LogError::Damaged { .. }) => None,
        Err(other) => panic!("{} at {at}: {other}", files[file].0),
    }
}

/// Whether what was found is the log up to some point.
fn is_prefix(found: &Model, whole: &Model) -> bool {
    found.iter().all(|(set, found)| {
        let whole = whole.get(set).cloned().unwrap_or_else(ModelSet::default);
        let from = whole.state.purged.map_or(0, |purged| purged.index + 1);
        found
            .entries
            .range(from..)
            .all(|(index, entry)| whole.entries.get(index) == Some(entry))
    })
}

/// Bytes worth flipping: all that are not zero, and those around them. The rest is the filling of
/// pages that nobody reads; every 211th of it stands for all.
fn places(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    (0..bytes.len()).filter(|at| {
        let start = at.saturating_sub(8);
        *at % 211 == 0
            || bytes[start..bytes.len().min(at + 8)]
                .iter()
                .any(|byte| *byte != 0)
    })
}

#[test]
fn a_flip_in_a_closed_log_is_reported_or_changes_nothing() {
    let (mut files, whole) = small_log(true);
    let (mut reported, mut harmless) = (0, 0);
    for file in 0..files.len() {
        let bytes = files[file].1.clone();
        for at in places(&bytes).collect::<Vec<_>>() {
            match flipped(&mut files, file, at) {
                None => reported += 1,
                Some((_, found)) => {
                    assert_eq!(found, whole, "{} at {at}", files[file].0);
                    harmless += 1;
                }
            }
        }
    }
    assert!(reported > 1000 && harmless > 100, "{reported} {harmless}");
}

#[test]
fn a_flip_in_a_log_that_was_not_closed_cuts_off_its_last_batch_at_most() {
    let (mut files, whole) = small_log(false);
    let newest = files
        .iter()
        .rposition(|(_, bytes)| bytes[PAGE_LEN] != 0)
        .unwrap();
    let mut cut = 0;
    let bytes = files[newest].1.clone();
    for at in places(&bytes).collect::<Vec<_>>() {
        let Some((cut_off, found)) = flipped(&mut files, newest, at) else {
            continue;
        };
        if found != whole {
            assert!(cut_off, "{} at {at}: lost without a word", files[newest].0);
            assert!(is_prefix(&found, &whole), "{} at {at}", files[newest].0);
            cut += 1;
        }
    }
    assert!(cut > 10, "{cut}");
}

#[test]
fn a_file_that_was_cut_short_is_damage() {
    let (files, _) = small_log(true);
    for file in 0..files.len() {
        for len in [0, 100, PAGE_LEN, PAGE_LEN * 3 + 1] {
            let mut files = files.clone();
            files[file].1.truncate(len);
            let refused = Stepped::on(&disk_of(&files)).map(drop).unwrap_err();
            assert!(matches!(refused, LogError::Damaged { .. }), "{refused}");
        }
    }
}
