//! Puts a snapshot together in a generation of its own, from the chunks that another node sends.
//!
//! Chunks are checked as they come and collected; whenever enough came in, they are made durable
//! in one step, like a checkpoint: bodies first, then one transaction with index, rows and the
//! number of the next chunk. So a broken connection costs nothing, and a restart costs what came
//! since the last step.
//!
//! Invariants: `durable` is what the index says; `received` is that and what is collected. Nothing
//! names the generation before it is complete.
//! Spec: spec/storage.md, "Snapshots".

use std::sync::Arc;

use bytes::Bytes;
use redb::WriteTransaction;
use sampan_core::RowKey;

use super::checkpoint::{put_row, write_accounts};
use super::chunk::{Chunk, Item};
use super::error::StoreError;
use super::extent_index::{Books, ExtentIndex};
use super::generations::{Generations, list};
use super::incoming::Incoming;
use super::index::{Index, Indexed, ROWS, write_meta};
use super::meta::Meta;
use super::open::examine_generation;
use super::options::{INDEX_FILE, StoreIdentity, StoreOptions};
use super::seal::Tally;
use super::segment_account::SegmentAccounts;
use super::segment_extent::Extent;
use super::segment_writer::SegmentWriter;
use super::segments::Segments;
use super::snapshot_id::{SnapshotId, read_incoming, write_incoming};
use super::snapshot_place::{Place, newer, remove_unlocked};
use super::snapshot_progress::Progress;
use super::survivors::ExtentSink;
use crate::io::Folder;

/// Receives one snapshot. Blocks on the disk; for a thread of its own.
#[derive(Debug)]
pub struct SnapshotWriter {
    place: Place,
    id: SnapshotId,
    index: Index,
    segments: Segments,
    meta: Meta,
    accounts: SegmentAccounts,
    durable: Progress,
    received: Progress,
    rows: Vec<(RowKey, Bytes)>,
    extents: Vec<Extent>,
    collected_len: usize,
    /// A step failed: what the disk holds is known only when it is opened again.
    is_broken: bool,
}

impl SnapshotWriter {
    /// Begins to receive `id` beside the store in `set_folder`, which may be open. What was
    /// received of any snapshot before is removed.
    ///
    /// # Errors
    ///
    /// No store in the folder, another writer at work there, or what the disk says.
    pub fn begin(
        set_folder: Arc<dyn Folder>,
        identity: StoreIdentity,
        options: StoreOptions,
        id: &SnapshotId,
    ) -> Result<Self, StoreError> {
        let generations = Generations::new(set_folder)?;
        generations.settle()?;
        for number in newer(&generations)? {
            remove_unlocked(&generations, number)?;
        }
        let number = generations.next_number()?;
        let place = Place::take(generations, number, identity, options)?;
        write_incoming(&*place.folder, id)?;
        Index::create(&*place.folder, &Meta::new(identity))?;
        let progress = Progress::start(id);
        SnapshotWriter::open(place, id, Some(progress))?
            .ok_or_else(|| StoreError::damaged(INDEX_FILE, "it is gone right after it was made"))
    }

    /// Goes on with the snapshot `id` if a part of it is there and whole, and begins anew
    /// otherwise. Returns the number of the chunk that is wanted next.
    ///
    /// # Errors
    ///
    /// See [`SnapshotWriter::begin`].
    pub fn resume(
        set_folder: Arc<dyn Folder>,
        identity: StoreIdentity,
        options: StoreOptions,
        id: &SnapshotId,
    ) -> Result<(Self, u64), StoreError> {
        let generations = Generations::new(set_folder.clone())?;
        generations.settle()?;
        for number in newer(&generations)? {
            let folder = generations.make(number)?;
            if read_incoming(&*folder)?.as_ref() != Some(id) {
                continue;
            }
            let place = Place::take(generations.clone(), number, identity, options)?;
            match SnapshotWriter::open(place, id, None) {
                Ok(Some(writer)) => {
                    let next = writer.next_number();
                    return Ok((writer, next));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a part of a snapshot is of no use: it begins anew");
                }
            }
        }
        Ok((SnapshotWriter::begin(set_folder, identity, options, id)?, 0))
    }

    /// Removes what was received of any snapshot.
    ///
    /// # Errors
    ///
    /// A writer that is at work there, or what the disk says.
    pub fn discard(set_folder: Arc<dyn Folder>) -> Result<(), StoreError> {
        let generations = Generations::new(set_folder)?;
        generations.settle()?;
        let numbers = newer(&generations)?.into_iter();
        numbers
            .into_iter()
            .try_for_each(|number| remove_unlocked(&generations, number))
    }

    /// The snapshot of which a part, or all, lies beside the store.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn unfinished(set_folder: Arc<dyn Folder>) -> Result<Option<SnapshotId>, StoreError> {
        let generations = Generations::new(set_folder)?;
        for number in newer(&generations)? {
            if let Some(id) = read_incoming(&*generations.make(number)?)? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Opens what `place` holds, from its start or from where its index says. `None` when that is
    /// not a part of `id`.
    fn open(
        place: Place,
        id: &SnapshotId,
        start: Option<Progress>,
    ) -> Result<Option<Self>, StoreError> {
        if !list(&*place.folder)?.iter().any(|name| name == INDEX_FILE) {
            return Ok(None);
        }
        let inspection = examine_generation(&place.folder, place.identity, place.options)?;
        let segments = Segments::new(place.folder.clone(), place.identity);
        let index = Index::open(place.folder.clone(), place.options.index_cache_len)?;
        let progress = match start {
            Some(start) => Some(start),
            None => index.read(|transaction| Progress::read(transaction, id))?,
        };
        let Some(progress) = progress else {
            return Ok(None);
        };
        let mut leftovers = segments.numbers()?;
        leftovers.retain(|number| *number >= inspection.meta.segment_next);
        segments.unlink(&leftovers)?;
        let next = inspection.meta.segment_next;
        Ok(Some(SnapshotWriter {
            place,
            id: id.clone(),
            index,
            segments,
            accounts: SegmentAccounts::restore(inspection.segments, next),
            meta: inspection.meta,
            durable: progress,
            received: progress,
            rows: Vec::new(),
            extents: Vec::new(),
            collected_len: 0,
            is_broken: false,
        }))
    }

    /// Which snapshot it receives.
    pub fn id(&self) -> &SnapshotId {
        &self.id
    }

    /// Number of the chunk that is wanted next.
    pub fn next_number(&self) -> u64 {
        self.received.next.number
    }

    /// Chunks before this one survive a power cut.
    pub fn durable_number(&self) -> u64 {
        self.durable.next.number
    }

    /// Whether the last chunk came.
    pub fn is_complete(&self) -> bool {
        self.received.is_complete
    }

    /// Takes in the next chunk; returns the number of the one after it.
    ///
    /// # Errors
    ///
    /// [`StoreError::ChunkOutOfOrder`] and [`StoreError::WrongChunk`] take nothing in and leave
    /// the writer as it was. After any other error it is of no use: resume.
    pub fn write_chunk(&mut self, bytes: Bytes) -> Result<u64, StoreError> {
        if self.is_broken {
            return Err(StoreError::Latched);
        }
        let expected = self.received.next;
        let wrong = |what| StoreError::WrongChunk {
            number: expected.number,
            what,
        };
        let chunk = Chunk::decode(&bytes).map_err(wrong)?;
        let same = (
            chunk.place.set,
            chunk.place.applied,
            chunk.place.id_checksum,
        ) == (expected.set, expected.applied, expected.id_checksum);
        if !same {
            return Err(wrong("it belongs to another snapshot"));
        }
        if chunk.place.number != expected.number || self.received.is_complete {
            return Err(StoreError::ChunkOutOfOrder {
                expected: expected.number,
                found: chunk.place.number,
            });
        }
        if chunk.place.running != expected.running {
            return Err(wrong("the chunks before it were others"));
        }
        let items = chunk.items().map_err(wrong)?;
        self.collect(&chunk, items).map_err(wrong)?;
        self.collected_len += bytes.len();
        if self.collected_len >= self.place.options.snapshot_sync_len || self.received.is_complete {
            self.sync()?;
        }
        Ok(self.received.next.number)
    }

    /// Takes the items of a chunk over, or nothing.
    fn collect(&mut self, chunk: &Chunk, items: Vec<Item>) -> Result<(), &'static str> {
        let mut totals = self.received.totals;
        for item in &items {
            match item {
                Item::Row(_, content) => totals.add_row(RowKey::LEN + content.len()),
                Item::Extent(extent) => totals.add_extent(extent.messages().count(), extent.len()),
                Item::Totals(told) if *told != totals => return Err("other totals than came"),
                Item::Totals(_) => {}
            }
        }
        for item in items {
            match item {
                Item::Row(key, content) => self.rows.push((key, content)),
                Item::Extent(extent) => self.extents.push(extent),
                Item::Totals(_) => {}
            }
        }
        self.received = Progress {
            next: chunk.place.after(chunk.crc),
            totals,
            is_complete: chunk.is_last,
        };
        Ok(())
    }

    /// Makes what was collected durable.
    ///
    /// # Errors
    ///
    /// What the disk says; the writer is of no use then.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.is_broken {
            return Err(StoreError::Latched);
        }
        if self.durable == self.received {
            return Ok(());
        }
        self.is_broken = true;
        let (meta, accounts) = self.index.write(|transaction| self.step(transaction))?;
        (self.meta, self.accounts) = (meta, accounts);
        self.durable = self.received;
        self.rows.clear();
        self.extents.clear();
        self.collected_len = 0;
        self.is_broken = false;
        Ok(())
    }

    /// One step inside its transaction: bodies, index, rows, progress.
    fn step(&self, transaction: &WriteTransaction) -> Result<(Meta, SegmentAccounts), StoreError> {
        let mut meta = self.meta.clone();
        let mut books = Books {
            tally: meta.tallies.extents,
            accounts: self.accounts.clone(),
        };
        self.write_rows(transaction, &mut meta.tallies.rows)?;
        self.write_extents(transaction, &mut books)?;
        let tally = &mut meta.tallies.segments;
        write_accounts(transaction, &self.accounts, &books.accounts, tally)?;
        meta.tallies.extents = books.tally;
        meta.segment_next = books.accounts.next;
        if self.received.is_complete {
            meta.applied = Some(self.id.applied);
            meta.is_installed = true;
            meta.membership.clone_from(&self.id.membership);
        }
        write_meta(transaction, &meta)?;
        self.received.write(transaction)?;
        Ok((meta, books.accounts))
    }

    fn write_rows(
        &self,
        transaction: &WriteTransaction,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        let mut table = transaction.open_table(ROWS).indexed()?;
        for (key, content) in &self.rows {
            put_row(&mut table, *key, Some(content), tally)?;
        }
        Ok(())
    }

    fn write_extents(
        &self,
        transaction: &WriteTransaction,
        books: &mut Books,
    ) -> Result<(), StoreError> {
        let mut index = ExtentIndex::open(transaction)?;
        let len_max = self.place.options.segment_len_max;
        let mut writer = SegmentWriter::new(&self.segments, len_max, &books.accounts);
        let mut sink = ExtentSink {
            writer: &mut writer,
            index: &mut index,
            books,
        };
        for extent in &self.extents {
            let outgoing: Vec<_> = extent
                .messages()
                .map(|message| extent.outgoing(&message))
                .collect();
            sink.put(extent.header().queue, &outgoing)?;
        }
        writer.finish()
    }

    /// Checks the whole of what was received once more, ready to be installed.
    ///
    /// # Errors
    ///
    /// [`StoreError::SnapshotIncomplete`] before the last chunk; damage.
    pub fn finish(mut self) -> Result<Incoming, StoreError> {
        if !self.received.is_complete {
            let next = self.received.next.number;
            return Err(StoreError::SnapshotIncomplete { next });
        }
        self.sync()?;
        let SnapshotWriter {
            place, id, index, ..
        } = self;
        drop(index);
        examine_generation(&place.folder, place.identity, place.options)?;
        Ok(Incoming { place, id })
    }
}
