//! Takes a backup on the node that is asked, from its own replicas.
//!
//! First everything that was acknowledged before the backup began is applied here; then each set
//! writes a checkpoint, and its snapshot is pinned; then the snapshots are written down, while
//! everything goes on. Between the first and the last of these checkpoints no message leaves its
//! queue for another (`hold`). Set 0 comes last: so every queue that another set has was in the
//! catalog before, and no id of one that the restored catalog does not know is ever given again.
//!
//! Invariants: one backup at a time. The manifest is written last: without it there is no backup.
//! Spec: spec/storage.md, "Backup".

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sampan_protocol::{ErrorCode, SetId};
use sampan_storage::io::{DiskFolder, Folder};
use sampan_storage::store::{Reader, SnapshotReader, write_backup};
use tokio::sync::oneshot;

use super::hold::Hold;
use super::manifest::{Manifest, SetInBackup};
use crate::data_folder::set_folder;
use crate::reach::Reach;
use crate::set::{Refused, SetRequest};
use crate::status::BackupSummary;

/// A checkpoint that takes longer has no room, or a disk that fails.
const CHECKPOINT_WAIT_MAX: Duration = Duration::from_secs(300);
const CATALOG: SetId = SetId(0);

/// Takes the backups of a node. Clones are one.
#[derive(Clone)]
pub(crate) struct Backups {
    source: Arc<BackupSource>,
    is_running: Arc<AtomicBool>,
}

/// What a node's backups are taken from.
pub(crate) struct BackupSource {
    pub(crate) node: u64,
    pub(crate) cluster: u128,
    pub(crate) incarnation: u128,
    pub(crate) release: String,
    /// Draws the token under which settlements are held.
    pub(crate) random: fn() -> u64,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// Of all sets, by number.
    pub(crate) readers: Vec<Reader>,
}

/// One backup is under way.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Backups {
    pub(crate) fn new(source: BackupSource) -> Self {
        Backups {
            source: Arc::new(source),
            is_running: Arc::default(),
        }
    }

    /// Writes a backup of the whole cluster into the folder at `path`, which is new or empty.
    ///
    /// # Errors
    ///
    /// Why not. What is in the folder then is no backup.
    pub(crate) async fn take(&self, reach: &Reach, path: &str) -> Result<BackupSummary, Refused> {
        let begun = self.is_running.swap(true, Ordering::AcqRel);
        if begun {
            return Err(refuse("this node is taking a backup already"));
        }
        let running = Running(self.is_running.clone());
        let path = self.check_path(path)?;
        let sets: Vec<SetId> = reach.board.sets().collect();
        self.check_replicas(reach, &sets)?;
        let hold = Hold::new(reach, &sets, (self.source.random)());
        let readers = match hold.begin().await {
            Ok(()) => self.open_all(reach, &sets).await,
            Err(refused) => Err(refused),
        };
        let released = hold.release().await;
        let readers = readers?;
        released?;
        let source = self.source.clone();
        let written = tokio::task::spawn_blocking(move || {
            let written = source.write(&path, readers);
            // Only now may the next one begin, even when nobody waits for this one any more.
            drop(running);
            written
        });
        let written = written.await.map_err(|error| refuse(&error.to_string()))?;
        written.map_err(|error| {
            tracing::error!(error, "a backup failed");
            refuse(&error)
        })
    }

    fn check_path(&self, path: &str) -> Result<PathBuf, Refused> {
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err(refuse("the folder of a backup is named by its whole path"));
        }
        if path.starts_with(&self.source.data) {
            return Err(refuse("a backup does not belong into the data folder"));
        }
        Ok(path)
    }

    /// What this node has no replica of, it cannot back up.
    fn check_replicas(&self, reach: &Reach, sets: &[SetId]) -> Result<(), Refused> {
        let node = self.source.node;
        let is_here = |set: &SetId| {
            let line = reach.board.line(*set);
            line.voters.contains(&node) || line.learners.contains(&node)
        };
        match sets.iter().find(|set| !is_here(set)) {
            None => Ok(()),
            Some(set) => Err(refuse(&format!(
                "node {node} has no replica of set {set}: ask a node that has one of every set"
            ))),
        }
    }

    /// Pins a checkpoint of each set that has all that was acknowledged before.
    async fn open_all(
        &self,
        reach: &Reach,
        sets: &[SetId],
    ) -> Result<Vec<SnapshotReader>, Refused> {
        for set in sets {
            reach.confirm(*set).await?;
        }
        let mut readers = Vec::with_capacity(sets.len());
        for set in sets.iter().rev() {
            readers.push(self.open(reach, *set).await?);
        }
        readers.reverse();
        Ok(readers)
    }

    /// Makes the set write down what it has applied, and pins that.
    async fn open(&self, reach: &Reach, set: SetId) -> Result<SnapshotReader, Refused> {
        let (done, durable) = oneshot::channel();
        let asked = reach.set(set)?.request(SetRequest::Checkpoint(done));
        asked.await?;
        let durable = tokio::time::timeout(CHECKPOINT_WAIT_MAX, durable).await;
        let durable = durable.map_err(|_| refuse(&format!("set {set} writes no checkpoint")))?;
        durable.map_err(|_| Refused::new(ErrorCode::ShuttingDown))??;
        let source = self.source.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let reader = source.readers.get(set.0 as usize);
            let opened = reader.map(|reader| reader.snapshot(source.incarnation));
            opened.transpose().map(Option::flatten)
        });
        let opened = opened.await.map_err(|error| refuse(&error.to_string()))?;
        opened
            .map_err(|error| refuse(&format!("set {set}: {error}")))?
            .ok_or_else(|| refuse(&format!("set {set} has no checkpoint")))
    }
}

impl BackupSource {
    /// Writes the snapshots of all sets, by number, then the manifest. Blocks on the disk.
    fn write(&self, path: &Path, readers: Vec<SnapshotReader>) -> Result<BackupSummary, String> {
        let io = |error: std::io::Error| format!("{}: {error}", path.display());
        let folder = DiskFolder::open(path).map_err(io)?;
        let is_new = folder.list().map_err(io)?.is_empty();
        if !is_new || !folder.folders().map_err(io)?.is_empty() {
            return Err(format!(
                "{} is not empty: name a new folder",
                path.display()
            ));
        }
        let mut sets = Vec::with_capacity(readers.len());
        let mut len = 0;
        for mut reader in readers {
            let id = reader.id().clone();
            let name = set_folder(id.set);
            let set = folder.folder(&name).map_err(io)?;
            let written = write_backup(&mut reader, &*set);
            written.map_err(|error| format!("{name}: {error}"))?;
            sets.push(SetInBackup::new(&id));
            len += id.len_estimate;
        }
        let catalog = sets.get(CATALOG.0 as usize);
        let catalog_index = catalog.map_or(0, |catalog| catalog.index);
        let manifest = Manifest {
            cluster: self.cluster,
            node: self.node,
            incarnation: self.incarnation,
            catalog_index,
            release: self.release.clone(),
            sets,
        };
        manifest.write(&folder).map_err(io)?;
        let set_count = manifest.sets.len();
        tracing::info!(folder = %path.display(), catalog_index, set_count, len, "backup taken");
        Ok(BackupSummary {
            folder: path.display().to_string(),
            catalog_index,
            set_count,
            len,
        })
    }
}

fn refuse(text: &str) -> Refused {
    Refused {
        text: text.to_owned(),
        ..Refused::new(ErrorCode::ClusterRefused)
    }
}
