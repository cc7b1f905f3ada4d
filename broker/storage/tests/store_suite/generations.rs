//! Goal: one generation counts, and what lies beside it is removed, kept to be resumed, or set
//! aside; a store that lost its place is never taken for a new one.
//! Method: folders laid out by hand.

use std::sync::Arc;

use sampan_protocol::QueueId;
use sampan_storage::io::{Folder, SimulatedDisk};
use sampan_storage::store::{CURRENT_FILE, INDEX_FILE, Store, StoreError};

use crate::image::files;
use crate::support::{Harness, IDENTITY, OPTIONS, content, live};

const QUEUE: QueueId = QueueId(1);

/// A store in use, closed.
fn closed() -> (Arc<dyn Folder>, Harness) {
    let disk = SimulatedDisk::new();
    let mut harness = Harness::open(disk.root()).unwrap();
    harness.insert(QUEUE, 10, 300, false);
    harness.checkpoint(Vec::new()).unwrap();
    (disk.after_crash(1).root(), harness)
}

fn put(folder: &dyn Folder, name: &str, bytes: &[u8]) {
    folder.create(name).unwrap().write_all_at(bytes, 0).unwrap();
}

fn refusal(root: &Arc<dyn Folder>) -> StoreError {
    let before = files(&**root);
    let error = Store::open(root.clone(), IDENTITY, OPTIONS).unwrap_err();
    assert_eq!(files(&**root), before, "a refusal changes nothing");
    assert!(Store::examine(root.clone(), IDENTITY, OPTIONS).is_err());
    error
}

#[test]
fn a_layout_without_generations_is_refused_with_its_own_words() {
    let (root, _) = closed();
    let flat = SimulatedDisk::new().root();
    for name in live(&*root).list().unwrap() {
        put(&*flat, &name, &content(&*live(&*root), &name));
    }
    assert!(matches!(refusal(&flat), StoreError::FlatLayout { .. }));
}

#[test]
fn a_store_that_lost_the_name_of_its_generation_is_damaged() {
    let (root, mut harness) = closed();
    root.rename(CURRENT_FILE, "aside").unwrap();
    assert!(refusal(&root).is_damage());
    put(&*root, CURRENT_FILE, b"SMPNCUR1 00000001 00000000\n");
    assert!(refusal(&root).is_damage());
    root.rename("aside", CURRENT_FILE).unwrap();
    harness.reopen(root).unwrap();
}

#[test]
fn a_generation_that_is_missing_is_damage() {
    let (root, mut harness) = closed();
    root.folder("elsewhere").unwrap();
    root.move_folder("g-00000001", "elsewhere", "g").unwrap();
    assert!(refusal(&root).is_damage());
    let elsewhere = root.folder("elsewhere").unwrap();
    let back = root.folder("g-00000001").unwrap();
    let inside = elsewhere.folder("g").unwrap();
    assert!(
        refusal(&root).is_damage(),
        "an empty one is as good as none"
    );
    for name in inside.list().unwrap() {
        put(&*back, &name, &content(&*inside, &name));
    }
    harness.reopen(root).unwrap();
}

#[test]
fn older_generations_are_removed_but_for_what_is_in_quarantine() {
    let (root, mut harness) = closed();
    let line = content(&*root, CURRENT_FILE);
    let newer = root.folder("g-00000003").unwrap();
    for name in live(&*root).list().unwrap() {
        put(&*newer, &name, &content(&*live(&*root), &name));
    }
    let second = root.folder("g-00000002").unwrap();
    put(&*second, INDEX_FILE, b"replaced");
    put(&*second, "quarantine-00000007.seg", b"whose?");
    let three = b"SMPNCUR1 00000003";
    let crc = crc32c_of(three);
    let line_of_three = [&three[..], format!(" {crc:08x}\n").as_bytes()].concat();
    assert_eq!(line.len(), line_of_three.len());
    root.remove(CURRENT_FILE).unwrap();
    put(&*root, CURRENT_FILE, &line_of_three);
    harness.reopen(root.clone()).unwrap();
    assert_eq!(root.folders().unwrap(), ["g-00000003", "quarantine"]);
    let kept = root.folder("quarantine").unwrap();
    let kept = kept.folder("g-00000002").unwrap();
    assert_eq!(kept.list().unwrap(), ["quarantine-00000007.seg"]);
}

fn crc32c_of(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

#[test]
fn a_newer_generation_that_no_crash_explains_is_set_aside_and_reported() {
    let (root, _harness) = closed();
    for name in ["g-00000002", "g-00000003"] {
        root.folder(name).unwrap();
    }
    put(&*root.folder("g-00000002").unwrap(), "incoming.new", b"beg");
    let strange = root.folder("g-00000004").unwrap();
    put(&*strange, INDEX_FILE, b"from where?");
    let (_, recovered) = Store::open(root.clone(), IDENTITY, OPTIONS).unwrap();
    assert_eq!(recovered.quarantined, ["quarantine/g-00000004"]);
    assert_eq!(root.folders().unwrap(), ["g-00000001", "quarantine"]);
    let kept = root.folder("quarantine").unwrap();
    let kept = kept.folder("g-00000004").unwrap();
    assert_eq!(content(&*kept, INDEX_FILE), b"from where?");
}
