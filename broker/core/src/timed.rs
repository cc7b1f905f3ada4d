//! Numbered things that each have an instant, in chunks of 64: what is in flight, what is delayed.
//!
//! One element per chunk in the deadline order, not one per number: with a million in flight that
//! is 16,000 instead of a million, and a receive of 256 touches four of them. The price: a chunk
//! whose deadline is only a lower bound wakes the set once in vain.
//!
//! Chunks are shared with a freeze and copied when they change afterwards.
//!
//! Chunks of what was purged are buried: out of sight for everything but `take_buried`.
//!
//! Invariants: no chunk is empty; `deadlines` has exactly one element per chunk that is not buried,
//! its own deadline; `live_count` is the sum over these; no number is both buried and not.
//! Spec: spec/state.md, "Chunks"; spec/semantics.md, "Purge".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sampan_protocol::Timestamp;

use crate::chunk::{CHUNK_COUNT, Chunk, Slot, Value};
use crate::fields::FieldError;
use crate::row_changes::RowChanges;

#[derive(Debug)]
struct Held<T> {
    chunk: Arc<Chunk<T>>,
    /// Its element in `deadlines`; none while it is new.
    indexed: Option<Timestamp>,
    /// It is listed in `changes`.
    changed: bool,
    /// A freeze has seen it.
    stored: bool,
}

#[derive(Debug)]
pub(crate) struct Timed<T> {
    chunks: BTreeMap<u64, Held<T>>,
    deadlines: BTreeSet<(Timestamp, u64)>,
    live_count: u64,
    buried: BTreeMap<u64, Held<T>>,
    changes: RowChanges,
}

impl<T: Value> Timed<T> {
    pub(crate) fn new() -> Self {
        Timed {
            chunks: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            live_count: 0,
            buried: BTreeMap::new(),
            changes: RowChanges::default(),
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
            let chunk = self.chunks.get(chunk_number).map(|held| &held.chunk);
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
            let held = self.chunks.entry(chunk_number).or_insert_with(|| Held {
                chunk: Arc::new(Chunk::new()),
                indexed: None,
                changed: false,
                stored: false,
            });
            let skipped = number - first;
            Arc::make_mut(&mut held.chunk).push(
                number % CHUNK_COUNT,
                until - number,
                at,
                |index| make(skipped + index),
            );
            self.settle(chunk_number);
            number = until;
        }
        self.live_count += count;
    }

    pub(crate) fn peek(&self, number: u64) -> Option<&Slot<T>> {
        self.chunks
            .get(&(number / CHUNK_COUNT))?
            .chunk
            .peek(number % CHUNK_COUNT)
    }

    /// Takes one number, when it is there.
    pub(crate) fn take(&mut self, number: u64) -> Option<Slot<T>> {
        let taken = self.edit(number / CHUNK_COUNT, |chunk| {
            chunk.take(number % CHUNK_COUNT)
        });
        taken.flatten()
    }

    /// Everything from number `first` on, in order.
    pub(crate) fn slots_from(&self, first: u64) -> impl Iterator<Item = (u64, Slot<T>)> + '_ {
        let chunks = self.chunks.range(first / CHUNK_COUNT..);
        let slots = chunks.flat_map(|(chunk_number, held)| {
            let slots = held.chunk.slots();
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
        change: impl FnOnce(&mut Chunk<T>) -> R,
    ) -> Option<R> {
        let held = self.chunks.get_mut(&chunk_number)?;
        let chunk = Arc::make_mut(&mut held.chunk);
        let before = chunk.live_count();
        let result = change(chunk);
        self.live_count = self.live_count - before + chunk.live_count();
        self.settle(chunk_number);
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
            let taken = self.edit(chunk_number, |chunk| {
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
            let chunk = self.chunks.get(chunk_number).map(|held| &held.chunk);
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
        self.edit(shared, |chunk| {
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
            let slots = held.chunk.slots();
            slots.for_each(|(offset, slot)| each(first + offset, slot));
            self.changes.on_removal(chunk_number, held.stored);
            *work = work.saturating_sub(held.chunk.live_count());
        }
    }

    /// After a change of one chunk: drops it when empty, indexes its deadline, lists it as changed.
    fn settle(&mut self, chunk_number: u64) {
        let Some(held) = self.chunks.get_mut(&chunk_number) else {
            return;
        };
        if held.chunk.live_count() == 0 {
            if let Some(at) = held.indexed {
                self.deadlines.remove(&(at, chunk_number));
            }
            self.changes.on_removal(chunk_number, held.stored);
            self.chunks.remove(&chunk_number);
            return;
        }
        if held.chunk.is_sparse() {
            Arc::make_mut(&mut held.chunk).compact();
        }
        if !held.changed {
            held.changed = true;
            self.changes.on_change(chunk_number);
        }
        let deadline = held.chunk.deadline();
        if held.indexed != Some(deadline) {
            if let Some(at) = held.indexed {
                self.deadlines.remove(&(at, chunk_number));
            }
            self.deadlines.insert((deadline, chunk_number));
            held.indexed = Some(deadline);
        }
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
            each(chunk_number, Some(Arc::clone(&held.chunk)));
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
        let (live_count, deadline) = (chunk.live_count(), chunk.deadline());
        let held = Held {
            chunk: Arc::new(chunk),
            indexed: Some(deadline),
            changed: false,
            stored: true,
        };
        if is_buried {
            self.buried.insert(chunk_number, held);
            return Ok(());
        }
        self.live_count += live_count;
        self.deadlines.insert((deadline, chunk_number));
        self.chunks.insert(chunk_number, held);
        Ok(())
    }

    /// The highest number that has a slot.
    pub(crate) fn last_number(&self) -> Option<u64> {
        let (chunk_number, held) = self.chunks.last_key_value()?;
        held.chunk
            .slots()
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
mod tests {
    use super::*;
    use crate::fields::Fields;

    impl Value for u8 {
        fn encode(&self, out: &mut Vec<u8>) {
            out.push(*self);
        }
        fn decode(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
            fields.u8()
        }
    }

    fn take(timed: &mut Timed<u8>, number: u64) -> Option<Slot<u8>> {
        timed
            .edit(number / CHUNK_COUNT, |chunk| {
                chunk.take(number % CHUNK_COUNT)
            })
            .flatten()
    }

    #[test]
    fn an_emptied_chunk_leaves_nothing_behind() {
        let mut timed = Timed::new();
        timed.extend(60, 10, Timestamp(5), |_| 1);
        assert_eq!((timed.chunk_count(), timed.live_count()), (2, 10));
        for number in 60..70 {
            assert!(take(&mut timed, number).is_some());
            assert!(take(&mut timed, number).is_none());
        }
        assert_eq!((timed.chunk_count(), timed.live_count()), (0, 0));
        timed.freeze(|number, _| panic!("chunk {number} came and went unseen"));
    }

    #[test]
    fn a_lone_survivor_gives_back_the_room_of_the_others() {
        let mut timed = Timed::new();
        timed.extend(0, 64, Timestamp(5), |index| u8::try_from(index).unwrap());
        (0..63).for_each(|number| assert!(take(&mut timed, number).is_some()));
        assert_eq!(timed.chunks[&0].chunk.room(), 1);
        assert_eq!(take(&mut timed, 63).map(|slot| slot.value), Some(63));
    }

    #[test]
    fn a_frozen_chunk_is_not_changed_by_later_work() {
        let mut timed = Timed::new();
        timed.extend(0, 3, Timestamp(5), |_| 1);
        let mut frozen = Vec::new();
        timed.freeze(|number, chunk| frozen.push((number, chunk)));
        assert!(take(&mut timed, 1).is_some());
        assert_eq!(
            frozen[0].1.as_ref().map(|chunk| chunk.live_count()),
            Some(3)
        );
        let mut later = Vec::new();
        timed.freeze(|number, chunk| later.push((number, chunk.map(|chunk| chunk.live_count()))));
        assert_eq!(later, [(0, Some(2))]);
    }

    #[test]
    fn due_work_stops_when_it_is_used_up_and_goes_on_later() {
        let mut timed = Timed::new();
        timed.extend(0, 640, Timestamp(5), |_| 1);
        let mut work = 100;
        let mut count = 0;
        timed.peek_due(Timestamp(5), work, |_, _| count += 1);
        assert_eq!(count, 128);
        timed.take_due(Timestamp(5), &mut work, |_, _| count -= 1);
        assert_eq!((count, work, timed.live_count()), (0, 0, 512));
        assert_eq!(timed.next_deadline(), Some(Timestamp(5)));
    }

    #[test]
    fn a_chunk_row_comes_back() {
        let mut chunk = Chunk::new();
        chunk.push(3, 9, Timestamp(77), |index| u8::try_from(index).unwrap());
        chunk.take(5);
        let mut row = Vec::new();
        chunk.encode(&mut row);
        let back = Chunk::<u8>::decode(&row).unwrap();
        assert_eq!(
            back.slots().collect::<Vec<_>>(),
            chunk.slots().collect::<Vec<_>>()
        );
        assert_eq!(back.deadline(), Timestamp(77));
        assert!(Chunk::<u8>::decode(&row[..row.len() - 1]).is_err());
    }
}
