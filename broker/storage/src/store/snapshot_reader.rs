//! Reads a checkpoint out as chunks, while later checkpoints go on.
//!
//! A read transaction holds the index as it was, and pins hold the segment files that it names, so
//! nothing has to be copied before the first chunk goes out. What is sent is what is in the store,
//! not its files: living messages and rows, in the order of their keys. The receiver's files carry
//! its own name and numbers, and what is dead here takes no room there.
//!
//! Each extent is checked when it is read; one that is damaged ends the snapshot with an error that
//! names it, and is never sent.
//!
//! Invariants: the same snapshot gives the same chunks, however often and from wherever it is read.
//! What is pinned is let go with the reader.
//! Spec: spec/storage.md, "Snapshots".

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::ReadTransaction;
use sampan_core::RowKey;
use sampan_protocol::QueueId;

use super::apply_removals::is_row_of_queue;
use super::chunk::{ChunkBuilder, ChunkPlace, SnapshotTotals};
use super::disk_reader::{ReadFailure, check_extent, messages_lost, read_place};
use super::error::StoreError;
use super::extent_entry::{EXTENT_KEY_LEN, ExtentEntry};
use super::index::{EXTENTS, Indexed, ROWS, guarded};
use super::inspect::{read_meta, read_removals, read_segments};
use super::options::{CHUNK_LEN, SNAPSHOT_MARK_SPACING};
use super::seal::{Table, unseal};
use super::segment_header::segment_name;
use super::shared::Shared;
use super::snapshot_id::SnapshotId;

/// Segment files that stay while this lives.
#[derive(Debug)]
struct Pins {
    shared: Arc<Shared>,
    numbers: Vec<u32>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.shared.segments.unpin(&self.numbers);
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    /// Rows behind this key.
    Rows(Bound<[u8; RowKey::LEN]>),
    /// Extents behind this key.
    Extents(Bound<[u8; EXTENT_KEY_LEN]>),
    /// Nothing.
    End,
}

/// Where the next chunk begins.
#[derive(Clone, Copy, Debug)]
struct Position {
    place: ChunkPlace,
    cursor: Cursor,
    totals: SnapshotTotals,
}

/// A checkpoint that is being read out. Blocks on the disk; for a thread of its own.
pub struct SnapshotReader {
    id: SnapshotId,
    transaction: ReadTransaction,
    /// Removed queues of which rows are left; they are not sent.
    removed: BTreeSet<QueueId>,
    pins: Pins,
    chunk_len: usize,
    position: Position,
    /// Every so many positions, from the start.
    marks: Vec<Position>,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader")
            .field("id", &self.id)
            .field("next", &self.position.place.number)
            .finish_non_exhaustive()
    }
}

impl SnapshotReader {
    /// Begins with the last checkpoint.
    pub(super) fn begin(
        shared: Arc<Shared>,
        incarnation: u128,
    ) -> Result<Option<Self>, StoreError> {
        shared.check_latch()?;
        // No segment is let go between the look at the index and the pins.
        let (found, numbers) = shared.segments.pin(|| {
            let transaction = shared.index.begin_read()?;
            let (meta, accounts) = guarded(|| {
                let meta = read_meta(&transaction)?;
                let accounts = read_segments(&transaction, &meta)?;
                Ok((meta, accounts))
            })?;
            let living = accounts.iter().filter(|(_, account)| !account.is_dead());
            let numbers = living.clone().map(|(number, _)| *number).collect();
            let live_len = living.map(|(_, account)| account.live_len).sum();
            Ok(((transaction, meta, live_len), numbers))
        })?;
        let pins = Pins { shared, numbers };
        let (transaction, meta, live_len) = found;
        let Some(applied) = meta.applied else {
            return Ok(None);
        };
        let removed = guarded(|| read_removals(&transaction, &meta))?;
        let chunk_len = pins.shared.options.chunk_len.min(CHUNK_LEN);
        let id = SnapshotId::new(&meta, applied, incarnation, (live_len, chunk_len));
        let position = Position {
            place: ChunkPlace::first(&id),
            cursor: Cursor::Rows(Bound::Unbounded),
            totals: SnapshotTotals::default(),
        };
        Ok(Some(SnapshotReader {
            id,
            transaction,
            removed,
            pins,
            chunk_len,
            position,
            marks: Vec::new(),
        }))
    }

    /// Which snapshot it is.
    pub fn id(&self) -> &SnapshotId {
        &self.id
    }

    /// Number of the chunk that comes next.
    pub fn next_number(&self) -> u64 {
        self.position.place.number
    }

    /// The next chunk; `None` behind the last one.
    ///
    /// # Errors
    ///
    /// Damage, named by file and place; a store that was latched, opened anew, or replaced by a
    /// snapshot itself. The snapshot is then over.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        self.pins.shared.check_writable()?;
        if matches!(self.position.cursor, Cursor::End) {
            return Ok(None);
        }
        let number = self.position.place.number;
        if number == self.marks.len() as u64 * SNAPSHOT_MARK_SPACING {
            self.marks.push(self.position);
        }
        let mut chunk = ChunkBuilder::new();
        let mut position = self.position;
        guarded(|| self.fill(&mut chunk, &mut position))?;
        let is_last = matches!(position.cursor, Cursor::End);
        if is_last {
            chunk.push_totals(&position.totals);
        }
        let (bytes, crc) = chunk.finish(&position.place, is_last);
        position.place = position.place.after(crc);
        self.position = position;
        Ok(Some(bytes))
    }

    /// Goes to chunk `number`, for a receiver that has those before it. Reads what it has not read
    /// yet, so going far ahead takes time.
    ///
    /// # Errors
    ///
    /// Those of [`SnapshotReader::next_chunk`]; [`StoreError::SnapshotIncomplete`] when the
    /// snapshot has not so many chunks.
    pub fn seek(&mut self, number: u64) -> Result<(), StoreError> {
        let mark = usize::try_from(number / SNAPSHOT_MARK_SPACING).unwrap_or(usize::MAX);
        let is_back = number < self.position.place.number;
        if let Some(nearest) = self.marks.get(mark).or(self.marks.last())
            && (is_back || nearest.place.number > self.position.place.number)
        {
            self.position = *nearest;
        }
        while self.position.place.number < number {
            if self.next_chunk()?.is_none() {
                return Err(StoreError::SnapshotIncomplete { next: number });
            }
        }
        Ok(())
    }

    /// Puts into `chunk` what it has room for.
    fn fill(&self, chunk: &mut ChunkBuilder, position: &mut Position) -> Result<(), StoreError> {
        loop {
            let is_full = match position.cursor {
                Cursor::Rows(after) => self.fill_rows(after, chunk, position)?,
                Cursor::Extents(after) => self.fill_extents(after, chunk, position)?,
                Cursor::End => true,
            };
            if is_full {
                return Ok(());
            }
        }
    }

    /// Adds rows; false when there are no more.
    fn fill_rows(
        &self,
        after: Bound<[u8; RowKey::LEN]>,
        chunk: &mut ChunkBuilder,
        position: &mut Position,
    ) -> Result<bool, StoreError> {
        let table = self.transaction.open_table(ROWS).indexed()?;
        let from = after.as_ref();
        for row in table
            .range::<&[u8; RowKey::LEN]>((from, Bound::Unbounded))
            .indexed()?
        {
            if chunk.len() >= self.chunk_len {
                return Ok(true);
            }
            let (key, value) = row.indexed()?;
            position.cursor = Cursor::Rows(Bound::Excluded(*key.value()));
            let content = unseal(Table::Rows, key.value(), value.value())?;
            let row_key = RowKey::decode(*key.value());
            if !(is_row_of_queue(row_key) && self.removed.contains(&row_key.queue)) {
                let len = chunk.push_row(key.value(), content);
                position.totals.add_row(len);
            }
        }
        position.cursor = Cursor::Extents(Bound::Unbounded);
        Ok(false)
    }

    /// Adds extents; false when there are no more.
    fn fill_extents(
        &self,
        after: Bound<[u8; EXTENT_KEY_LEN]>,
        chunk: &mut ChunkBuilder,
        position: &mut Position,
    ) -> Result<bool, StoreError> {
        let table = self.transaction.open_table(EXTENTS).indexed()?;
        let from = after.as_ref();
        for row in table
            .range::<&[u8; EXTENT_KEY_LEN]>((from, Bound::Unbounded))
            .indexed()?
        {
            if chunk.len() >= self.chunk_len {
                return Ok(true);
            }
            let (key, value) = row.indexed()?;
            position.cursor = Cursor::Extents(Bound::Excluded(*key.value()));
            let entry = ExtentEntry::decode(key.value(), value.value())?;
            if !self.removed.contains(&entry.queue) {
                self.push_extent(&entry, chunk, &mut position.totals)?;
            }
        }
        position.cursor = Cursor::End;
        Ok(false)
    }

    /// Reads one extent and adds what lives in it.
    fn push_extent(
        &self,
        entry: &ExtentEntry,
        chunk: &mut ChunkBuilder,
        totals: &mut SnapshotTotals,
    ) -> Result<(), StoreError> {
        let place = entry.place;
        let name = segment_name(place.segment);
        let lost = |error: StoreError| messages_lost(entry, Some(error));
        let read = read_place(&self.pins.shared.segments, place, place.len as usize);
        let bytes = read.map_err(|failure| match failure {
            ReadFailure::Gone(_) => {
                let what = "its file is missing";
                lost(StoreError::damaged_at(name.as_str(), place.offset, what))
            }
            ReadFailure::Failed(error) => lost(error),
        })?;
        let extent = check_extent(entry, bytes).map_err(lost)?;
        let outgoing: Vec<_> = extent
            .messages()
            .filter(|message| entry.is_alive(message.id))
            .map(|message| extent.outgoing(&message))
            .collect();
        if outgoing.len() != usize::from(entry.alive_count) {
            let what = "an extent lacks messages that the index names";
            return Err(StoreError::damaged_at(name, place.offset, what));
        }
        let len = chunk.push_extent(entry.queue, &outgoing);
        totals.add_extent(outgoing.len(), len);
        Ok(())
    }
}
