// Goal: what was not synced is gone after a kill, what was synced is there. Method: the layer is
// dropped without a sync, which is all that a kill leaves of it, and the folder is opened again.

use std::io;
use std::path::Path;

use super::*;

fn content(folder: &RecordingFolder, name: &str) -> Vec<u8> {
    let file = folder.open(name).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn synced_file(folder: &dyn Folder, name: &str, bytes: &[u8]) {
    let file = folder.create(name).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    folder.sync().unwrap();
}

fn killed_and_reopened(path: &Path, script: impl FnOnce(&RecordingFolder)) -> RecordingFolder {
    let folder = RecordingFolder::open(path).unwrap();
    script(&folder);
    drop(folder);
    RecordingFolder::open(path).unwrap()
}

#[test]
fn overwritten_cut_and_added_bytes_are_taken_back() {
    let place = tempfile::tempdir().unwrap();
    let folder = killed_and_reopened(place.path(), |folder| {
        synced_file(folder, "a", b"0123456789");
        let file = folder.open("a").unwrap();
        file.write_all_at(b"xxx", 2).unwrap();
        file.set_len(4).unwrap();
        folder
            .open("a")
            .unwrap()
            .write_all_at(b"yyyyyyyyyyyy", 3)
            .unwrap();
    });
    assert_eq!(content(&folder, "a"), b"0123456789");
}

#[test]
fn synced_bytes_stay() {
    let place = tempfile::tempdir().unwrap();
    let folder = killed_and_reopened(place.path(), |folder| {
        synced_file(folder, "a", b"0123456789");
        let file = folder.open("a").unwrap();
        file.write_all_at(b"xxx", 2).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(b"yyy", 5).unwrap();
    });
    assert_eq!(content(&folder, "a"), b"01xxx56789");
}

#[test]
fn names_go_back_to_the_last_sync_of_their_folder() {
    let place = tempfile::tempdir().unwrap();
    let folder = killed_and_reopened(place.path(), |folder| {
        synced_file(folder, "a", b"a");
        synced_file(folder, "b", b"b");
        synced_file(folder, "c", b"c");
        folder.create("fresh").unwrap().sync_data().unwrap();
        folder.rename("a", "b").unwrap();
        folder.remove("c").unwrap();
        folder
            .create("c")
            .unwrap()
            .write_all_at(b"other", 0)
            .unwrap();
        folder.rename("fresh", "a").unwrap();
    });
    assert_eq!(folder.list().unwrap(), ["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        assert_eq!(content(&folder, name), name.as_bytes());
    }
    assert!(folder.folders().unwrap().is_empty());
}

#[test]
fn names_stay_once_their_folder_was_synced() {
    let place = tempfile::tempdir().unwrap();
    let folder = killed_and_reopened(place.path(), |folder| {
        synced_file(folder, "a", b"a");
        synced_file(folder, "b", b"b");
        folder.rename("a", "b").unwrap();
        folder.open("b").unwrap().write_all_at(b"x", 0).unwrap();
        folder.sync().unwrap();
    });
    assert_eq!(folder.list().unwrap(), ["b"]);
    assert_eq!(content(&folder, "b"), b"a");
}

#[test]
fn folders_below_are_taken_back_too() {
    let place = tempfile::tempdir().unwrap();
    let folder = killed_and_reopened(place.path(), |folder| {
        let below = folder.folder("below").unwrap();
        below.create("kept").unwrap();
        below.sync().unwrap();
        below.create("lost").unwrap();
    });
    assert_eq!(folder.folders().unwrap(), ["below"]);
    assert_eq!(folder.folder("below").unwrap().list().unwrap(), ["kept"]);
}

#[test]
fn a_folder_in_use_is_not_taken_back() {
    let place = tempfile::tempdir().unwrap();
    let folder = RecordingFolder::open(place.path()).unwrap();
    folder.create("a").unwrap();
    let refused = RecordingFolder::open(place.path()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(folder.list().unwrap(), ["a"]);
}

#[test]
fn a_folder_that_was_moved_or_removed_stays_so() {
    let place = tempfile::tempdir().unwrap();
    let folder = killed_and_reopened(place.path(), |folder| {
        folder.folder("into").unwrap();
        let below = folder.folder("below").unwrap();
        synced_file(&*below, "kept", b"k");
        below.sync().unwrap();
        below.create("lost").unwrap();
        folder.move_folder("below", "into", "moved").unwrap();
        let gone = folder.folder("gone").unwrap();
        gone.create("a").unwrap();
        assert!(folder.remove_folder("gone").is_err());
        gone.remove("a").unwrap();
        gone.sync().unwrap();
        folder.remove_folder("gone").unwrap();
        folder.folder("gone").unwrap().create("new").unwrap();
    });
    assert_eq!(folder.folders().unwrap(), ["gone", "into"]);
    let into = folder.folder("into").unwrap();
    assert_eq!(into.folder("moved").unwrap().list().unwrap(), ["kept"]);
    assert!(folder.folder("gone").unwrap().list().unwrap().is_empty());
}
