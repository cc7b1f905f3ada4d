//! Chunks that leave memory: the calendar of delayed messages.
//!
//! Of each chunk its number, its deadline and which slots of it are live stay here, some 100 bytes,
//! and are stored in directory rows; the chunk itself may be evicted once its row is durable, those
//! that are due last first, and comes back through `Need` and `supply` before anything touches it.
//! So what is due soon is in memory, and of the rest 1.6 bytes a message.
//!
//! A row is not written again for what is taken of it: the directory knows what is left. Where
//! neighbours fall due far apart, a checkpoint would otherwise write every chunk for one message.
//!
//! Rows by id, not by instant: an id leads to its row, so cancelling, another instant and looking
//! need no second index, and nothing moves as the time comes near. The order of due work is that of
//! the deadlines, which are always here: it cannot depend on what is in memory. The price: where
//! neighbours in ids fall due far apart, each reads the row again once it was evicted in between,
//! one row of half a kilobyte; rows by instant would read 64 due messages at once, but write each
//! message three times.
//!
//! Invariants: deadline and live slots in `Held` are the chunk's; only a chunk whose row is stored,
//! and has each live slot as it is, is evicted; a directory row is listed as changed when a
//! deadline or live slots in it changed.
//! Spec: spec/state.md, "Delayed messages".

use std::collections::BTreeSet;
use std::sync::Arc;

use sampan_protocol::Timestamp;

use super::{Held, Timed};
use crate::chunk::{CHUNK_COUNT, Chunk, Value};
use crate::fields::{FieldError, Fields};

const VERSION: u8 = 1;
/// Chunks of one directory row.
const DIRECTORY_CHUNK_COUNT: u64 = 256;

impl<T: Value> Timed<T> {
    /// Chunks that are not in memory, buried ones included.
    pub(crate) fn evicted_count(&self) -> usize {
        self.evicted_count + self.buried_evicted_count
    }

    /// Chunks in memory, without buried ones: these go soon.
    pub(crate) fn resident_count(&self) -> usize {
        self.chunks.len() - self.evicted_count
    }

    pub(crate) fn is_evicted(&self, chunk_number: u64) -> bool {
        let held = self.chunks.get(&chunk_number);
        held.or_else(|| self.buried.get(&chunk_number))
            .is_some_and(|held| held.chunk.is_none())
    }

    /// Names every chunk that [`Timed::take_due`] would touch with `work` to spend. Of one that is
    /// evicted it takes that little is due in it, so it may name too many.
    pub(crate) fn due_chunks(&self, now: Timestamp, work: u64, mut each: impl FnMut(u64)) {
        let mut left = work;
        for (_, chunk_number) in self.deadlines.iter().take_while(|(at, _)| *at <= now) {
            if left == 0 {
                return;
            }
            each(*chunk_number);
            let held = self.chunks.get(chunk_number);
            let chunk = held.and_then(|held| held.chunk.as_ref());
            let slots = chunk.iter().flat_map(|chunk| chunk.slots());
            let taken = slots.filter(|(_, slot)| slot.at <= now).count() as u64;
            left = left.saturating_sub(taken.max(1));
        }
    }

    /// Names every buried chunk that [`Timed::take_buried`] would touch with `work` to spend.
    pub(crate) fn buried_chunks(&self, work: u64, mut each: impl FnMut(u64)) {
        let mut left = work;
        for (chunk_number, held) in &self.buried {
            if left == 0 {
                return;
            }
            each(*chunk_number);
            left = left.saturating_sub(held.live_count());
        }
    }

    /// Number, live bits and chunk, if it is in memory, from a chunk number on.
    pub(crate) fn chunks_from(
        &self,
        first: u64,
    ) -> impl Iterator<Item = (u64, u64, Option<&Chunk<T>>)> + '_ {
        let chunks = self.chunks.range(first..);
        chunks.map(|(number, held)| (*number, held.live, held.chunk.as_deref()))
    }

    /// The last freeze is durable: what it saw may be evicted.
    pub(crate) fn on_checkpoint(&mut self) {
        for chunk_number in std::mem::take(&mut self.frozen) {
            if let Some(held) = self.chunks.get_mut(&chunk_number) {
                held.frozen = false;
            }
        }
    }

    /// Deadlines and numbers of the chunks that may leave memory.
    pub(crate) fn evictable(&self) -> impl Iterator<Item = (Timestamp, u64)> + '_ {
        let clean = self.chunks.iter().filter(|(_, held)| {
            held.chunk.is_some() && held.stored && !held.changed && !held.frozen
        });
        clean.map(|(number, held)| (held.deadline, *number))
    }

    /// Evicts one of [`Timed::evictable`].
    pub(crate) fn evict(&mut self, chunk_number: u64) {
        let held = self.chunks.get_mut(&chunk_number);
        if held.is_some_and(|held| held.chunk.take().is_some()) {
            self.evicted_count += 1;
        }
    }

    /// Takes in the row of an evicted chunk, `next` being the number that is given next. A chunk
    /// that is here, or gone by now, stays as it is.
    pub(crate) fn supply(
        &mut self,
        chunk_number: u64,
        row: &[u8],
        next: u64,
    ) -> Result<(), FieldError> {
        let (held, evicted_count) = match self.chunks.get_mut(&chunk_number) {
            None => (
                self.buried.get_mut(&chunk_number),
                &mut self.buried_evicted_count,
            ),
            held => (held, &mut self.evicted_count),
        };
        let Some(held) = held.filter(|held| held.chunk.is_none()) else {
            return Ok(());
        };
        let mut chunk = Chunk::decode(row)?;
        let is_the_one = chunk.ends_below(next.saturating_sub(chunk_number * CHUNK_COUNT))
            && chunk.keep_only(held.live)
            && chunk.deadline() == held.deadline;
        if !is_the_one {
            return Err(FieldError::Range);
        }
        held.chunk = Some(Arc::new(chunk));
        *evicted_count -= 1;
        Ok(())
    }

    /// Lists the directory row of a chunk that came, changed or went.
    pub(super) fn note_in_directory(&mut self, chunk_number: u64) {
        if T::HAS_DIRECTORY {
            self.directory_changes
                .insert(chunk_number / DIRECTORY_CHUNK_COUNT);
        }
    }

    /// Hands over the directory rows that changed since the last freeze.
    pub(crate) fn freeze_directory(&mut self, mut each: impl FnMut(u64, Option<ChunkDirectory>)) {
        for row in std::mem::take(&mut self.directory_changes) {
            let directory = self.directory(row);
            each(row, (!directory.0.is_empty()).then_some(directory));
        }
    }

    fn directory(&self, row: u64) -> ChunkDirectory {
        let chunks = row * DIRECTORY_CHUNK_COUNT..(row + 1) * DIRECTORY_CHUNK_COUNT;
        let entry = |(number, held): (&u64, &Held<T>)| DirectoryEntry {
            low: number.to_le_bytes()[0],
            live: held.live,
            deadline: held.deadline,
        };
        // What is buried lies below what is not.
        let buried = self.buried.range(chunks.clone());
        ChunkDirectory(buried.chain(self.chunks.range(chunks)).map(entry).collect())
    }

    /// Numbers of all directory rows that may be stored.
    pub(crate) fn directory_numbers(&self) -> BTreeSet<u64> {
        let all = self.chunks.keys().chain(self.buried.keys());
        let here = all.map(|number| number / DIRECTORY_CHUNK_COUNT);
        here.chain(self.directory_changes.iter().copied()).collect()
    }

    /// Takes in a directory row: its chunks are there, and evicted.
    pub(crate) fn restore_directory(
        &mut self,
        row: u64,
        bytes: &[u8],
        is_buried: impl Fn(u64) -> bool,
    ) -> Result<(), FieldError> {
        if row >= u64::MAX / CHUNK_COUNT / DIRECTORY_CHUNK_COUNT {
            return Err(FieldError::Range);
        }
        for entry in ChunkDirectory::decode(bytes)?.0 {
            let number = row * DIRECTORY_CHUNK_COUNT + u64::from(entry.low);
            let held = Held {
                chunk: None,
                deadline: entry.deadline,
                live: entry.live,
                changed: false,
                stored: true,
                frozen: false,
            };
            self.take_in(number, held, is_buried(number));
        }
        Ok(())
    }

    /// Whether every chunk has numbers from `base` on and below `next`.
    pub(crate) fn lies_in(&self, base: u64, next: u64) -> bool {
        let lies_in = |chunk_number: &u64| {
            (base / CHUNK_COUNT..next.div_ceil(CHUNK_COUNT)).contains(chunk_number)
        };
        self.chunks.keys().chain(self.buried.keys()).all(lies_in)
    }
}

#[derive(Clone, Copy, Debug)]
struct DirectoryEntry {
    /// The low byte of the chunk's number.
    low: u8,
    live: u64,
    deadline: Timestamp,
}

/// One directory row: what is kept of each of 256 chunks, by their numbers.
#[derive(Debug)]
pub(crate) struct ChunkDirectory(Vec<DirectoryEntry>);

impl ChunkDirectory {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        for entry in &self.0 {
            out.push(entry.low);
            out.extend_from_slice(&entry.live.to_le_bytes());
            out.extend_from_slice(&entry.deadline.0.to_le_bytes());
        }
    }

    fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let mut entries: Vec<DirectoryEntry> = Vec::new();
        while !fields.is_empty() {
            let entry = DirectoryEntry {
                low: fields.u8()?,
                live: fields.u64()?,
                deadline: fields.timestamp()?,
            };
            let rises = entries.last().is_none_or(|last| last.low < entry.low);
            if !rises || entry.live == 0 {
                return Err(FieldError::Range);
            }
            entries.push(entry);
        }
        Ok(ChunkDirectory(entries))
    }
}
