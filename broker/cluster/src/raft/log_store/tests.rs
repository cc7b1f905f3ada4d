//! Goal: the newest vote is what a restart reads, wherever it is written. Method: real files; a
//! lost log is one in another folder.

use std::path::Path;
use std::sync::Arc;

use sampan_storage::io::DiskFolder;
use sampan_storage::log::{LogIdentity, LogOptions};

use super::*;
use crate::suspicion::Suspicion;

const SET: SetId = SetId(3);

fn vote(term: u64, voted_for: u64, committed: bool) -> RaftVote {
    RaftVote {
        leader_id: LeaderId { term, voted_for },
        committed,
    }
}

fn open(log: &Path, suspicion: &Path) -> LogStore {
    let [log, suspicion] = [log, suspicion].map(|path| Arc::new(DiskFolder::open(path).unwrap()));
    let identity = LogIdentity {
        node: 1,
        cluster: 9,
    };
    let (log, _) = Log::open(log, identity, LogOptions::default()).unwrap();
    let suspicion = Suspicion::open(suspicion).unwrap();
    LogStore::new(log, SET, suspicion.hard_state().clone())
}

#[tokio::test]
async fn a_vote_outlives_its_log_but_not_that_it_was_committed() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [log, other_log, suspicion] = folders.each_ref().map(|folder| folder.path());
    let mut store = open(log, suspicion);
    assert_eq!(store.read_vote().await.unwrap(), None);
    store.save_vote(&vote(5, 2, false)).await.unwrap();
    store.save_vote(&vote(5, 2, true)).await.unwrap();
    assert_eq!(store.read_vote().await.unwrap(), Some(vote(5, 2, true)));
    drop(store);

    let mut store = open(other_log, suspicion);
    assert_eq!(store.read_vote().await.unwrap(), Some(vote(5, 2, false)));
    store.save_vote(&vote(6, 3, false)).await.unwrap();
    assert_eq!(store.read_vote().await.unwrap(), Some(vote(6, 3, false)));
    drop(store);
    let mut store = open(log, suspicion);
    assert_eq!(store.read_vote().await.unwrap(), Some(vote(6, 3, false)));
}
