//! Goal: a power cut at any moment leaves the last checkpoint or the one that was being written,
//! never a mixture, and every body that the index names reads back as it was sent.
//! Method: a script with checkpoints on the simulated disk, cut at every write and every sync; what
//! the cut leaves is opened, compared in full, carried on with, and cut again.

use sampan_protocol::QueueId;
use sampan_storage::io::SimulatedDisk;
use sampan_storage::store::StoreError;

use crate::support::{Harness, Row, row_key};

const ONE: QueueId = QueueId(1);
const TWO: QueueId = QueueId(2);

fn rows(round: u64) -> Vec<Row> {
    let changed = (0..4).map(|number| {
        let content = vec![u8::try_from(round).unwrap(); 300];
        (row_key(ONE, round % 3 * 4 + number), Some(content))
    });
    changed
        .chain([(row_key(ONE, (round + 1) % 3 * 4), None)])
        .collect()
}

/// Sends, deletes in and out of order, seals and rewrites segments, removes a queue.
fn script(harness: &mut Harness) -> Result<(), StoreError> {
    for round in 1..=5 {
        harness.insert(ONE, 9, 700, false);
        harness.insert(TWO, 4, 1_500, true);
        harness.remove_living(ONE, |id| id + 14 < round * 9 && id % 8 != 0);
        harness.checkpoint(rows(round))?;
        harness.insert(ONE, 2, 10, false);
        if round == 3 {
            harness.remove_queue(TWO);
        }
    }
    Ok(())
}

/// Opens what a cut left, compares it, and goes on with it.
fn recover(harness: &mut Harness, disk: &SimulatedDisk, seed: u64, name: &str) {
    let left = disk.after_crash(seed);
    if let Err(error) = harness.reopen(left.root()) {
        panic!("{name} seed {seed}: {error}");
    }
    harness.assert_holds();
}

#[test]
fn a_cut_at_any_moment_leaves_one_checkpoint_whole() {
    let disk = SimulatedDisk::new();
    let mut harness = Harness::open(disk.root()).unwrap();
    script(&mut harness).unwrap();
    let count = disk.operation_count();
    assert!(count > 100, "{count} operations");
    for number in 1..=count {
        for seed in 0..4 {
            let disk = SimulatedDisk::new();
            disk.crash_at(number);
            let Ok(mut harness) = Harness::open(disk.root()) else {
                let left = disk.after_crash(seed);
                let mut harness = Harness::open(left.root()).unwrap();
                script(&mut harness).unwrap();
                continue;
            };
            script(&mut harness).unwrap_err();
            recover(&mut harness, &disk, seed, &format!("operation {number}"));
        }
    }
}

#[test]
fn a_cut_right_after_a_recovery_leaves_one_checkpoint_whole_again() {
    let disk = SimulatedDisk::new();
    let mut harness = Harness::open(disk.root()).unwrap();
    let made = disk.operation_count();
    script(&mut harness).unwrap();
    let count = disk.operation_count();
    for number in (made + 1..=count).step_by(7) {
        for again in 1..30 {
            let disk = SimulatedDisk::new();
            disk.crash_at(number);
            let mut harness = Harness::open(disk.root()).unwrap();
            script(&mut harness).unwrap_err();
            let second = disk.after_crash(number);
            second.crash_at(again);
            let reopened = harness.reopen(second.root()).is_ok();
            if reopened && harness.checkpoint(Vec::new()).is_ok() {
                break;
            }
            recover(
                &mut harness,
                &second,
                number + again,
                &format!("{number} then {again}"),
            );
            harness.checkpoint(Vec::new()).unwrap();
            harness.assert_disk_holds_exactly();
        }
    }
}

#[test]
fn a_cut_right_after_the_restart_that_follows_a_kill_takes_back_nothing_that_was_found() {
    let disk = SimulatedDisk::new();
    let mut harness = Harness::open(disk.root()).unwrap();
    script(&mut harness).unwrap();
    for number in 1..=disk.operation_count() {
        let disk = SimulatedDisk::new();
        disk.crash_at(number);
        let Ok(mut harness) = Harness::open(disk.root()) else {
            let killed = disk.after_kill();
            Harness::open(killed.root()).unwrap();
            let mut harness = Harness::open(killed.after_crash(0).root()).unwrap();
            script(&mut harness).unwrap();
            continue;
        };
        script(&mut harness).unwrap_err();
        let killed = disk.after_kill();
        let found = harness.reopen(killed.root()).unwrap().applied;
        let left = killed.after_crash(0);
        let again = harness.reopen(left.root()).unwrap().applied;
        assert_eq!(again, found, "operation {number}");
        harness.assert_holds();
    }
}
