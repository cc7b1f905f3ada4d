//! Reads messages and state rows as of the last checkpoint, for threads that may block.
//!
//! A message that was removed after the last checkpoint is still found here: the core says which
//! messages there are, this says what is in them. Readers are kept for as long as the node runs, so
//! they look through a slot at the store that is open now: when a snapshot takes its place, the
//! slot turns to the new one, and a read that began before ends on the old files or begins again.
//!
//! A checkpoint may unlink a segment between look-up and read. Its extents have moved or died by
//! then, so the look-up is repeated once; a file that is missing twice in one store is damage.
//!
//! Spec: spec/storage.md, "Reading".

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use sampan_core::RowKey;
use sampan_protocol::{MessageId, MessageRecord, QueueId, Timestamp};

use super::disk_reader::{DiskReader, ReadFailure};
use super::error::StoreError;
use super::segment_header::segment_name;
use super::shared::Shared;
use super::snapshot_reader::SnapshotReader;

/// A state row that was asked for; `None` when there is none.
pub type ReadRow = (RowKey, Option<Bytes>);

/// A message that was read from disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// When it was sent.
    pub sent_at: Timestamp,
    /// Its lengths, checksum and delay.
    pub record: MessageRecord,
    /// Headers, keys and body as they came in the batch; shares the memory of what was read.
    pub content: Bytes,
}

impl StoredMessage {
    /// Whether lengths and checksum of the record fit the content.
    pub fn is_as_sent(&self) -> bool {
        let body_len = self.record.body_len as usize;
        self.content.len() == self.record.content_len()
            && self
                .content
                .len()
                .checked_sub(body_len)
                .is_some_and(|start| {
                    crc32c::crc32c(&self.content[start..]) == self.record.body_crc32c
                })
    }
}

/// Reads from the store of one set; clones share a cache.
#[derive(Clone, Debug)]
pub struct Reader {
    slot: Arc<RwLock<Arc<DiskReader>>>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Reader {
            slot: Arc::new(RwLock::new(Arc::new(DiskReader::new(shared)))),
        }
    }

    /// From now on this reader and its clones read from `shared`.
    pub(super) fn turn_to(&self, shared: Arc<Shared>) {
        let reader = Arc::new(DiskReader::new(shared));
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = reader;
    }

    fn disk(&self) -> Arc<DiskReader> {
        Arc::clone(&self.slot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The messages of `queue` with these ids, in the order of `ids`; `None` for each that is not
    /// on disk. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`StoreError::DamagedMessages`] when what is read is not what was written: it names the
    /// messages of the first such extent, and no part is returned.
    pub fn read(
        &self,
        queue: QueueId,
        ids: &[MessageId],
    ) -> Result<Vec<Option<StoredMessage>>, StoreError> {
        let mut asked: Option<Arc<DiskReader>> = None;
        loop {
            let disk = self.disk();
            match disk.read(queue, ids) {
                Ok(found) => return Ok(found),
                Err(ReadFailure::Failed(error)) => return Err(error),
                Err(ReadFailure::Gone(segment)) => {
                    if asked.is_some_and(|before| Arc::ptr_eq(&before, &disk)) {
                        return Err(StoreError::damaged(segment_name(segment), "it is missing"));
                    }
                    asked = Some(disk);
                }
            }
        }
    }

    /// The state rows under `keys`, as one checkpoint left them; `None` where there is none.
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when a row is not what was written.
    pub fn read_rows(&self, keys: &[RowKey]) -> Result<Vec<ReadRow>, StoreError> {
        self.disk().read_rows(keys)
    }

    /// Takes in messages that another replica sent in place of damaged ones. They are read from
    /// memory at once; the next checkpoint writes them, and lets the damaged extent go as soon as
    /// all of [`StoreError::DamagedMessages`] that still live are there.
    ///
    /// # Errors
    ///
    /// [`StoreError::WrongReplacement`] for one that does not fit its own record, and
    /// [`StoreError::TooLong`] when too much waits for a checkpoint; then none was taken.
    pub fn replace_damaged(
        &self,
        queue: QueueId,
        messages: Vec<(MessageId, StoredMessage)>,
    ) -> Result<(), StoreError> {
        self.disk().shared.repairs.put(queue, messages)
    }

    /// The last checkpoint, to be sent to another replica or kept as a backup; `None` before the
    /// first one. `incarnation` tells the data folder of this node from one that it had before.
    /// Blocks for a moment; reading it blocks on the disk.
    ///
    /// # Errors
    ///
    /// Damage, or a closed latch.
    pub fn snapshot(&self, incarnation: u128) -> Result<Option<SnapshotReader>, StoreError> {
        SnapshotReader::begin(self.disk().shared.clone(), incarnation)
    }

    /// Segment files that snapshots keep from being removed.
    pub fn pinned_count(&self) -> usize {
        self.disk().shared.segments.pinned_count()
    }
}
