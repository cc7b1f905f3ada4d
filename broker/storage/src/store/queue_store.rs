//! The queue store of one set: what lives on the set's core thread.
//!
//! Owns the overlay that collects and the one that a checkpoint is writing. Every call here works
//! in memory; what blocks is the checkpoint's job and the reader, both for other threads.
//!
//! ```text
//!   insert, remove ──> active overlay ──begin_checkpoint──> frozen overlay ──job──> files
//!                            ^                                    |
//!                         lookup <────────────────────────────────┘   finish_checkpoint drops it
//! ```
//!
//! Invariants: at most one overlay is frozen; a message is in at most one of active, frozen and
//! disk, except while a job makes it durable.
//! Spec: spec/storage.md, "The queue store".

use std::sync::Arc;

use sampan_core::RowKey;
use sampan_protocol::{MessageBatch, MessageId, QueueId, Timestamp};

use super::checkpoint::{CheckpointJob, CheckpointOutcome, Rows};
use super::error::StoreError;
use super::memory_extent::InMemory;
use super::open::{Recovered, examine_store, open_store};
use super::options::{StoreIdentity, StoreOptions};
use super::overlay::Overlay;
use super::reader::{Reader, StoredMessage};
use super::removals::Removals;
use super::shared::Shared;
use super::snapshot_reader::SnapshotReader;
use crate::io::Folder;
use crate::log::LogId;

/// The messages and the state of one set, in memory and on disk.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    reader: Reader,
    options: StoreOptions,
    active: Overlay,
    checkpoint: Checkpoint,
}

/// How far a checkpoint is.
#[derive(Debug)]
enum Checkpoint {
    None,
    Running(Arc<Overlay>),
    /// There was no room; the job waits to be run again.
    Waiting(CheckpointJob),
    /// It failed for good; its overlay stays readable.
    Failed(Arc<Overlay>),
}

/// A store that was given up for a snapshot. Dropping it frees its memory, which takes time by the
/// message, so not on the core's thread.
#[derive(Debug)]
pub struct Retired {
    pub(super) shared: Arc<Shared>,
    pub(super) options: StoreOptions,
    reader: Reader,
    _memory: (Overlay, Checkpoint),
}

/// The memory of a finished checkpoint. Freeing it takes time by the message, so drop it on
/// another thread than the core's.
#[derive(Debug)]
pub struct Spent {
    _frozen: Vec<Arc<Overlay>>,
    _job: CheckpointJob,
}

impl Store {
    /// Finds out whether the store in `folder`, which is not new, would open. Changes nothing.
    ///
    /// # Errors
    ///
    /// What [`Store::open`] would refuse, and a store that is not there.
    pub fn examine(
        folder: Arc<dyn Folder>,
        identity: StoreIdentity,
        options: StoreOptions,
    ) -> Result<(), StoreError> {
        examine_store(folder, identity, options)
    }

    /// Opens the store in `folder`; makes it when the folder is empty. What replaced generations
    /// and crashes left is removed; a snapshot that was begun stays, to be resumed. The caller
    /// holds the lock of the data folder, and has let go of every reader and job of a store that
    /// was open here before.
    ///
    /// # Errors
    ///
    /// Another identity, a newer format or damage: then nothing was changed.
    pub fn open(
        folder: Arc<dyn Folder>,
        identity: StoreIdentity,
        options: StoreOptions,
    ) -> Result<(Store, Recovered), StoreError> {
        let (shared, recovered) = open_store(folder, identity, options)?;
        let reader = Reader::new(shared.clone());
        let (active, checkpoint) = (Overlay::default(), Checkpoint::None);
        Ok((
            Store {
                shared,
                reader,
                options,
                active,
                checkpoint,
            },
            recovered,
        ))
    }

    /// Stores `count` messages of `batch`, from its `index`-th place, as `first` and the ids that
    /// follow. Ids of one kind come in ascending order.
    pub fn insert(
        &mut self,
        queue: QueueId,
        first: MessageId,
        index: u16,
        count: u32,
        sent_at: Timestamp,
        batch: MessageBatch,
    ) {
        let count = u16::try_from(count).expect("a batch has at most 256 messages");
        self.active
            .insert(queue, first, (index, count), sent_at, batch);
    }

    /// Removes `count` messages from `first` on; ids that are gone already are no harm.
    pub fn remove(&mut self, queue: QueueId, first: MessageId, count: u64) {
        self.active
            .remove(queue, first.0..first.0.saturating_add(count));
    }

    /// Removes a queue with all its messages and state rows. Its id is never used again.
    pub fn remove_queue(&mut self, queue: QueueId) {
        self.active.remove_queue(queue);
    }

    /// Calls `each` for `count` ids from `first` on, in order. `None`: on disk, or gone.
    pub fn lookup(
        &self,
        queue: QueueId,
        first: MessageId,
        count: u32,
        mut each: impl FnMut(MessageId, Option<InMemory<'_>>),
    ) {
        let end = first.0.saturating_add(u64::from(count));
        let mut next = first.0;
        while next < end {
            let (holder, hidden) = self.holder(queue, next);
            let Some(extent) = holder else {
                each(MessageId(next), None);
                next += 1;
                continue;
            };
            let until = extent.ids().end.min(end);
            for (id, message) in extent.messages(next).take_while(|(id, _)| id.0 < until) {
                let is_hidden = hidden.is_some_and(|gone| gone.contains(queue, id));
                each(id, if is_hidden { None } else { message });
            }
            next = until;
        }
    }

    /// The extent that has `id`, and what hides messages in it.
    fn holder(
        &self,
        queue: QueueId,
        id: u64,
    ) -> (
        Option<&super::memory_extent::MemoryExtent>,
        Option<&Removals>,
    ) {
        let active = self.active.holder(queue, id);
        if active.is_some() {
            return (active, None);
        }
        let frozen = self.frozen().and_then(|frozen| frozen.holder(queue, id));
        (
            frozen.filter(|extent| !extent.is_dead()),
            Some(self.active.removals()),
        )
    }

    fn frozen(&self) -> Option<&Arc<Overlay>> {
        match &self.checkpoint {
            Checkpoint::None => None,
            Checkpoint::Running(frozen) | Checkpoint::Failed(frozen) => Some(frozen),
            Checkpoint::Waiting(job) => Some(&job.frozen),
        }
    }

    /// Bytes that are held in memory for messages that live, and for removals that the disk has
    /// not seen; both overlays together.
    pub fn overlay_len(&self) -> u64 {
        self.active.len() + self.frozen().map_or(0, |frozen| frozen.len())
    }

    /// Bytes that the next checkpoint will take out of memory.
    pub fn active_len(&self) -> u64 {
        self.active.len()
    }

    /// Freezes what was collected, as of the entry `applied`, whose log must be flushed before the
    /// job runs. Takes no time by the message.
    ///
    /// # Errors
    ///
    /// A checkpoint that is not finished, or a closed latch; `rows` are then lost, so ask
    /// [`Store::can_begin_checkpoint`] before they are frozen.
    pub fn begin_checkpoint(
        &mut self,
        applied: LogId,
        membership: Vec<u8>,
        rows: impl Iterator<Item = (RowKey, Option<Vec<u8>>)> + Send + 'static,
    ) -> Result<CheckpointJob, StoreError> {
        self.shared.check_writable()?;
        if !matches!(self.checkpoint, Checkpoint::None) {
            return Err(StoreError::CheckpointUnfinished);
        }
        let frozen = Arc::new(std::mem::take(&mut self.active));
        self.checkpoint = Checkpoint::Running(frozen.clone());
        Ok(CheckpointJob {
            shared: self.shared.clone(),
            frozen,
            gone: Removals::default(),
            applied,
            membership,
            rows: Rows::Frozen(Box::new(rows)),
            pause: Box::new(|| ()),
        })
    }

    /// Whether a checkpoint can begin now.
    pub fn can_begin_checkpoint(&self) -> bool {
        matches!(self.checkpoint, Checkpoint::None) && self.shared.check_latch().is_ok()
    }

    /// The checkpoint that found no room, to be run again. It leaves out what was removed since:
    /// those messages are gone by entries of the log that are committed, so when the disk is full,
    /// consuming what is in memory makes the checkpoint smaller.
    pub fn retry_checkpoint(&mut self) -> Option<CheckpointJob> {
        match std::mem::replace(&mut self.checkpoint, Checkpoint::None) {
            Checkpoint::Waiting(mut job) => {
                self.checkpoint = Checkpoint::Running(job.frozen.clone());
                job.gone.clone_from(self.active.removals());
                Some(job)
            }
            other => {
                self.checkpoint = other;
                None
            }
        }
    }

    /// Takes note of how a checkpoint ended. When it is durable, its memory is given back to be
    /// dropped elsewhere, and the log may be purged up to its log id.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`]: nothing changed on disk, run [`Store::retry_checkpoint`] later.
    /// [`StoreError::Replaced`]: the checkpoint was one of a store that a snapshot replaced, and
    /// means nothing for this one. Any other: the store is latched and must be opened again.
    pub fn finish_checkpoint(&mut self, outcome: CheckpointOutcome) -> Result<Spent, StoreError> {
        let CheckpointOutcome { job, result } = outcome;
        if !Arc::ptr_eq(&job.shared, &self.shared) {
            return Err(StoreError::Replaced);
        }
        match result {
            Ok(()) => {
                let frozen = self.frozen().cloned();
                self.checkpoint = Checkpoint::None;
                Ok(Spent {
                    _frozen: frozen.into_iter().collect(),
                    _job: job,
                })
            }
            Err(error) if error.is_full() => {
                self.checkpoint = Checkpoint::Waiting(job);
                Err(error)
            }
            Err(error) => {
                self.shared.latch();
                self.checkpoint = Checkpoint::Failed(job.frozen);
                Err(error)
            }
        }
    }

    /// A reader for other threads. It outlives this store: when a snapshot takes its place, the
    /// reader reads from that.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// See [`Reader::snapshot`].
    ///
    /// # Errors
    ///
    /// Damage, or a closed latch.
    pub fn snapshot(&self, incarnation: u128) -> Result<Option<SnapshotReader>, StoreError> {
        self.reader.snapshot(incarnation)
    }

    /// See [`Reader::replace_damaged`].
    ///
    /// # Errors
    ///
    /// A message that does not fit its record, or too much that waits.
    pub fn replace_damaged(
        &self,
        queue: QueueId,
        messages: Vec<(MessageId, StoredMessage)>,
    ) -> Result<(), StoreError> {
        self.reader.replace_damaged(queue, messages)
    }

    /// Gives the store up for a snapshot that takes its place:
    /// [`Incoming::install`](super::Incoming::install). Takes no time; a checkpoint that is
    /// running goes on, and what becomes of it does not matter any more. Readers go on too.
    pub fn retire(self) -> Retired {
        Retired {
            shared: self.shared,
            reader: self.reader,
            options: self.options,
            _memory: (self.active, self.checkpoint),
        }
    }

    /// The store that takes the place of a retired one; its readers turn to it.
    pub(super) fn in_place_of(retired: Retired, shared: Arc<Shared>) -> Store {
        let Retired {
            reader, options, ..
        } = retired;
        reader.turn_to(shared.clone());
        Store {
            shared,
            reader,
            options,
            active: Overlay::default(),
            checkpoint: Checkpoint::None,
        }
    }

    /// The number of segment files, and the bytes in them that belong to the last checkpoint.
    /// Waits for a checkpoint that is running: not for the core's thread.
    pub fn segment_stats(&self) -> SegmentStats {
        let committed = self.shared.committed();
        let mut stats = SegmentStats::default();
        for (_, account) in committed
            .accounts
            .iter()
            .filter(|(_, account)| !account.is_dead())
        {
            stats.count += 1;
            stats.len += account.len;
            stats.live_len += account.live_len;
        }
        stats
    }
}

/// What the segment files take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentStats {
    /// Files with something alive in them.
    pub count: u64,
    /// Their bytes.
    pub len: u64,
    /// Bytes of living messages.
    pub live_len: u64,
}
