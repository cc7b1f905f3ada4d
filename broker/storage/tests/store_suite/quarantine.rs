//! Goal: a damaged folder is set aside whole, with the reason, and a fresh one can take its place,
//! whatever the moment of a power cut; nothing is ever overwritten.
//! Method: log and store of a small data folder, cut at every operation.

use std::sync::Arc;

use bytes::Bytes;
use sampan_protocol::SetId;
use sampan_storage::io::{Folder, SimulatedDisk};
use sampan_storage::log::{Log, LogId, LogIdentity, LogOptions, SteppedLog};
use sampan_storage::quarantine::{QUARANTINE_FOLDER, REASON_FILE, pending, replaced, set_aside};

use crate::image::files;
use crate::support::{Harness, content};

const REASON: &str = "00000001.log is damaged at offset 4096";

/// A data folder with a damaged log and a store.
fn data_folder(disk: &SimulatedDisk) -> Arc<dyn Folder> {
    let root = disk.root();
    let log = root.folder("log").unwrap();
    for name in ["00000001.log", "00000002.log"] {
        let file = log.create(name).unwrap();
        file.write_all_at(name.as_bytes(), 0).unwrap();
        file.sync_data().unwrap();
    }
    log.sync().unwrap();
    root.folder("set-0000").unwrap();
    root
}

/// The damaged log, wherever it is.
fn assert_kept(folder: &dyn Folder) {
    let names = ["00000001.log", "00000002.log"];
    for name in names {
        assert_eq!(content(folder, name), name.as_bytes());
    }
}

#[test]
fn a_damaged_folder_is_kept_whole_with_its_reason_under_a_number_of_its_own() {
    let disk = SimulatedDisk::new();
    let root = data_folder(&disk);
    for number in 1..=3 {
        let place = set_aside(&root, "log", REASON).unwrap();
        assert_eq!(place, format!("quarantine/log-{number}"));
        assert!(!root.folders().unwrap().contains(&"log".to_owned()));
        assert_eq!(pending(&root).unwrap(), ["log"]);
        root.folder("log").unwrap();
        assert_eq!(pending(&root).unwrap(), ["log"], "it is not complete yet");
        if number != 2 {
            replaced(&root, "log").unwrap();
            assert!(pending(&root).unwrap().is_empty());
        }
    }
    let place = root.folder(QUARANTINE_FOLDER).unwrap();
    assert_eq!(place.folders().unwrap(), ["log-1", "log-2", "log-3"]);
    let first = place.folder("log-1").unwrap();
    assert_kept(&*first);
    let reason = content(&*first, REASON_FILE);
    assert_eq!(reason, format!("{REASON}\n").as_bytes());
    set_aside(&root, "set-0000", "two\nlines").unwrap();
    assert_eq!(pending(&root).unwrap(), ["set-0000"]);
    assert!(set_aside(&root, "set-0007", "is not there").is_err());
}

#[test]
fn a_cut_at_any_moment_leaves_the_damaged_folder_at_one_place_or_the_other() {
    let disk = SimulatedDisk::new();
    let root = data_folder(&disk);
    let made = disk.operation_count();
    set_aside(&root, "log", REASON).unwrap();
    root.folder("log").unwrap();
    replaced(&root, "log").unwrap();
    let count = disk.operation_count();
    assert!(count - made >= 10);
    for number in made + 1..=count {
        for seed in 0..6 {
            let disk = SimulatedDisk::new();
            let root = data_folder(&disk);
            disk.crash_at(number);
            let done = set_aside(&root, "log", REASON)
                .and_then(|_| root.folder("log"))
                .and_then(|_| replaced(&root, "log"));
            assert!(done.is_err());
            let root = disk.after_crash(seed).root();
            let what = format!("operation {number} seed {seed}");
            let is_pending = !pending(&root).unwrap().is_empty();
            let inside = root.folder(QUARANTINE_FOLDER).unwrap();
            let has_moved = inside.folders().unwrap() == ["log-1"];
            if is_pending {
                assert!(has_moved, "{what}: pending finishes what was begun");
            }
            if has_moved {
                let moved = inside.folder("log-1").unwrap();
                assert_kept(&*moved);
                assert!(files(&*moved).contains_key(REASON_FILE), "{what}");
                let has_fresh = root.folders().unwrap().contains(&"log".to_owned());
                assert!(
                    is_pending || has_fresh,
                    "{what}: a missing one is explained"
                );
            } else {
                assert_kept(&*root.folder("log").unwrap());
            }
        }
    }
}

#[test]
fn a_fresh_log_begins_behind_what_the_stores_have_applied() {
    let disk = SimulatedDisk::new();
    let root = data_folder(&disk);
    let mut harness = Harness::open(root.folder("set-0003").unwrap()).unwrap();
    harness.checkpoint(Vec::new()).unwrap();
    let applied = harness.model.applied.unwrap();
    set_aside(&root, "log", REASON).unwrap();
    let identity = LogIdentity {
        node: 1,
        cluster: 77,
    };
    let open = |root: &Arc<dyn Folder>| {
        let folder = root.folder("log").unwrap();
        Log::<Bytes>::open_stepped(folder, identity, LogOptions::default()).unwrap()
    };
    let SteppedLog {
        log, mut writer, ..
    } = open(&root);
    let set = SetId(3);
    log.purge(set, applied, Box::new(|result| result.unwrap()));
    writer.step();
    replaced(&root, "log").unwrap();
    let left = disk.after_crash(0).root();
    assert!(pending(&left).unwrap().is_empty());
    let again = open(&left);
    let state = again.log.state(set);
    let expected: Option<LogId> = Some(applied);
    assert_eq!((state.purged, state.last), (expected, expected));
}
