//! Numbered things that each have an instant, in chunks of 64: what is in flight, what is delayed.
//!
//! One element per chunk in the deadline order, not one per number: with a million in flight that
//! is 16,000 instead of a million, and a receive of 256 touches four of them. The price: a chunk
//! whose deadline is only a lower bound wakes the set once in vain.
//!
//! Chunks are shared with a freeze and copied when they change afterwards. Those of what is delayed
//! may leave memory: `eviction`.
//!
//! Chunks of what was purged are buried: out of sight for everything but `take_buried`.
//!
//! Invariants: no chunk is empty; `deadlines` has exactly one element per chunk that is not buried,
//! its own deadline; `live_count` is the sum over these; no number is both buried and not.
//! Spec: spec/state.md, "Chunks"; spec/semantics.md, "Purge".

mod eviction;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sampan_protocol::Timestamp;

use crate::chunk::{CHUNK_COUNT, Chunk, Slot, Value};
use crate::fields::FieldError;
use crate::row_changes::RowChanges;
pub(crate) use eviction::ChunkDirectory;

const RESIDENT: &str = "the chunks an entry touches were made resident before it is applied";

#[derive(Debug)]
struct Held<T> {
    /// `None` while evicted.
    chunk: Option<Arc<Chunk<T>>>,
    /// The chunk's; its element in `deadlines` unless it is buried.
    deadline: Timestamp,
    /// The chunk's.
    live: u64,
    /// It is listed in `changes`.
    changed: bool,
    /// A freeze has seen it.
    stored: bool,
    /// In the last freeze, which is not durable yet.
    frozen: bool,
}

impl<T: Value> Held<T> {
    fn new() -> Self {
        let chunk = Chunk::new();
        Held {
            deadline: chunk.deadline(),
            chunk: Some(Arc::new(chunk)),
            live: 0,
            changed: false,
            stored: false,
            frozen: false,
        }
    }

    fn chunk(&self) -> &Arc<Chunk<T>> {
        self.chunk.as_ref().expect(RESIDENT)
    }

    fn chunk_mut(&mut self) -> &mut Chunk<T> {
        Arc::make_mut(self.chunk.as_mut().expect(RESIDENT))
    }

    fn live_count(&self) -> u64 {
        self.live.count_ones().into()
    }
}

/// What an edit of a chunk changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Slots come, or get another instant.
    Slots,
    /// Slots are taken, nothing else.
    Taking,
}

#[derive(Debug)]
pub(crate) struct Timed<T> {
    chunks: BTreeMap<u64, Held<T>>,
    deadlines: BTreeSet<(Timestamp, u64)>,
    live_count: u64,
    evicted_count: usize,
    buried: BTreeMap<u64, Held<T>>,
    buried_evicted_count: usize,
    changes: RowChanges,
    /// Directory rows that differ; of a table that has a directory.
    directory_changes: BTreeSet<u64>,
    /// Chunks of the last freeze, while it is not durable.
    frozen: Vec<u64>,
}

impl<T: Value> Timed<T> {
    pub(crate) fn new() -> Self {
        Timed {
            chunks: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            live_count: 0,
            evicted_count: 0,
            buried: BTreeMap::new(),
            buried_evicted_count: 0,
            changes: RowChanges::default(),
            directory_changes: BTreeSet::new(),
            frozen: Vec::new(),
        }
    }

    pub(crate) fn live_count(&self) -> u64 {
        self.live_count
    }

    /// The instant before which nothing is due.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The earliest instant of all. Deadlines are lower bounds, so a few chunks may have to be
    /// looked into.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        let mut earliest: Option<Timestamp> = None;
        for (at, chunk_number) in &self.deadlines {
            if earliest.is_some_and(|earliest| earliest <= *at) {
                break;
            }
            let chunk = self.chunks.get(chunk_number).map(Held::chunk);
            let slots = chunk.into_iter().flat_map(|chunk| chunk.slots());
            earliest = slots.map(|(_, slot)| slot.at).chain(earliest).min();
        }
        earliest
    }

    /// Adds `count` numbers from `first` on, above all that were added before.
    pub(crate) fn extend(
        &mut self,
        first: u64,
        count: u64,
        at: Timestamp,
        mut make: impl FnMut(u64) -> T,
    ) {
        let end = first + count;
        let mut number = first;
        while number < end {
            let chunk_number = number / CHUNK_COUNT;
            let until = end.min((chunk_number + 1) * CHUNK_COUNT);
            let held = self.chunks.entry(chunk_number).or_insert_with(|| {
                let held = Held::new();
                self.deadlines.insert((held.deadline, chunk_number));
                held
            });
            let (offset, skipped) = (number % CHUNK_COUNT, number - first);
            let make = |index| make(skipped + index);
            held.chunk_mut().push(offset, until - number, at, make);
            self.settle(chunk_number, Edit::Slots);
            number = until;
        }
        self.live_count += count;
    }

    pub(crate) fn peek(&self, number: u64) -> Option<&Slot<T>> {
        let held = self.chunks.get(&(number / CHUNK_COUNT))?;
        held.chunk().peek(number % CHUNK_COUNT)
    }

    /// Takes one number, when it is there.
    pub(crate) fn take(&mut self, number: u64) -> Option<Slot<T>> {
        let taken = self.edit(number / CHUNK_COUNT, Edit::Taking, |chunk| {
            chunk.take(number % CHUNK_COUNT)
        });
        taken.flatten()
    }

    /// Everything from number `first` on, in order.
    pub(crate) fn slots_from(&self, first: u64) -> impl Iterator<Item = (u64, Slot<T>)> + '_ {
        let chunks = self.chunks.range(first / CHUNK_COUNT..);
        let slots = chunks.flat_map(|(chunk_number, held)| {
            let slots = held.chunk().slots();
            slots.map(move |(offset, slot)| (chunk_number * CHUNK_COUNT + offset, slot))
        });
        slots.skip_while(move |(number, _)| *number < first)
    }

    /// Everything.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot<T>> + '_ {
        self.slots_from(0).map(|(_, slot)| slot)
    }

    /// Lets `change` work on the chunk, when there is one, and then puts everything in order.
    pub(crate) fn edit<R>(
        &mut self,
        chunk_number: u64,
        edit: Edit,
        change: impl FnOnce(&mut Chunk<T>) -> R,
    ) -> Option<R> {
        let held = self.chunks.get_mut(&chunk_number)?;
        let chunk = held.chunk_mut();
        let before = chunk.live_count();
        let result = change(chunk);
        self.live_count = self.live_count - before + chunk.live_count();
        self.settle(chunk_number, edit);
        Some(result)
    }

    /// Takes what is due, earliest chunk first, until `work` is used up.
    pub(crate) fn take_due(
        &mut self,
        now: Timestamp,
        work: &mut u64,
        mut each: impl FnMut(u64, Slot<T>),
    ) {
        while *work > 0 {
            let Some(&(_, chunk_number)) = self.deadlines.first().filter(|(at, _)| *at <= now)
            else {
                return;
            };
            let first = chunk_number * CHUNK_COUNT;
            let taken = self.edit(chunk_number, Edit::Taking, |chunk| {
                chunk.take_due(now, |offset, slot| each(first + offset, slot))
            });
            *work = work.saturating_sub(taken.unwrap_or(0).max(1));
        }
    }

    /// Shows everything that [`Timed::take_due`] would take with `work` to spend.
    pub(crate) fn peek_due(&self, now: Timestamp, work: u64, mut each: impl FnMut(u64, Slot<T>)) {
        let mut left = work;
        for (at, chunk_number) in &self.deadlines {
            if *at > now || left == 0 {
                return;
            }
            let mut taken = 0;
            let chunk = self.chunks.get(chunk_number).map(Held::chunk);
            for (offset, slot) in chunk.iter().flat_map(|chunk| chunk.slots()) {
                if slot.at <= now {
                    taken += 1;
                    each(chunk_number * CHUNK_COUNT + offset, slot);
                }
            }
            left = left.saturating_sub(taken.max(1));
        }
    }

    /// Buries everything, as `next` is the number that is given next. The chunk that will hold it
    /// is emptied at once, and `each` told of what was there.
    pub(crate) fn bury(&mut self, next: u64, mut each: impl FnMut(u64, Slot<T>)) {
        let shared = next / CHUNK_COUNT;
        let first = shared * CHUNK_COUNT;
        self.edit(shared, Edit::Taking, |chunk| {
            chunk.take_due(Timestamp(u64::MAX), |offset, slot| {
                each(first + offset, slot);
            })
        });
        let chunks = std::mem::take(&mut self.chunks);
        if self.buried.is_empty() {
            self.buried = chunks;
        } else {
            self.buried.extend(chunks);
        }
        self.buried_evicted_count += std::mem::take(&mut self.evicted_count);
        self.deadlines.clear();
        self.live_count = 0;
    }

    pub(crate) fn has_buried(&self) -> bool {
        !self.buried.is_empty()
    }

    /// Takes buried chunks, the lowest first, until `work` is used up.
    pub(crate) fn take_buried(&mut self, work: &mut u64, mut each: impl FnMut(u64, Slot<T>)) {
        while *work > 0
            && let Some((chunk_number, held)) = self.buried.pop_first()
        {
            let first = chunk_number * CHUNK_COUNT;
            let slots = held.chunk().slots();
            slots.for_each(|(offset, slot)| each(first + offset, slot));
            self.on_removal(chunk_number, held.stored);
            *work = work.saturating_sub(held.live_count());
        }
    }

    /// After an edit of one chunk: drops it when empty, indexes its deadline, lists what differs.
    fn settle(&mut self, chunk_number: u64, edit: Edit) {
        let Some(held) = self.chunks.get_mut(&chunk_number) else {
            return;
        };
        let (live, deadline) = (held.chunk().live(), held.chunk().deadline());
        if live == 0 {
            let stored = held.stored;
            self.deadlines.remove(&(held.deadline, chunk_number));
            self.chunks.remove(&chunk_number);
            return self.on_removal(chunk_number, stored);
        }
        if held.chunk().is_sparse() {
            held.chunk_mut().compact();
        }
        let differs = (held.live, held.deadline) != (live, deadline);
        held.live = live;
        if held.deadline != deadline {
            self.deadlines.remove(&(held.deadline, chunk_number));
            self.deadlines.insert((deadline, chunk_number));
            held.deadline = deadline;
        }
        // Of what is taken, a directory knows: the row may stay as it is.
        let row_differs = edit == Edit::Slots || !held.stored || !T::HAS_DIRECTORY;
        if row_differs && !held.changed {
            held.changed = true;
            self.changes.on_change(chunk_number);
        }
        if differs {
            self.note_in_directory(chunk_number);
        }
    }

    fn on_removal(&mut self, chunk_number: u64, stored: bool) {
        self.changes.on_removal(chunk_number, stored);
        self.note_in_directory(chunk_number);
    }

    /// Hands over the chunks that changed since the last freeze; `None` for those that are gone.
    pub(crate) fn freeze(&mut self, mut each: impl FnMut(u64, Option<Arc<Chunk<T>>>)) {
        let (changed, gone) = self.changes.take();
        for chunk_number in gone {
            each(chunk_number, None);
        }
        for chunk_number in changed {
            let held = match self.chunks.get_mut(&chunk_number) {
                None => self.buried.get_mut(&chunk_number),
                held => held,
            };
            let held = held.expect("what is listed as changed exists");
            held.changed = false;
            held.stored = true;
            if T::HAS_DIRECTORY {
                held.frozen = true;
                self.frozen.push(chunk_number);
            }
            each(chunk_number, Some(Arc::clone(held.chunk())));
        }
    }

    /// Numbers of all rows that may be stored.
    pub(crate) fn row_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let all = self.chunks.iter().chain(&self.buried);
        let stored = all.filter(|(_, held)| held.stored);
        stored.map(|(number, _)| *number).chain(self.changes.gone())
    }

    pub(crate) fn restore_row(
        &mut self,
        chunk_number: u64,
        row: &[u8],
        is_buried: bool,
    ) -> Result<(), FieldError> {
        let chunk = Chunk::decode(row)?;
        if chunk_number > u64::MAX / CHUNK_COUNT - 1 || self.chunks.contains_key(&chunk_number) {
            return Err(FieldError::Range);
        }
        let held = Held {
            deadline: chunk.deadline(),
            live: chunk.live(),
            chunk: Some(Arc::new(chunk)),
            changed: false,
            stored: true,
            frozen: false,
        };
        self.take_in(chunk_number, held, is_buried);
        Ok(())
    }

    /// Adds a chunk that was stored.
    fn take_in(&mut self, chunk_number: u64, held: Held<T>, is_buried: bool) {
        let is_evicted = usize::from(held.chunk.is_none());
        if is_buried {
            self.buried_evicted_count += is_evicted;
            self.buried.insert(chunk_number, held);
            return;
        }
        self.evicted_count += is_evicted;
        self.live_count += held.live_count();
        self.deadlines.insert((held.deadline, chunk_number));
        self.chunks.insert(chunk_number, held);
    }

    /// The highest number that has a slot.
    pub(crate) fn last_number(&self) -> Option<u64> {
        let (chunk_number, held) = self.chunks.last_key_value()?;
        let slots = held.chunk().slots();
        slots
            .last()
            .map(|(offset, _)| chunk_number * CHUNK_COUNT + offset)
    }

    #[cfg(test)]
    pub(crate) fn chunk_count(&self) -> usize {
        assert_eq!(self.chunks.len(), self.deadlines.len());
        self.chunks.len() + self.buried.len()
    }
}

#[cfg(test)]
mod tests;
