//! The applied state of a set on this node: the core's state machine and the queue store, moved
//! together by the entries of the log.
//!
//! Shared between openraft's adapter, which applies, and the set's driver, which reads; both run on
//! the set's core thread and neither holds it across an await.
//!
//! Invariants: `applied` is the log id of the last entry that both the core and the store have
//! seen. A checkpoint covers exactly the entries up to the id it names. The store is away only
//! while a snapshot takes its place, when nothing is applied.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use sampan_core::{Broker, Effect, Entry, FORMAT_VERSION_MAX, Need, Reply, RestoreError, RowKey};
use sampan_protocol::{Durability, MessageId, QueueId, SetId};
use sampan_storage::log::{Done, Log, LogError};
use sampan_storage::store::{
    CheckpointJob, CheckpointOutcome, InMemory, Reader, Recovered, Retired, Spent, Store,
    StoreError, StoredMessage,
};
use tokio::sync::Notify;

use super::dry_runs::DryRuns;
use super::outgoing::Transfers;
use crate::board::{HASH_POINT_COUNT, HashPoint};
use crate::catalog::DirectoryPublisher;
use crate::raft::payload::{LogPayload, decode_membership, encode_membership};
use crate::raft::types::{RaftLogId, StoredMembership, from_stored, to_stored};

/// See the module's documentation.
pub(crate) struct SetState {
    pub(crate) broker: Broker,
    pub(super) store: Option<Store>,
    reader: Reader,
    transfers: Transfers,
    applied: Option<RaftLogId>,
    membership: StoredMembership,
    checkpoint: Option<(RaftLogId, StoredMembership)>,
    checkpointing: Option<(RaftLogId, StoredMembership)>,
    /// Queues that gained ready messages since the driver last looked.
    gained: Vec<QueueId>,
    /// Queues that were removed since the driver last looked.
    removed: Vec<QueueId>,
    effects: Vec<Effect>,
    directory: Option<DirectoryPublisher>,
    driver: Rc<Notify>,
    /// Rung when there are messages for other queues.
    letters: Rc<Notify>,
    /// Rung when a redrive has begun.
    redrives: Rc<Notify>,
    pub(super) dry_runs: DryRuns,
    /// Length of the entries applied since the last checkpoint began.
    log_len: u64,
    log: Log<LogPayload>,
    is_firm: bool,
    set: SetId,
    /// The newest entries at which the state hash is compared between replicas.
    hash_points: VecDeque<HashPoint>,
}

/// Replicas compare their state hashes after every so many entries.
const HASH_INTERVAL: u64 = 256;

/// What an entry of Raft itself takes in the log, about. A set that nobody uses has nothing else,
/// and needs a checkpoint behind it all the same: it would keep the oldest file for ever.
const BLANK_LEN: u64 = 64;

/// Why a set's state could not be taken up from its store.
#[derive(Debug, thiserror::Error)]
pub enum OpenStateError {
    /// The rows do not make a state.
    #[error("state rows of the store do not fit together")]
    Rows(#[source] RestoreError),
    /// Leaders write what this release does not read.
    #[error(
        "the cluster writes format version {written}, this release reads up to \
         {FORMAT_VERSION_MAX}: start a release that reads {written}"
    )]
    NewerFormat {
        /// What the catalog says.
        written: u16,
    },
    /// The membership is not readable.
    #[error("membership in the store is damaged: {0}")]
    Membership(String),
}

impl SetState {
    /// Takes up the state of the store's last checkpoint.
    pub(crate) fn open(
        set: SetId,
        log: Log<LogPayload>,
        store: Store,
        recovered: Recovered,
        directory: Option<DirectoryPublisher>,
    ) -> Result<Self, OpenStateError> {
        let broker = restore(recovered.rows)?;
        let applied = recovered.applied.map(from_stored);
        let membership = decode_stored_membership(recovered.membership)?;
        let checkpoint = applied.map(|id| (id, membership.clone()));
        let mut state = SetState {
            broker,
            reader: store.reader(),
            store: Some(store),
            transfers: Transfers::default(),
            applied,
            membership,
            checkpoint,
            checkpointing: None,
            gained: Vec::new(),
            removed: Vec::new(),
            effects: Vec::new(),
            directory,
            driver: Rc::new(Notify::new()),
            letters: Rc::new(Notify::new()),
            redrives: Rc::new(Notify::new()),
            dry_runs: DryRuns::default(),
            log_len: 0,
            log,
            is_firm: false,
            set,
            hash_points: VecDeque::new(),
        };
        state.publish_catalog();
        Ok(state)
    }

    /// Rung whenever entries were applied.
    pub(crate) fn driver(&self) -> Rc<Notify> {
        self.driver.clone()
    }

    /// Rung whenever there may be messages for other queues.
    pub(crate) fn letters_wake(&self) -> Rc<Notify> {
        self.letters.clone()
    }

    /// Rung whenever there may be a redrive to go on with.
    pub(crate) fn redrives_wake(&self) -> Rc<Notify> {
        self.redrives.clone()
    }

    pub(crate) fn notify_driver(&self) {
        self.driver.notify_one();
    }

    pub(crate) fn applied(&self) -> Option<RaftLogId> {
        self.applied
    }

    /// The last entry of this node's log, synced or not; 0 for none.
    pub(crate) fn last_log_index(&self) -> u64 {
        let state = self.log.state(self.set);
        state.last.or(state.purged).map_or(0, |id| id.index)
    }

    /// The newest entries at which replicas compare their state hashes.
    pub(crate) fn hash_points(&self) -> &VecDeque<HashPoint> {
        &self.hash_points
    }

    pub(crate) fn membership(&self) -> &StoredMembership {
        &self.membership
    }

    /// The checkpoint that peers are sent: the newest, or one whose sending has begun.
    pub(crate) fn checkpoint(&self) -> Option<(RaftLogId, StoredMembership)> {
        self.transfers.oldest().or_else(|| self.checkpoint.clone())
    }

    /// Up to where the newest durable checkpoint goes.
    pub(crate) fn checkpoint_index(&self) -> Option<u64> {
        self.checkpoint.as_ref().map(|(id, _)| id.index)
    }

    /// The snapshots on their way to peers.
    pub(crate) fn transfers(&self) -> Transfers {
        self.transfers.clone()
    }

    /// Bytes of messages in memory.
    pub(crate) fn overlay_len(&self) -> u64 {
        self.store.as_ref().map_or(0, Store::overlay_len)
    }

    /// Up to where the log is not needed any more: by the checkpoint, and by peers that paused.
    pub(crate) fn purgeable_index(&self, log_kept_len: u64) -> Option<u64> {
        let (checkpoint, _) = self.checkpoint.as_ref()?;
        let membership = self.membership.membership();
        if membership.nodes().count() < 2 {
            return Some(checkpoint.index);
        }
        if !self.has_log_room() {
            self.transfers.give_up_all();
        }
        let floor = self.log.purge_floor(self.set, log_kept_len)?;
        let sent = self.transfers.oldest().map_or(u64::MAX, |(id, _)| id.index);
        Some(floor.min(checkpoint.index).min(sent))
    }

    /// Length of the log since the last checkpoint.
    pub(crate) fn log_len(&self) -> u64 {
        self.log_len
    }

    /// Whether a checkpoint that was begun is still to be made durable.
    pub(crate) fn owes_checkpoint(&self) -> bool {
        self.checkpointing.is_some()
    }

    /// Whether the log has files ahead for more than what makes room again.
    pub(crate) fn has_log_room(&self) -> bool {
        !matches!(self.log.check_room(), Err(LogError::Full))
    }

    /// Whether a majority has synced all that is applied: its last entry was not lazy.
    pub(crate) fn is_firm(&self) -> bool {
        self.is_firm
    }

    /// `done` runs when this node's own log has synced everything that is applied.
    pub(crate) fn sync_log(&self, done: Done) {
        self.log.sync(self.set, done);
    }

    /// Whether this node's own log has synced everything that is applied.
    pub(crate) fn is_applied_synced(&self) -> bool {
        self.applied
            .is_none_or(|id| self.log.synced(self.set) >= Some(id.index))
    }

    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    pub(crate) fn on_blank(&mut self, id: RaftLogId) {
        self.is_firm = true;
        self.applied = Some(id);
        self.log_len += BLANK_LEN;
    }

    pub(crate) fn on_membership(&mut self, id: RaftLogId, membership: StoredMembership) {
        self.is_firm = true;
        self.applied = Some(id);
        self.membership = membership;
        self.log_len += BLANK_LEN;
    }

    /// Applies one entry. When pages are needed, nothing has changed.
    pub(crate) fn apply(&mut self, id: RaftLogId, entry: &Entry) -> Result<Vec<Reply>, Need> {
        let mut replies = Vec::with_capacity(entry.commands.len());
        self.broker.apply(entry, &mut self.effects, &mut replies)?;
        let mut catalog_changed = false;
        let store = self
            .store
            .as_mut()
            .expect("nothing is applied while a snapshot takes the store's place");
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Stored {
                    queue,
                    first,
                    index,
                    count,
                    sent_at,
                    batch,
                } => {
                    store.insert(queue, first, index, count, sent_at, batch);
                }
                Effect::Removed {
                    queue,
                    first,
                    count,
                } => store.remove(queue, first, count),
                Effect::QueueRemoved { queue } => {
                    store.remove_queue(queue);
                    self.removed.push(queue);
                }
                Effect::Ready { queue } => self.gained.push(queue),
                Effect::Letters { .. } => self.letters.notify_one(),
                Effect::Redrive { .. } => self.redrives.notify_one(),
                Effect::CatalogChanged => catalog_changed = true,
            }
        }
        self.applied = Some(id);
        self.is_firm = entry.durability == Durability::Sync;
        if id.index.is_multiple_of(HASH_INTERVAL) {
            if self.hash_points.len() == HASH_POINT_COUNT {
                self.hash_points.pop_front();
            }
            self.hash_points.push_back(HashPoint {
                index: id.index,
                hash: self.broker.state_hash(),
            });
        }
        self.log_len += entry.encoded_len() as u64;
        if catalog_changed {
            self.publish_catalog();
        }
        Ok(replies)
    }

    /// Gives the core the pages it asked for.
    pub(crate) fn supply(&mut self, rows: Vec<(RowKey, Option<Bytes>)>) -> Result<(), SupplyError> {
        for (key, row) in rows {
            let row = row.ok_or(SupplyError::Missing(key))?;
            self.broker.supply(key, &row).map_err(SupplyError::Row)?;
        }
        Ok(())
    }

    /// Queues that gained ready messages since the last call.
    pub(crate) fn take_gained(&mut self) -> Vec<QueueId> {
        std::mem::take(&mut self.gained)
    }

    /// Queues that were removed since the last call.
    pub(crate) fn take_removed(&mut self) -> Vec<QueueId> {
        std::mem::take(&mut self.removed)
    }

    /// Messages of `ids` that are in memory, and the ids of those that are on disk or gone.
    pub(crate) fn find(
        &self,
        queue: QueueId,
        ids: &[MessageId],
    ) -> (Vec<(MessageId, StoredMessage)>, Vec<MessageId>) {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for id in ids {
            let mut message = None;
            if let Some(store) = &self.store {
                store.lookup(queue, *id, 1, |_, here| message = here.map(stored));
            }
            match message {
                Some(message) => found.push((*id, message)),
                None => missing.push(*id),
            }
        }
        (found, missing)
    }

    /// Begins a checkpoint of what is applied now, or the one again that found no room. `None`
    /// while one is running, or without entries.
    pub(crate) fn begin_checkpoint(&mut self) -> Result<Option<CheckpointJob>, StoreError> {
        let Some(store) = &mut self.store else {
            return Ok(None);
        };
        if let Some(job) = store.retry_checkpoint() {
            return Ok(Some(job));
        }
        let Some(applied) = self.applied else {
            return Ok(None);
        };
        if !store.can_begin_checkpoint() {
            return Ok(None);
        }
        let membership = encode_stored_membership(&self.membership);
        let rows = self.broker.freeze().into_rows();
        self.log_len = 0;
        self.checkpointing = Some((applied, self.membership.clone()));
        store
            .begin_checkpoint(to_stored(&applied), membership, rows)
            .map(Some)
    }

    /// Takes in how a checkpoint ended. What it returns is best dropped on another thread. `None`
    /// for a checkpoint whose store is gone: a snapshot took its place.
    pub(crate) fn finish_checkpoint(
        &mut self,
        outcome: CheckpointOutcome,
    ) -> Result<Option<Spent>, StoreError> {
        let (Some(store), Some(checkpoint)) = (&mut self.store, self.checkpointing.clone()) else {
            return Ok(None);
        };
        let spent = store.finish_checkpoint(outcome)?;
        self.broker.checkpointed();
        self.checkpoint = Some(checkpoint);
        self.checkpointing = None;
        Ok(Some(spent))
    }

    /// Gives the store up for a snapshot; nothing is applied until [`SetState::take_up`].
    pub(crate) fn retire(&mut self) -> Option<Retired> {
        self.checkpointing = None;
        self.transfers.give_up_all();
        self.store.take().map(Store::retire)
    }

    /// Takes up the state of a snapshot that was installed.
    pub(crate) fn take_up(
        &mut self,
        store: Store,
        recovered: Recovered,
    ) -> Result<(), OpenStateError> {
        self.broker = restore(recovered.rows)?;
        self.store = Some(store);
        self.applied = recovered.applied.map(from_stored);
        self.membership = decode_stored_membership(recovered.membership)?;
        self.checkpoint = self.applied.map(|id| (id, self.membership.clone()));
        self.log_len = 0;
        self.hash_points.clear();
        self.gained.clear();
        self.removed.clear();
        self.letters.notify_one();
        self.redrives.notify_one();
        self.publish_catalog();
        Ok(())
    }

    fn publish_catalog(&mut self) {
        if let Some(directory) = &mut self.directory {
            directory.publish(self.broker.catalog());
        }
    }
}

/// The state of a checkpoint, unless it is of a cluster that this release cannot take part in.
fn restore(rows: Vec<(RowKey, Bytes)>) -> Result<Broker, OpenStateError> {
    let broker = Broker::restore(rows).map_err(OpenStateError::Rows)?;
    let written = broker.catalog().format_version();
    if written > FORMAT_VERSION_MAX {
        return Err(OpenStateError::NewerFormat { written });
    }
    Ok(broker)
}

/// A message in memory, sharing its batch.
fn stored(message: InMemory<'_>) -> StoredMessage {
    let end = message.start + message.record.content_len();
    StoredMessage {
        sent_at: message.sent_at,
        record: message.record,
        content: message.batch.as_bytes().slice(message.start..end),
    }
}

/// Why pages that the core asked for could not be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SupplyError {
    #[error("row {0:?} is missing in the store")]
    Missing(RowKey),
    #[error("row of the store is damaged")]
    Row(#[source] RestoreError),
}

/// The membership in a store or snapshot, when it can be read.
pub(crate) fn membership_of(bytes: &[u8]) -> Option<StoredMembership> {
    decode_stored_membership(bytes.to_vec()).ok()
}

/// The log id that set the membership (term u64, index u64; 0 and 0 for none), then the membership.
pub(crate) fn encode_stored_membership(stored: &StoredMembership) -> Vec<u8> {
    let (term, index) = stored
        .log_id()
        .map_or((0, 0), |id| (id.committed_leader_id().term, id.index));
    let mut out = Vec::new();
    out.extend_from_slice(&term.to_le_bytes());
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&encode_membership(stored.membership()));
    out
}

fn decode_stored_membership(bytes: Vec<u8>) -> Result<StoredMembership, OpenStateError> {
    if bytes.is_empty() {
        return Ok(StoredMembership::default());
    }
    let (id, rest) = bytes
        .split_at_checked(16)
        .ok_or_else(|| OpenStateError::Membership("cut short".to_owned()))?;
    let number = |bytes: &[u8]| {
        u64::from_le_bytes(bytes.try_into().expect("a half of sixteen bytes is eight"))
    };
    let stored = sampan_storage::log::LogId {
        term: number(&id[..8]),
        node: 0,
        index: number(&id[8..]),
    };
    let membership =
        decode_membership(Bytes::copy_from_slice(rest)).map_err(OpenStateError::Membership)?;
    let id = (stored.term, stored.index) != (0, 0);
    Ok(StoredMembership::new(
        id.then(|| from_stored(stored)),
        membership,
    ))
}
