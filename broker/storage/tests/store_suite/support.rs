//! A store beside a naive model of it: plain maps of what should be there.
//!
//! The harness keeps what was done since the last checkpoint and does it again after a restart, as
//! the log would. It checks every id that was ever given, alive or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use sampan_core::RowKey;
use sampan_protocol::{
    BatchBuilder, MessageBatch, MessageId, NewMessage, QueueId, SetId, Timestamp,
};
use sampan_storage::io::Folder;
use sampan_storage::log::LogId;
use sampan_storage::store::{
    CURRENT_FILE, CheckpointJob, Incoming, Recovered, SnapshotId, SnapshotWriter, Store,
    StoreError, StoreIdentity, StoreOptions, generation_name,
};

pub(crate) const IDENTITY: StoreIdentity = StoreIdentity {
    node: 1,
    cluster: 77,
    set: SetId(3),
};

/// Small segments, so that a few kilobytes seal one, and a cache too small to hide reads.
pub(crate) const OPTIONS: StoreOptions = StoreOptions {
    segment_len_max: 8 * 1024,
    index_cache_len: 1 << 20,
    extent_cache_len: 4 * 1024,
    chunk_len: 4 * 1024,
    snapshot_sync_len: 24 * 1024,
};

/// A row of the core: its key, and its content or `None` when it is gone.
pub(crate) type Row = (RowKey, Option<Vec<u8>>);

/// What a message should be: time and content.
type Message = (Timestamp, Bytes);

/// What a store should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) messages: BTreeMap<(QueueId, u64), Message>,
    pub(crate) rows: BTreeMap<RowKey, Vec<u8>>,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: Vec<u8>,
}

/// One thing that the core asks of the store.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Insert {
        queue: QueueId,
        first: MessageId,
        index: u16,
        count: u32,
        batch: MessageBatch,
    },
    Remove {
        queue: QueueId,
        first: MessageId,
        count: u64,
    },
    RemoveQueue {
        queue: QueueId,
    },
}

pub(crate) const SENT_AT: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) fn log_id(index: u64) -> LogId {
    LogId {
        term: 2,
        node: 1,
        index,
    }
}

/// A row that belongs to a queue.
pub(crate) fn row_key(queue: QueueId, number: u64) -> RowKey {
    RowKey {
        queue,
        kind: RowKey::MARK,
        number,
    }
}

/// Bodies that name their queue and id, of a length that depends on both.
pub(crate) fn batch(queue: QueueId, first: MessageId, count: u32, len: usize) -> MessageBatch {
    let mut builder = BatchBuilder::new();
    for id in first.0..first.0 + u64::from(count) {
        let mut body = format!("queue {queue} id {id} ").into_bytes();
        let len = body.len() + (len + usize::try_from(id % 7).unwrap()) % 3_000;
        body.resize(len, u8::try_from(id % 251).unwrap());
        let headers = if id % 3 == 0 {
            Bytes::from_static(b"\x01a\x01\x00b")
        } else {
            Bytes::new()
        };
        let dedup_key = match id % 5 {
            0 => Bytes::from(format!("key of {id}")),
            _ => Bytes::new(),
        };
        let group_key = match id % 4 {
            0 => Bytes::from(format!("group {}", id % 8)),
            _ => Bytes::new(),
        };
        builder
            .push(NewMessage {
                body: Bytes::from(body),
                headers,
                delay_ms: None,
                group_key,
                dedup_key,
            })
            .unwrap();
    }
    builder.finish()
}

/// A store, its model, and the model as of every checkpoint.
pub(crate) struct Harness {
    pub(crate) store: Store,
    pub(crate) model: Model,
    /// By index of the applied entry; 0 for the new store.
    pub(crate) checkpoints: BTreeMap<u64, Model>,
    /// What was done since the last checkpoint began, in order.
    since: Vec<Change>,
    /// What was done before it, back to the checkpoint that is durable.
    before: Vec<Change>,
    pending: Option<u64>,
    pub(crate) given: BTreeSet<(QueueId, u64)>,
    next_ids: BTreeMap<(QueueId, bool), u64>,
    pub(crate) next_index: u64,
}

impl Harness {
    pub(crate) fn open(folder: Arc<dyn Folder>) -> Result<Self, StoreError> {
        let (store, recovered) = Store::open(folder, IDENTITY, OPTIONS)?;
        let mut checkpoints = BTreeMap::new();
        checkpoints.insert(0, Model::default());
        assert_eq!(recovered.applied, None);
        Ok(Harness {
            store,
            model: Model::default(),
            checkpoints,
            since: Vec::new(),
            before: Vec::new(),
            pending: None,
            given: BTreeSet::new(),
            next_ids: BTreeMap::new(),
            next_index: 1,
        })
    }

    /// Stores `count` new messages.
    pub(crate) fn insert(&mut self, queue: QueueId, count: u32, len: usize, is_delayed: bool) {
        let base = if is_delayed {
            MessageId::DELAYED_BIT
        } else {
            0
        };
        let next = self.next_ids.entry((queue, is_delayed)).or_insert(base + 1);
        let first = MessageId(*next);
        *next += u64::from(count);
        let batch = batch(queue, first, count, len);
        self.change(Change::Insert {
            queue,
            first,
            index: 0,
            count,
            batch,
        });
    }

    pub(crate) fn remove(&mut self, queue: QueueId, first: u64, count: u64) {
        self.change(Change::Remove {
            queue,
            first: MessageId(first),
            count,
        });
    }

    pub(crate) fn remove_queue(&mut self, queue: QueueId) {
        self.change(Change::RemoveQueue { queue });
    }

    /// Removes what is alive and passes the filter, one by one.
    pub(crate) fn remove_living(&mut self, queue: QueueId, filter: impl Fn(u64) -> bool) {
        let living = self
            .model
            .messages
            .keys()
            .filter(|(own, id)| *own == queue && filter(*id));
        let living: Vec<u64> = living.map(|(_, id)| *id).collect();
        living.into_iter().for_each(|id| self.remove(queue, id, 1));
    }

    fn change(&mut self, change: Change) {
        self.carry_out(&change);
        self.since.push(change);
    }

    fn carry_out(&mut self, change: &Change) {
        match change {
            Change::Insert {
                queue,
                first,
                index,
                count,
                batch,
            } => {
                self.store
                    .insert(*queue, *first, *index, *count, SENT_AT, batch.clone());
                let messages = batch.messages(usize::from(*index)).take(*count as usize);
                for (id, (record, start)) in (first.0..).zip(messages) {
                    let content = batch.as_bytes().slice(start..start + record.content_len());
                    self.model.messages.insert((*queue, id), (SENT_AT, content));
                    self.given.insert((*queue, id));
                }
            }
            Change::Remove {
                queue,
                first,
                count,
            } => {
                self.store.remove(*queue, *first, *count);
                let ids = first.0..first.0 + count;
                self.model
                    .messages
                    .retain(|(own, id), _| own != queue || !ids.contains(id));
            }
            Change::RemoveQueue { queue } => {
                self.store.remove_queue(*queue);
                self.model.messages.retain(|(own, _), _| own != queue);
                self.model.rows.retain(|key, _| key.queue != *queue);
            }
        }
    }

    /// Freezes; the job may be run now or later.
    pub(crate) fn begin(&mut self, rows: Vec<Row>) -> Result<CheckpointJob, StoreError> {
        let index = self.next_index;
        let membership = format!("members at {index}").into_bytes();
        let job = self.store.begin_checkpoint(
            log_id(index),
            membership.clone(),
            rows.clone().into_iter(),
        )?;
        self.next_index += 1;
        for (key, row) in rows {
            match row {
                Some(row) => self.model.rows.insert(key, row),
                None => self.model.rows.remove(&key),
            };
        }
        self.model.applied = Some(log_id(index));
        self.model.membership = membership;
        self.checkpoints.insert(index, self.model.clone());
        self.pending = Some(index);
        self.before.append(&mut self.since);
        Ok(job)
    }

    /// Runs the job and takes note of the result.
    pub(crate) fn run(&mut self, job: CheckpointJob) -> Result<(), StoreError> {
        let outcome = job.run();
        let spent = self.store.finish_checkpoint(outcome)?;
        drop(spent);
        self.before.clear();
        self.pending = None;
        Ok(())
    }

    pub(crate) fn checkpoint(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        let job = self.begin(rows)?;
        self.run(job)
    }

    /// Opens the folder again and does what followed the checkpoint that is found there.
    pub(crate) fn reopen(&mut self, folder: Arc<dyn Folder>) -> Result<Recovered, StoreError> {
        let (store, recovered) = Store::open(folder, IDENTITY, OPTIONS)?;
        self.store = store;
        let index = recovered.applied.map_or(0, |applied| applied.index);
        let known = self
            .checkpoints
            .get(&index)
            .expect("a checkpoint that was begun");
        let is_pending = self.pending == Some(index);
        self.model = known.clone();
        self.assert_recovered(&recovered);
        self.assert_disk_holds_exactly();
        let mut again = std::mem::take(&mut self.before);
        if is_pending {
            again.clear();
        }
        again.append(&mut self.since);
        self.pending = None;
        again.iter().for_each(|change| self.carry_out(change));
        self.since = again;
        Ok(recovered)
    }

    /// The same for a store that was filled by a snapshot of the one that `sender` tests: it is
    /// compared with the checkpoint that was sent, and takes over from there.
    pub(crate) fn adopt(store: Store, recovered: &Recovered, sender: &Harness) -> Self {
        let index = recovered.applied.expect("a snapshot has an entry").index;
        let harness = Harness {
            store,
            model: sender.checkpoints[&index].clone(),
            checkpoints: sender.checkpoints.clone(),
            since: Vec::new(),
            before: Vec::new(),
            pending: None,
            given: sender.given.clone(),
            next_ids: sender.next_ids.clone(),
            next_index: sender.next_index,
        };
        assert_eq!(recovered.snapshot_applied, recovered.applied);
        harness.assert_recovered(recovered);
        harness.assert_disk_holds_exactly();
        harness
    }

    /// State rows, membership and log id are those of the model.
    pub(crate) fn assert_recovered(&self, recovered: &Recovered) {
        assert_eq!(recovered.applied, self.model.applied);
        assert_eq!(recovered.membership, self.model.membership);
        assert_eq!(recovered.quarantined, Vec::<String>::new());
        let rows: BTreeMap<_, _> = recovered
            .rows
            .iter()
            .map(|(key, row)| (*key, row.to_vec()))
            .collect();
        assert_eq!(rows, self.model.rows);
    }

    /// Every message that ever was is on disk if and only if the model has it. Only right after
    /// a start or a checkpoint.
    pub(crate) fn assert_disk_holds_exactly(&self) {
        for (queue, ids) in self.given_by_queue() {
            for ids in ids.chunks(13) {
                let found = self.store.reader().read(queue, ids).unwrap();
                for (id, found) in ids.iter().zip(found) {
                    let found = found.map(|message| (message.sent_at, message.content));
                    let expected = self.model.messages.get(&(queue, id.0));
                    assert_eq!(found.as_ref(), expected, "queue {queue} id {id}");
                }
            }
        }
    }

    /// Every message that ever was is found in memory or on disk if the model has it, and is not
    /// found in memory otherwise.
    pub(crate) fn assert_holds(&self) {
        for (queue, ids) in self.given_by_queue() {
            for id in ids {
                let mut found = None;
                self.store.lookup(queue, id, 1, |_, message| {
                    found = message.map(|own| (own.sent_at, Bytes::copy_from_slice(own.content())));
                });
                let expected = self.model.messages.get(&(queue, id.0));
                if found.is_none() && expected.is_some() {
                    let read = self.store.reader().read(queue, &[id]).unwrap().remove(0);
                    found = read.map(|message| (message.sent_at, message.content));
                }
                assert_eq!(found.as_ref(), expected, "queue {queue} id {id}");
            }
        }
    }

    fn given_by_queue(&self) -> BTreeMap<QueueId, Vec<MessageId>> {
        let mut queues: BTreeMap<QueueId, Vec<MessageId>> = BTreeMap::new();
        for (queue, id) in &self.given {
            queues.entry(*queue).or_default().push(MessageId(*id));
        }
        queues
    }
}

/// All bytes of a file.
pub(crate) fn content(folder: &dyn Folder, name: &str) -> Vec<u8> {
    let file = folder.open(name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The folder of the generation that counts.
pub(crate) fn live(set_folder: &dyn Folder) -> Arc<dyn Folder> {
    let line = String::from_utf8(content(set_folder, CURRENT_FILE)).unwrap();
    let number = line.split(' ').nth(1).unwrap().parse().unwrap();
    set_folder.folder(&generation_name(number)).unwrap()
}

/// The segment files of the generation that counts.
pub(crate) fn segment_names(set_folder: &dyn Folder) -> Vec<String> {
    live(set_folder)
        .list()
        .unwrap()
        .into_iter()
        .filter(|name| name.ends_with(".seg"))
        .collect()
}

/// The incarnation of the sending node.
pub(crate) const INCARNATION: u128 = 0xABCD;

/// The last checkpoint as chunks.
pub(crate) fn chunks(store: &Store) -> (SnapshotId, Vec<Bytes>) {
    let mut reader = store.snapshot(INCARNATION).unwrap().unwrap();
    let id = reader.id().clone();
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        chunks.push(chunk);
    }
    (id, chunks)
}

/// Receives all of a snapshot that is not there yet, in the folder of a set with a store in it.
pub(crate) fn receive(
    set_folder: Arc<dyn Folder>,
    id: &SnapshotId,
    chunks: &[Bytes],
) -> Result<Incoming, StoreError> {
    let (mut writer, next) = SnapshotWriter::resume(set_folder, IDENTITY, OPTIONS, id)?;
    for chunk in &chunks[usize::try_from(next).unwrap()..] {
        writer.write_chunk(chunk.clone())?;
    }
    writer.finish()
}
