//! Goal: a backup is the state that was saved or is refused, and a check of a data folder finds
//! every fault and says where it lies.
//! Method: a store is written as a backup and restored; files of both are changed.

use std::sync::Arc;

use bytes::Bytes;
use sampan_protocol::{QueueId, SetId};
use sampan_storage::io::{Folder, SimulatedDisk};
use sampan_storage::log::{LogEntry, LogId, LogIdentity, LogOptions, SteppedLog};
use sampan_storage::store::{
    BACKUP_FILE, SnapshotWriter, Store, StoreError, read_backup, segment_name, write_backup,
};
use sampan_storage::{Finding, check_folder, log};

use crate::image::files;
use crate::support::{Harness, IDENTITY, INCARNATION, OPTIONS, live, row_key};

const QUEUE: QueueId = QueueId(1);

fn fill(root: Arc<dyn Folder>) -> Harness {
    let mut harness = Harness::open(root).unwrap();
    for round in 0..3 {
        harness.insert(QUEUE, 8, 500, false);
        let row = (row_key(QUEUE, round), Some(vec![5; 40]));
        harness.checkpoint(vec![row]).unwrap();
    }
    harness
}

/// Restores the backup in `folder`, which is compared with what `sender` holds.
fn restore(folder: Arc<dyn Folder>, sender: &Harness) -> Result<(), StoreError> {
    let backup = read_backup(folder)?;
    let id = backup.header().id.clone();
    let root = SimulatedDisk::new().root();
    let (store, _) = Store::open(root.clone(), IDENTITY, OPTIONS)?;
    let mut writer = SnapshotWriter::begin(root, IDENTITY, OPTIONS, &id)?;
    for chunk in backup {
        writer.write_chunk(chunk?)?;
    }
    let (store, recovered) = writer.finish()?.install(store.retire())?;
    Harness::adopt(store, &recovered, sender);
    Ok(())
}

fn flip(folder: &dyn Folder, name: &str, offset: u64) {
    let file = folder.open(name).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[test]
fn a_backup_is_restored_as_it_was_saved() {
    let sender = fill(SimulatedDisk::new().root());
    let disk = SimulatedDisk::new();
    let mut reader = sender.store.snapshot(INCARNATION).unwrap().unwrap();
    let header = write_backup(&mut reader, &*disk.root()).unwrap();
    assert_eq!(Some(header.id.applied), sender.model.applied);
    assert!(header.chunk_count > 2);
    let left = disk.after_crash(0).root();
    assert_eq!(*read_backup(left.clone()).unwrap().header(), header);
    restore(left.clone(), &sender).unwrap();
    let refused = write_backup(&mut reader, &*left);
    assert!(refused.is_err(), "a backup is not overwritten");
    restore(left, &sender).unwrap();
}

#[test]
fn a_backup_that_was_interrupted_or_changed_is_refused() {
    let sender = fill(SimulatedDisk::new().root());
    let disk = SimulatedDisk::new();
    let mut reader = sender.store.snapshot(INCARNATION).unwrap().unwrap();
    write_backup(&mut reader, &*disk.root()).unwrap();
    let count = disk.operation_count();
    for (name, bytes) in files(&*disk.root()) {
        for offset in (0..bytes.len() as u64).step_by(97) {
            flip(&*disk.root(), &name, offset);
            assert!(
                restore(disk.root(), &sender).is_err(),
                "{name} byte {offset}"
            );
            flip(&*disk.root(), &name, offset);
        }
    }
    restore(disk.root(), &sender).unwrap();
    for number in 1..=count {
        let disk = SimulatedDisk::new();
        disk.crash_at(number);
        write_backup(&mut reader, &*disk.root()).unwrap_err();
        for seed in 0..4 {
            let left = disk.after_crash(seed).root();
            let is_named = left.list().unwrap().contains(&BACKUP_FILE.to_owned());
            match restore(left, &sender) {
                Ok(()) => assert!(is_named),
                Err(error) => assert!(error.is_damage(), "{number}: {error}"),
            }
        }
    }
}

/// A data folder of a node with one set that was closed in order.
fn data_folder() -> Arc<dyn Folder> {
    let root = SimulatedDisk::new().root();
    let identity = LogIdentity {
        node: 1,
        cluster: 77,
    };
    let folder = root.folder("log").unwrap();
    let options = LogOptions {
        file_len: 64 * 1024,
        ..LogOptions::default()
    };
    let SteppedLog {
        log,
        mut writer,
        mut preparer,
        ..
    } = log::Log::<Bytes>::open_stepped(folder, identity, options).unwrap();
    for index in 1..30 {
        let id = LogId {
            term: 1,
            node: 1,
            index,
        };
        let payload = Bytes::from(vec![7; 4_000]);
        let entries = vec![LogEntry { id, payload }];
        log.append(SetId(3), entries, Box::new(|result| result.unwrap()));
        while preparer.step() {}
        writer.step();
    }
    writer.step_idle();
    drop(fill(root.folder("set-0003").unwrap()));
    root
}

#[test]
fn a_sound_data_folder_has_no_findings_and_is_not_changed() {
    let root = data_folder();
    let before = files(&*root);
    let report = check_folder(&root).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    assert!(check_folder(&root).is_err(), "one check at a time");
    let log = report.log.as_ref().unwrap();
    assert!(log.clean && log.file_count > 2);
    assert_eq!(log.sets[&SetId(3)].last.unwrap().index, 29);
    assert_eq!(report.stores[&SetId(3)].message_count, 24);
    drop(report);
    assert_eq!(files(&*root), before);
}

#[test]
fn every_damaged_part_of_a_data_folder_is_named_with_its_place() {
    let root = data_folder();
    let log = root.folder("log").unwrap();
    flip(&*log, "00000001.log", 2 * 4_096 + 100);
    flip(&*log, "00000002.log", 30);
    let set = root.folder("set-0003").unwrap();
    flip(&*live(&*set), &segment_name(1), 400);
    root.folder("set-0004").unwrap();
    let before = files(&*root);
    let report = check_folder(&root).unwrap();
    assert_eq!(files(&*root), before);
    let place = |finding: &Finding| (finding.file.clone(), finding.offset);
    let found: Vec<_> = report.findings.iter().map(place).collect();
    let expected = [
        ("log/00000002.log", Some(0)),
        ("log/00000001.log", Some(8_192)),
        ("set-0003/g-00000001/00000001.seg", Some(64)),
        ("set-0004/current", None),
    ];
    assert_eq!(found, expected.map(|(file, at)| (file.to_owned(), at)));
}
