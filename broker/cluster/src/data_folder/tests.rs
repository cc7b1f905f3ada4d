//! Goal: store and log of a set are brought together only in ways that forget nothing. Method: the
//! rule by itself, then data folders on a real disk whose parts are made to disagree.

use super::*;
use crate::suspicion::Voters;
use sampan_storage::io::DiskFolder;
use sampan_storage::log::{LogEntry, Vote};
use sampan_storage::store::{Incoming, SnapshotWriter};

const SET: SetId = SetId(0);
const IDENTITY: Identity = Identity {
    node: 1,
    cluster: 9 << 80,
    incarnation: 4 << 80,
    set_count: 2,
};

fn agree(applied: Option<u64>, purged: Option<u64>, last: Option<u64>) -> bool {
    let store = Recovered {
        applied: applied.map(id),
        ..Recovered::default()
    };
    let log = SetLogState {
        vote: None,
        purged: purged.map(id),
        last: last.map(id),
    };
    check_agreement(SET, &store, log).is_ok()
}

fn id(index: u64) -> LogId {
    LogId {
        term: 1,
        node: 0,
        index,
    }
}

#[test]
fn a_store_behind_the_purged_part_of_its_log_is_refused() {
    assert!(agree(Some(7), Some(7), Some(9)));
    assert!(agree(Some(8), Some(7), Some(9)));
    assert!(!agree(Some(6), Some(7), Some(9)));
    assert!(!agree(None, Some(7), Some(9)));
    assert!(agree(None, None, Some(9)));
}

#[test]
fn a_store_ahead_of_its_log_is_refused() {
    assert!(agree(Some(9), Some(7), Some(9)));
    assert!(!agree(Some(10), Some(7), Some(9)));
    assert!(!agree(Some(3), None, None));
    assert!(agree(None, None, None));
}

/// A data folder on disk, opened as often as the test wants.
struct OnDisk {
    temp: tempfile::TempDir,
    folder: Arc<dyn Folder>,
}

impl OnDisk {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let folder = Arc::new(DiskFolder::open(temp.path()).unwrap());
        OnDisk { temp, folder }
    }

    fn open(&self, has_peers: bool) -> Result<DataFolder, OpenError> {
        self.open_with(has_peers, false)
    }

    fn open_with(&self, has_peers: bool, trust_log: bool) -> Result<DataFolder, OpenError> {
        let options = OpenOptions {
            fresh: IDENTITY,
            log: LogOptions {
                file_len: 64 * 1024,
                ..LogOptions::default()
            },
            has_peers,
            is_replacement: false,
            trust_log,
        };
        DataFolder::open(&self.folder, options)
    }

    /// A folder whose log of the set has the entries 1 to `last`, and a vote.
    fn with_log(last: u64) -> Self {
        let on_disk = OnDisk::new();
        let opened = on_disk.open(true).unwrap();
        let entries = (1..=last).map(|index| LogEntry {
            id: id(index),
            payload: LogPayload::Blank,
        });
        let entries = entries.collect();
        wait_for(|done| opened.log.append(SET, entries, done)).unwrap();
        let vote = Vote {
            term: 3,
            node: 2,
            committed: true,
        };
        wait_for(|done| opened.log.save_vote(SET, vote, done)).unwrap();
        opened.log.close().unwrap();
        on_disk
    }

    /// A checkpoint of the set's store at entry `index`.
    fn checkpoint(&self, index: u64) {
        let opened = self.open(true).unwrap();
        let (mut store, _) = opened.stores.into_iter().next().unwrap();
        let job = store.begin_checkpoint(id(index), Vec::new(), std::iter::empty());
        store.finish_checkpoint(job.unwrap().run()).unwrap();
        opened.log.close().unwrap();
    }

    fn incoming(&self, from: &OnDisk) -> Incoming {
        let opened = from.open(true).unwrap();
        let mut reader = opened.stores[0].0.snapshot(7).unwrap().unwrap();
        let folder = folder_of_set(&self.folder, SET).unwrap();
        let (identity, options) = (store_identity(&IDENTITY, SET), StoreOptions::default());
        let mut writer = SnapshotWriter::begin(folder, identity, options, reader.id()).unwrap();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            writer.write_chunk(chunk).unwrap();
        }
        writer.finish().unwrap()
    }
}

fn close(opened: DataFolder) {
    opened.log.close().unwrap();
    drop(opened.lock);
}

#[test]
fn a_log_that_was_not_told_of_a_snapshot_goes_on_behind_it() {
    let sender = OnDisk::with_log(40);
    sender.checkpoint(40);
    let on_disk = OnDisk::with_log(5);
    let opened = on_disk.open(true).unwrap();
    let incoming = on_disk.incoming(&sender);
    let (store, _) = opened.stores.into_iter().next().unwrap();
    incoming.install(store.retire()).unwrap();
    opened.log.close().unwrap();
    drop(opened.lock);
    // Also without peers: nothing is missing.
    let opened = on_disk.open(false).unwrap();
    let state = opened.log.state(SET);
    assert_eq!((state.purged, state.last), (Some(id(40)), Some(id(40))));
    assert_eq!(state.vote.unwrap().term, 3);
    assert!(!opened.suspicion.is_suspect(SET));
}

#[test]
fn a_log_that_lost_its_end_makes_its_set_suspect_and_goes_on_behind_the_store() {
    let on_disk = OnDisk::with_log(10);
    on_disk.checkpoint(10);
    std::fs::remove_dir_all(on_disk.temp.path().join("log")).unwrap();
    std::fs::create_dir(on_disk.temp.path().join("log")).unwrap();
    assert!(matches!(
        on_disk.open(false),
        Err(OpenError::Mismatch { .. })
    ));
    let opened = on_disk.open(true).unwrap();
    let state = opened.log.state(SET);
    assert_eq!((state.purged, state.last), (Some(id(10)), Some(id(10))));
    assert!(opened.suspicion.is_suspect(SET) && !opened.suspicion.is_suspect(SetId(1)));
}

#[test]
fn the_only_voter_of_a_set_is_refused_when_its_log_is_damaged_like_a_node_without_peers() {
    let on_disk = OnDisk::with_log(10);
    let opened = on_disk.open(true).unwrap();
    let membership = openraft::Membership::new(
        vec![[IDENTITY.node].into()],
        std::collections::BTreeMap::from([(IDENTITY.node, openraft::BasicNode::new(""))]),
    );
    let voters = Voters::of(None, &membership.unwrap());
    let hard_state = opened.suspicion.hard_state();
    hard_state.note_voters(SET, &voters).unwrap();
    close(opened);
    let log = on_disk.temp.path().join("log/00000001.log");
    std::fs::write(&log, [0xa5; 8_192]).unwrap();
    assert!(matches!(on_disk.open(true), Err(OpenError::Log(_))));
    assert!(log.exists(), "nothing was set aside");
    let opened = on_disk.open_with(true, true).unwrap();
    assert!(
        opened.log.state(SET).last.is_none(),
        "given up by an operator's word"
    );
}

#[test]
fn a_log_whose_store_is_behind_makes_its_set_suspect_and_begins_again_there() {
    for applied in [None, Some(4)] {
        let on_disk = OnDisk::with_log(20);
        if let Some(applied) = applied {
            on_disk.checkpoint(applied);
        }
        let opened = on_disk.open(true).unwrap();
        wait_for(|done| opened.log.purge(SET, id(15), done)).unwrap();
        close(opened);
        assert!(matches!(
            on_disk.open(false),
            Err(OpenError::Mismatch { .. })
        ));
        let opened = on_disk.open(true).unwrap();
        let state = opened.log.state(SET);
        let applied = applied.map(id);
        assert_eq!((state.purged, state.last), (applied, applied));
        assert_eq!(state.vote.unwrap().term, 3);
        assert!(opened.suspicion.is_suspect(SET));
        close(opened);
        // It agrees now, and stays suspect until its leader absolves it.
        let opened = on_disk.open(true).unwrap();
        assert_eq!(opened.log.state(SET).last, applied);
        assert!(opened.suspicion.is_suspect(SET));
    }
}

#[test]
fn an_entry_of_a_newer_format_is_refused_by_name_and_taken_for_no_damage() {
    let on_disk = OnDisk::with_log(4);
    let folder = on_disk.folder.folder(LOG_FOLDER).unwrap();
    let identity = LogIdentity {
        node: IDENTITY.node,
        cluster: IDENTITY.cluster,
    };
    let options = LogOptions {
        file_len: 64 * 1024,
        ..LogOptions::default()
    };
    let (log, _) = Log::<bytes::Bytes>::open(folder, identity, options).unwrap();
    let newer = sampan_core::FORMAT_VERSION_MAX + 1;
    let mut payload = vec![0; 15];
    payload[..3].copy_from_slice(&[1, 1, u8::try_from(newer).unwrap()]);
    let entry = LogEntry {
        id: id(5),
        payload: payload.into(),
    };
    wait_for(|done| log.append(SET, vec![entry], done)).unwrap();
    log.close().unwrap();

    let opened = on_disk.open(true).unwrap();
    assert!(opened.suspicion.all().is_empty());
    assert!(!on_disk.temp.path().join("quarantine").exists());
    let error = opened.log.read(SET, 5, 6, 4_096).map(drop).unwrap_err();
    assert!(!is_damage(&error), "{error}");
    let expected = format!("entry of format version {newer}, this release reads up to");
    assert!(error.to_string().contains(&expected), "{error}");
}
