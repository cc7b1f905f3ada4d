//! Makes a data folder of a new cluster of one node from a backup. No node runs meanwhile.
//!
//! The folder gets its identity last. Before that it is one that "has files but no identity", which
//! no start takes up; after a failure nothing of it is left.
//!
//! Each set goes on behind the entry that its snapshot ends with: its log is purged up to there,
//! and has a vote of that entry's term, so that the next leader's term is a later one.
//! Spec: spec/storage.md, "Backup".

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use sampan_core::Broker;
use sampan_protocol::SetId;
use sampan_storage::io::{DiskFolder, Folder};
use sampan_storage::log::{Log, LogId, LogIdentity, LogOptions, Vote};
use sampan_storage::store::{
    BackupChunks, Recovered, SnapshotWriter, Store, StoreError, StoreOptions, read_backup,
};

use super::error::RestoreError;
use super::manifest::{Manifest, SetInBackup};
use super::settle::Settlement;
use crate::data_folder::{LOG_FOLDER, set_folder, store_identity, wait_for};
use crate::identity::Identity;
use crate::raft::payload::LogPayload;

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The new cluster's id.
    pub cluster: u128,
    /// The cluster that the backup is of.
    pub old_cluster: u128,
    /// The entry of the catalog that all sets are at.
    pub catalog_index: u64,
    /// How many sets there are.
    pub set_count: usize,
    /// How many queues the catalog has.
    pub queue_count: usize,
}

/// Makes a data folder in `data`, new or empty, of a new cluster of `node` alone, with all that the
/// backup in `backup` has. Blocks on the disk.
///
/// # Errors
///
/// No backup, damage anywhere in it, or a folder that is not empty.
pub fn restore(
    backup: PathBuf,
    data: PathBuf,
    node: u64,
    random: fn() -> u64,
) -> Result<Restored, RestoreError> {
    // Opening a folder makes it, and a misspelt name is none.
    if !backup.is_dir() {
        return Err(RestoreError::NoBackup(backup));
    }
    let backup = DiskFolder::open(&backup).map_err(|error| RestoreError::Io(backup, error))?;
    let manifest = Manifest::read(&backup)?;
    let set_count = u32::try_from(manifest.sets.len()).expect("a manifest has at most 256 sets");
    let chunks = open_all(&backup, &manifest)?;
    let io = |error| RestoreError::Io(data.clone(), error);
    let folder: Arc<dyn Folder> = Arc::new(DiskFolder::open(&data).map_err(io)?);
    let lock = folder.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => RestoreError::InUse(data.clone()),
        _ => io(error),
    })?;
    let is_empty = folder.list().map_err(io)?.is_empty();
    if !is_empty || !folder.folders().map_err(io)?.is_empty() {
        return Err(RestoreError::NotEmpty(data));
    }
    let restoring = Restoring {
        folder: folder.clone(),
        identity: Identity::new(node, random, set_count),
        random,
    };
    let restored = restoring.run(&manifest, chunks);
    if restored.is_err() {
        restoring.clear();
    }
    drop(lock);
    restored
}

/// Opens the snapshots of all sets, and sees that they belong together.
fn open_all(backup: &DiskFolder, manifest: &Manifest) -> Result<Vec<BackupChunks>, RestoreError> {
    let io = |error| RestoreError::Io(backup.path(), error);
    let there = backup.folders().map_err(io)?;
    let mut opened = Vec::with_capacity(manifest.sets.len());
    for (set, expected) in (0..).map(SetId).zip(&manifest.sets) {
        let name = set_folder(set);
        let damaged = |what: &str| RestoreError::Damaged {
            file: backup.path().join(&name),
            what: what.to_owned(),
        };
        if !there.contains(&name) {
            return Err(damaged("it is missing"));
        }
        let folder = backup.folder(&name).map_err(io)?;
        let path = folder.path();
        let chunks = read_backup(folder).map_err(|error| of_backup(&path, "", error, set))?;
        let id = &chunks.header().id;
        if id.set != set || SetInBackup::new(id) != *expected {
            return Err(damaged("it is of another backup"));
        }
        opened.push(chunks);
    }
    Ok(opened)
}

/// A data folder that is being made.
struct Restoring {
    folder: Arc<dyn Folder>,
    identity: Identity,
    random: fn() -> u64,
}

impl Restoring {
    fn run(
        &self,
        manifest: &Manifest,
        chunks: Vec<BackupChunks>,
    ) -> Result<Restored, RestoreError> {
        let mut settlement = Settlement {
            node: self.identity.node,
            records: BTreeMap::new(),
            random: self.random,
        };
        let mut applied = Vec::with_capacity(chunks.len());
        for (set, chunks) in (0..).map(SetId).zip(chunks) {
            let id = chunks.header().id.applied;
            let (mut store, recovered) = self.fill(set, chunks)?;
            if set == SetId(0) {
                let catalog = Broker::restore(recovered.rows.clone());
                let catalog = catalog.map_err(|error| RestoreError::Rows(set, error))?;
                let records = catalog.catalog().records().cloned();
                settlement.records = records.map(|record| (record.queue, record)).collect();
            }
            settlement.settle(set, &mut store, recovered, id)?;
            applied.push((set, id));
        }
        self.make_log(&applied)?;
        let io = |error| RestoreError::Io(self.folder.path(), error);
        self.identity.begin(&self.folder).map_err(io)?;
        Identity::finish(&self.folder).map_err(io)?;
        Ok(Restored {
            cluster: self.identity.cluster,
            old_cluster: manifest.cluster,
            catalog_index: manifest.catalog_index,
            set_count: manifest.sets.len(),
            queue_count: settlement.records.len(),
        })
    }

    /// Makes the store of a set from its snapshot.
    fn fill(
        &self,
        set: SetId,
        mut chunks: BackupChunks,
    ) -> Result<(Store, Recovered), RestoreError> {
        let failed = |error| RestoreError::Store(set, error);
        let folder = self.folder.folder(&set_folder(set));
        let folder = folder.map_err(|error| RestoreError::Io(self.folder.path(), error))?;
        let identity = store_identity(&self.identity, set);
        let options = StoreOptions::default();
        let (store, _) = Store::open(folder.clone(), identity, options).map_err(failed)?;
        let id = chunks.header().id.clone();
        let writer = SnapshotWriter::begin(folder, identity, options, &id);
        let mut writer = writer.map_err(failed)?;
        let path = chunks.path();
        while let Some(chunk) = chunks.next() {
            let chunk = chunk.map_err(|error| of_backup(&path, &chunks.file(), error, set))?;
            let taken = writer.write_chunk(chunk);
            taken.map_err(|error| of_backup(&path, &chunks.file(), error, set))?;
        }
        let incoming = writer.finish();
        let incoming = incoming.map_err(|error| of_backup(&path, &chunks.file(), error, set))?;
        incoming.install(store.retire()).map_err(failed)
    }

    fn make_log(&self, applied: &[(SetId, LogId)]) -> Result<(), RestoreError> {
        let folder = self.folder.folder(LOG_FOLDER);
        let folder = folder.map_err(|error| RestoreError::Io(self.folder.path(), error))?;
        let identity = LogIdentity {
            node: self.identity.node,
            cluster: self.identity.cluster,
        };
        let opened = Log::<LogPayload>::open(folder, identity, LogOptions::default());
        let (log, _) = opened.map_err(RestoreError::Log)?;
        for (set, id) in applied {
            let vote = Vote {
                term: id.term,
                node: self.identity.node,
                committed: false,
            };
            wait_for(|done| log.purge(*set, *id, done)).map_err(RestoreError::Log)?;
            wait_for(|done| log.save_vote(*set, vote, done)).map_err(RestoreError::Log)?;
        }
        log.close().map_err(RestoreError::Log)
    }

    /// Removes what was made. The folder was empty before, and is locked.
    fn clear(&self) {
        let names = self.identity.sets().map(set_folder);
        for name in names.chain([LOG_FOLDER.to_owned()]) {
            let path = self.folder.path().join(name);
            match std::fs::remove_dir_all(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // The first error is the one to be told; without an identity nothing starts here.
                Err(error) => tracing::warn!(path = %path.display(), %error, "not removed"),
            }
        }
    }
}

/// What is wrong with `file` of the backup's folder at `path`, or with the store that is written.
fn of_backup(path: &std::path::Path, file: &str, error: StoreError, set: SetId) -> RestoreError {
    let damaged = |file: &str, what: String| RestoreError::Damaged {
        file: path.join(file),
        what,
    };
    match error {
        StoreError::Damaged { file, offset, what } => match offset {
            Some(offset) => damaged(&file, format!("byte {offset}: {what}")),
            None => damaged(&file, what),
        },
        StoreError::WrongChunk { number, what } => damaged(file, format!("chunk {number}: {what}")),
        error @ (StoreError::ChunkOutOfOrder { .. } | StoreError::SnapshotIncomplete { .. }) => {
            damaged(file, error.to_string())
        }
        error => RestoreError::Store(set, error),
    }
}
