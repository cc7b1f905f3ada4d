//! Goal: a folder that is foreign, newer, damaged or incomplete is refused and stays as it was;
//! what a crash leaves is cleared up, and what no crash explains is set aside.
//! Method: a small store, changed by hand.

use std::sync::Arc;

use sampan_protocol::{QueueId, SetId};
use sampan_storage::io::{Folder, SimulatedDisk};
use sampan_storage::store::{INDEX_FILE, Store, StoreError, StoreIdentity, check, segment_name};

use crate::image::files;
use crate::support::{Harness, IDENTITY, OPTIONS, content, live, segment_names};

const QUEUE: QueueId = QueueId(1);

/// A store with several segments, closed.
fn closed() -> (Arc<dyn Folder>, Harness) {
    let root = SimulatedDisk::new().root();
    let mut harness = Harness::open(root.clone()).unwrap();
    for _ in 0..3 {
        harness.insert(QUEUE, 10, 900, false);
        harness.checkpoint(Vec::new()).unwrap();
    }
    let empty = Store::open(SimulatedDisk::new().root(), IDENTITY, OPTIONS)
        .unwrap()
        .0;
    drop(std::mem::replace(&mut harness.store, empty));
    (root, harness)
}

fn refusal(root: &Arc<dyn Folder>, identity: StoreIdentity) -> StoreError {
    let before = files(&**root);
    let error = Store::open(root.clone(), identity, OPTIONS).unwrap_err();
    assert_eq!(files(&**root), before, "a refusal changes nothing");
    error
}

#[test]
fn a_folder_of_another_node_cluster_or_set_is_refused_and_unchanged() {
    let (root, mut harness) = closed();
    for identity in [
        StoreIdentity {
            node: 2,
            ..IDENTITY
        },
        StoreIdentity {
            cluster: 2,
            ..IDENTITY
        },
        StoreIdentity {
            set: SetId(9),
            ..IDENTITY
        },
    ] {
        let error = refusal(&root, identity);
        assert!(
            matches!(error, StoreError::ForeignIdentity { .. }),
            "{error}"
        );
    }
    harness.reopen(root).unwrap();
}

#[test]
fn a_missing_short_or_foreign_segment_is_damage_and_nothing_is_changed() {
    let (root, harness) = closed();
    let name = segment_names(&*root).remove(0);
    let inside = live(&*root);
    let file = inside.open(&name).unwrap();
    let len = file.len().unwrap();
    let last = content(&*inside, &name)[usize::try_from(len).unwrap() - 1];
    file.set_len(len - 1).unwrap();
    assert!(refusal(&root, IDENTITY).is_damage());
    file.write_all_at(&[last], len - 1).unwrap();
    let other = segment_names(&*root).remove(1);
    inside.rename(&name, "aside").unwrap();
    assert!(refusal(&root, IDENTITY).is_damage());
    let bytes = content(&*inside, &other);
    let copy = inside.create(&name).unwrap();
    copy.write_all_at(&bytes, 0).unwrap();
    assert!(refusal(&root, IDENTITY).is_damage());
    inside.rename("aside", &name).unwrap();
    let mut harness = harness;
    harness.reopen(root).unwrap();
}

#[test]
fn an_index_that_is_missing_or_empty_beside_segments_is_damage() {
    let (root, _harness) = closed();
    let inside = live(&*root);
    inside.rename(INDEX_FILE, "aside").unwrap();
    assert!(refusal(&root, IDENTITY).is_damage());
    inside.create(INDEX_FILE).unwrap();
    assert!(refusal(&root, IDENTITY).is_damage());
}

#[test]
fn a_leftover_segment_is_removed_and_an_unexplained_one_is_set_aside() {
    let (root, mut harness) = closed();
    let highest = segment_names(&*root).len();
    let leftover = segment_name(u32::try_from(highest).unwrap() + 1);
    let inside = live(&*root);
    inside
        .create(&leftover)
        .unwrap()
        .write_all_at(b"torn", 0)
        .unwrap();
    let unexplained = segment_name(0);
    inside
        .create(&unexplained)
        .unwrap()
        .write_all_at(b"whose?", 0)
        .unwrap();
    assert_eq!(
        check(&root).unwrap().leftovers,
        [unexplained.clone(), leftover.clone()]
    );
    let (store, recovered) = Store::open(root.clone(), IDENTITY, OPTIONS).unwrap();
    assert_eq!(recovered.quarantined, ["quarantine-00000000.seg"]);
    assert_eq!(content(&*inside, "quarantine-00000000.seg"), b"whose?");
    assert!(!inside.list().unwrap().contains(&leftover));
    drop(store);
    harness.reopen(root).unwrap();
}

#[test]
fn a_check_names_every_damaged_segment_and_changes_nothing() {
    let (root, harness) = closed();
    let report = check(&root).unwrap();
    assert_eq!((report.finding_count, report.identity), (0, IDENTITY));
    assert_eq!(report.message_count, harness.model.messages.len() as u64);
    let names = segment_names(&*root);
    for name in &names {
        let file = live(&*root).open(name).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 2_000).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 2_000).unwrap();
    }
    let before = files(&*root);
    let report = check(&root).unwrap();
    assert_eq!(files(&*root), before);
    assert_eq!(report.finding_count, names.len() as u64);
    for name in &names {
        assert!(
            report
                .findings
                .iter()
                .any(|finding| finding.to_string().contains(name)),
            "{report:?}"
        );
    }
}
