//! Up to 64 numbered things, each with an instant: the unit that is copied on write, and one row.
//!
//! Only live slots count. A taken slot's bit is cleared and its room is given back when three
//! quarters are dead, so that a lone survivor does not hold the room of 64.
//!
//! `deadline` is a lower bound: taking a slot leaves it, for an exact minimum would cost a scan per
//! delete. It is part of the row, because it decides in which order replicas do due work. Of
//! delayed messages it is exact, for whoever changes one of them tightens it.
//!
//! Invariants: `live` is a subset of `laid`; one slot per bit of `laid`, in order; `deadline` is at
//! or before every live slot's instant. Spec: spec/state.md, "Chunks".

use sampan_protocol::Timestamp;

use crate::fields::{FieldError, Fields};

const VERSION: u8 = 1;
/// Numbers of one chunk.
pub(crate) const CHUNK_COUNT: u64 = 64;

/// What a chunk holds for each number, beside its instant.
pub(crate) trait Value: Copy {
    /// Whether chunks of it may leave memory.
    const HAS_DIRECTORY: bool = false;

    fn encode(&self, out: &mut Vec<u8>);
    fn decode(fields: &mut Fields<'_>) -> Result<Self, FieldError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot<T> {
    pub(crate) at: Timestamp,
    pub(crate) value: T,
}

#[derive(Clone, Debug)]
pub(crate) struct Chunk<T> {
    laid: u64,
    live: u64,
    deadline: Timestamp,
    slots: Vec<Slot<T>>,
}

impl<T: Value> Chunk<T> {
    pub(crate) fn new() -> Self {
        Chunk {
            laid: 0,
            live: 0,
            deadline: Timestamp(u64::MAX),
            slots: Vec::new(),
        }
    }

    pub(crate) fn live_count(&self) -> u64 {
        u64::from(self.live.count_ones())
    }

    /// A bit for each offset that has a live slot.
    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    pub(crate) fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Adds `count` numbers from offset `first` on, which lie above all that were added before.
    pub(crate) fn push(
        &mut self,
        first: u64,
        count: u64,
        at: Timestamp,
        mut make: impl FnMut(u64) -> T,
    ) {
        assert!(
            first + count <= CHUNK_COUNT && count > 0,
            "the run lies inside the chunk"
        );
        assert!(self.laid >> first == 0, "numbers are given in order");
        let bits = (u64::MAX >> (CHUNK_COUNT - count)) << first;
        self.laid |= bits;
        self.live |= bits;
        self.deadline = self.deadline.min(at);
        self.slots.extend((0..count).map(|index| Slot {
            at,
            value: make(index),
        }));
    }

    fn place(&self, offset: u64) -> Option<usize> {
        let bit = 1 << offset;
        let before = (self.laid & (bit - 1)).count_ones() as usize;
        (self.live & bit != 0).then_some(before)
    }

    pub(crate) fn peek(&self, offset: u64) -> Option<&Slot<T>> {
        self.slots.get(self.place(offset)?)
    }

    pub(crate) fn take(&mut self, offset: u64) -> Option<Slot<T>> {
        let slot = *self.peek(offset)?;
        self.live &= !(1 << offset);
        Some(slot)
    }

    /// Gives a live number another instant.
    pub(crate) fn move_to(&mut self, offset: u64, at: Timestamp) {
        if let Some(place) = self.place(offset) {
            self.slots[place].at = at;
            self.deadline = self.deadline.min(at);
        }
    }

    /// The live slots, by offset.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u64, Slot<T>)> + '_ {
        (0..CHUNK_COUNT)
            .filter(|offset| self.laid & (1 << offset) != 0)
            .zip(&self.slots)
            .filter(|(offset, _)| self.live & (1 << offset) != 0)
            .map(|(offset, slot)| (offset, *slot))
    }

    /// Takes every slot whose instant has come and makes the deadline exact again.
    pub(crate) fn take_due(&mut self, now: Timestamp, mut each: impl FnMut(u64, Slot<T>)) -> u64 {
        let mut due = 0u64;
        let mut deadline = Timestamp(u64::MAX);
        for (offset, slot) in self.slots() {
            if slot.at <= now {
                due |= 1 << offset;
                each(offset, slot);
            } else {
                deadline = deadline.min(slot.at);
            }
        }
        self.live &= !due;
        self.deadline = deadline;
        u64::from(due.count_ones())
    }

    /// Drops every live slot that is not in `live`, and makes the deadline exact; false when one of
    /// `live` is missing.
    pub(crate) fn keep_only(&mut self, live: u64) -> bool {
        let has_all = self.live & live == live;
        self.live &= live;
        if self.is_sparse() {
            self.compact();
        }
        self.tighten();
        has_all
    }

    /// Makes the deadline exact again.
    pub(crate) fn tighten(&mut self) {
        let earliest = self.slots().map(|(_, slot)| slot.at).min();
        self.deadline = earliest.unwrap_or(Timestamp(u64::MAX));
    }

    /// Whether every live slot lies below an offset.
    pub(crate) fn ends_below(&self, offset: u64) -> bool {
        offset >= CHUNK_COUNT || self.live >> offset == 0
    }

    pub(crate) fn is_sparse(&self) -> bool {
        self.live.count_ones() * 4 <= self.laid.count_ones()
    }

    /// Gives back the room of dead slots.
    pub(crate) fn compact(&mut self) {
        let mut slots = Vec::with_capacity(self.live.count_ones() as usize);
        slots.extend(self.slots().map(|(_, slot)| slot));
        self.slots = slots;
        self.laid = self.live;
    }

    /// How many slots it has room for.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.slots.capacity()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.live.to_le_bytes());
        out.extend_from_slice(&self.deadline.0.to_le_bytes());
        for (_, slot) in self.slots() {
            out.extend_from_slice(&slot.at.0.to_le_bytes());
            slot.value.encode(out);
        }
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let live = fields.u64()?;
        let deadline = fields.timestamp()?;
        let mut slots = Vec::with_capacity(live.count_ones() as usize);
        for _ in 0..live.count_ones() {
            let slot = Slot {
                at: fields.timestamp()?,
                value: T::decode(&mut fields)?,
            };
            if slot.at < deadline {
                return Err(FieldError::Range);
            }
            slots.push(slot);
        }
        if live == 0 {
            return Err(FieldError::Range);
        }
        fields.end()?;
        Ok(Chunk {
            laid: live,
            live,
            deadline,
            slots,
        })
    }
}
