//! Messages of groups by their ids, in chunks of 64.
//!
//! Chunks are shared with a freeze and copied when they change afterwards. Those of what was purged
//! are buried: out of sight for everything but `take_buried`.
//!
//! Invariants: no chunk is empty; `count` is the sum over those that are not buried; no chunk is
//! both buried and not. Spec: spec/state.md, "Groups"; spec/semantics.md, "Purge".

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chunk::{CHUNK_COUNT, GroupChunk, Member, place_of};
use crate::fields::FieldError;
use crate::row_changes::RowChanges;

#[derive(Debug, Default)]
struct Held {
    chunk: Arc<GroupChunk>,
    /// It is listed in `changes`.
    changed: bool,
    /// A freeze has seen it.
    stored: bool,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Table {
    chunks: BTreeMap<u64, Held>,
    count: u64,
    buried: BTreeMap<u64, Held>,
    changes: RowChanges,
}

impl Table {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn insert(&mut self, id: u64, member: Member) {
        let (number, offset) = place_of(id);
        let held = self.chunks.entry(number).or_default();
        Arc::make_mut(&mut held.chunk).insert(offset, member);
        self.count += 1;
        self.on_change(number);
    }

    pub(super) fn get(&self, id: u64) -> Option<Member> {
        let (number, offset) = place_of(id);
        self.chunks.get(&number)?.chunk.get(offset)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Member> {
        let (number, offset) = place_of(id);
        let held = self.chunks.get_mut(&number)?;
        held.chunk.get(offset)?;
        let member = Arc::make_mut(&mut held.chunk).remove(offset)?;
        self.count -= 1;
        if held.chunk.count() == 0 {
            self.changes.on_removal(number, held.stored);
            self.chunks.remove(&number);
        } else {
            self.on_change(number);
        }
        Some(member)
    }

    /// The turn that was set for a message; 0 for none.
    pub(super) fn turn(&self, id: u64) -> u64 {
        let (number, offset) = place_of(id);
        let held = self.chunks.get(&number);
        held.map_or(0, |held| held.chunk.turn(offset))
    }

    /// Sets the turn of a message that is there.
    pub(super) fn set_turn(&mut self, id: u64, turn: u64) {
        let (number, offset) = place_of(id);
        if let Some(held) = self.chunks.get_mut(&number) {
            Arc::make_mut(&mut held.chunk).set_turn(offset, turn);
            self.on_change(number);
        }
    }

    fn on_change(&mut self, number: u64) {
        if let Some(held) = self.chunks.get_mut(&number)
            && !held.changed
        {
            held.changed = true;
            self.changes.on_change(number);
        }
    }

    /// The lowest id.
    pub(super) fn first(&self) -> Option<u64> {
        let (number, held) = self.chunks.first_key_value()?;
        Some(number * CHUNK_COUNT + held.chunk.first()?)
    }

    /// The highest id, buried or not.
    pub(super) fn last(&self) -> Option<u64> {
        let lasts = [&self.chunks, &self.buried].into_iter().filter_map(|it| {
            let (number, held) = it.last_key_value()?;
            Some(number * CHUNK_COUNT + held.chunk.last()?)
        });
        lasts.max()
    }

    /// Messages from `first` on, ascending.
    pub(super) fn members_from(&self, first: u64) -> impl Iterator<Item = (u64, Member)> + '_ {
        let chunks = self.chunks.range(first / CHUNK_COUNT..);
        let members = chunks.flat_map(|(number, held)| {
            let members = held.chunk.members();
            members.map(move |(offset, member)| (number * CHUNK_COUNT + u64::from(offset), member))
        });
        members.skip_while(move |(id, _)| *id < first)
    }

    /// Buries everything, as `next` is the id that is given next. The chunk that will hold it is
    /// emptied at once, and `each` told of what was there.
    pub(super) fn bury(&mut self, next: u64, mut each: impl FnMut(u64)) {
        let shared = next / CHUNK_COUNT;
        if let Some(held) = self.chunks.remove(&shared) {
            let members = held.chunk.members();
            members.for_each(|(offset, _)| each(shared * CHUNK_COUNT + u64::from(offset)));
            self.changes.on_removal(shared, held.stored);
        }
        let mut chunks = std::mem::take(&mut self.chunks);
        self.buried.append(&mut chunks);
        self.count = 0;
    }

    pub(super) fn has_buried(&self) -> bool {
        !self.buried.is_empty()
    }

    /// Takes buried chunks, the lowest first, until `work` is used up.
    pub(super) fn take_buried(&mut self, work: &mut u64, mut each: impl FnMut(u64)) {
        while *work > 0
            && let Some((number, held)) = self.buried.pop_first()
        {
            let members = held.chunk.members();
            members.for_each(|(offset, _)| each(number * CHUNK_COUNT + u64::from(offset)));
            self.changes.on_removal(number, held.stored);
            *work = work.saturating_sub(held.chunk.count());
        }
    }

    /// Hands over the chunks that changed since the last freeze; `None` for those that are gone.
    pub(crate) fn freeze(&mut self, mut each: impl FnMut(u64, Option<Arc<GroupChunk>>)) {
        let (changed, gone) = self.changes.take();
        gone.into_iter().for_each(|number| each(number, None));
        for number in changed {
            let held = match self.chunks.get_mut(&number) {
                None => self.buried.get_mut(&number),
                held => held,
            };
            let held = held.expect("what is listed as changed exists");
            held.changed = false;
            held.stored = true;
            each(number, Some(Arc::clone(&held.chunk)));
        }
    }

    /// Numbers of all rows that may be stored.
    pub(crate) fn row_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let all = self.chunks.iter().chain(&self.buried);
        let stored = all.filter(|(_, held)| held.stored);
        stored.map(|(number, _)| *number).chain(self.changes.gone())
    }

    pub(super) fn restore_row(
        &mut self,
        number: u64,
        row: &[u8],
        is_buried: bool,
    ) -> Result<(), FieldError> {
        let chunk = GroupChunk::decode(row)?;
        if number > u64::MAX / CHUNK_COUNT - 1 {
            return Err(FieldError::Range);
        }
        let count = chunk.count();
        let held = Held {
            chunk: Arc::new(chunk),
            changed: false,
            stored: true,
        };
        let chunks = match is_buried {
            true => &mut self.buried,
            false => {
                self.count += count;
                &mut self.chunks
            }
        };
        match chunks.insert(number, held) {
            None => Ok(()),
            Some(_) => Err(FieldError::Range),
        }
    }

    #[cfg(test)]
    pub(super) fn chunk_count(&self) -> usize {
        self.chunks.len() + self.buried.len()
    }
}
