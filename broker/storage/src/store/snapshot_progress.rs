//! How far a snapshot was received: a row in the index of the generation that receives it.
//!
//! It is written in the transaction that makes the chunks before it durable, so the two cannot
//! disagree. A file beside the index would be one or the other after a crash.
//!
//! Spec: spec/storage.md, "Snapshots".

use bytes::{Buf, BufMut};
use redb::{ReadTransaction, WriteTransaction};

use super::chunk::{ChunkPlace, SnapshotTotals};
use super::error::StoreError;
use super::index::{Indexed, META};
use super::meta::PROGRESS_KEY;
use super::options::INDEX_FILE;
use super::seal::{Table, seal, unseal};
use super::snapshot_id::SnapshotId;

const HEAD_LEN: usize = 4 + 8 + 4 + 4;

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Where the next chunk belongs.
    pub(super) next: ChunkPlace,
    /// What came so far.
    pub(super) totals: SnapshotTotals,
    /// The last chunk came, and fits.
    pub(super) is_complete: bool,
}

impl Progress {
    /// Nothing came yet.
    pub(super) fn start(id: &SnapshotId) -> Self {
        Progress {
            next: ChunkPlace::first(id),
            totals: SnapshotTotals::default(),
            is_complete: false,
        }
    }

    /// Writes the row.
    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        let mut out = Vec::with_capacity(HEAD_LEN + 32);
        out.put_u32_le(self.next.id_checksum);
        out.put_u64_le(self.next.number);
        out.put_u32_le(self.next.running);
        out.put_u32_le(u32::from(self.is_complete));
        self.totals.encode(&mut out);
        let value = seal(Table::Meta, &[PROGRESS_KEY], &out);
        let mut table = transaction.open_table(META).indexed()?;
        table.insert(PROGRESS_KEY, value.as_slice()).indexed()?;
        Ok(())
    }

    /// Reads the row; `None` when it is missing, or of another snapshot than `id`.
    pub(super) fn read(
        transaction: &ReadTransaction,
        id: &SnapshotId,
    ) -> Result<Option<Self>, StoreError> {
        let table = transaction.open_table(META).indexed()?;
        let Some(value) = table.get(PROGRESS_KEY).indexed()? else {
            return Ok(None);
        };
        let mut content = unseal(Table::Meta, &[PROGRESS_KEY], value.value())?;
        let wrong = || StoreError::damaged(INDEX_FILE, "the row of progress contradicts itself");
        if content.len() < HEAD_LEN {
            return Err(wrong());
        }
        let start = ChunkPlace::first(id);
        if content.get_u32_le() != start.id_checksum {
            return Ok(None);
        }
        let next = ChunkPlace {
            number: content.get_u64_le(),
            running: content.get_u32_le(),
            ..start
        };
        let is_complete = content.get_u32_le() != 0;
        let totals = SnapshotTotals::decode(content).ok_or_else(wrong)?;
        Ok(Some(Progress {
            next,
            totals,
            is_complete,
        }))
    }
}
