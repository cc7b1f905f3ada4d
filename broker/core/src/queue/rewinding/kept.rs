//! The deleted messages of a queue that may come back, as runs of ids.
//!
//! A run is **held** until it leaves its window or is rewound; then it is **returning** until each
//! of its messages is ready. A queue that is purged, or stops keeping, has **dropped** its runs:
//! they are counted nowhere and go bit by bit.
//!
//! Whole groups change their state at once, and a row per run would be too many to write for it.
//! So a row has only the generation in which it was written, and the queue's row says which
//! generations are dropped, and which are returning and from which ids on.
//!
//! Invariants: runs of all three groups have no id in common; held runs do not touch; a row of a
//! held run has a generation that is not dropped and, at or behind an id of a rewind under way,
//! one behind the rewind's. Spec: spec/state.md, "Kept messages".

use std::collections::BTreeMap;

use sampan_protocol::{MessageId, Timestamp};

use crate::fields::{FieldError, Fields};
use crate::limits::KEPT_RUN_COUNT_MAX;
use crate::row_changes::RowChanges;

const VERSION: u8 = 1;
/// Of a run that is dropped: below every generation.
const DROPPED: u64 = 0;
/// Runs that a rewind cuts in two, one in each id space.
const CUT_COUNT_MAX: usize = 2;

/// A rewind of which messages are still to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewind {
    /// The first generation of the runs that come back.
    pub(crate) generation_first: u64,
    /// The last one.
    pub(crate) generation_last: u64,
    /// The first id that comes back, without a delay and with one.
    pub(crate) from: [u64; 2],
    /// When it was asked for, or a part of it was carried out last: the place in the order of due
    /// work.
    pub(crate) at: Timestamp,
}

/// What the queue's row tells of its kept messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptState {
    /// Of the runs that are held from now on; from 1.
    pub(crate) generation: u64,
    /// Runs of generations below are dropped.
    pub(crate) dropped_below: u64,
    pub(crate) rewind: Option<Rewind>,
}

impl KeptState {
    pub(crate) fn new() -> Self {
        KeptState {
            generation: 1,
            dropped_below: 1,
            rewind: None,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let none = Rewind {
            generation_first: 0,
            generation_last: 0,
            from: [0; 2],
            at: Timestamp(0),
        };
        let rewind = self.rewind.unwrap_or(none);
        for number in [
            self.generation,
            self.dropped_below,
            rewind.generation_first,
            rewind.generation_last,
            rewind.from[0],
            rewind.from[1],
            rewind.at.0,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let (generation, dropped_below) = (fields.u64()?, fields.u64()?);
        let rewind = Rewind {
            generation_first: fields.u64()?,
            generation_last: fields.u64()?,
            from: [fields.u64()?, fields.u64()?],
            at: fields.timestamp()?,
        };
        let generations = rewind.generation_first..=rewind.generation_last;
        let is_rewinding = rewind.generation_last > 0;
        let holds = (1..=generation).contains(&dropped_below)
            && (!is_rewinding || (rewind.generation_first > 0 && !generations.is_empty()))
            && rewind.generation_last < generation;
        if !holds {
            return Err(FieldError::Range);
        }
        Ok(KeptState {
            generation,
            dropped_below,
            rewind: is_rewinding.then_some(rewind),
        })
    }

    /// The group of a run whose row has this generation.
    fn group_of(&self, first: u64, generation: u64) -> Group {
        let is_delayed = MessageId(first).is_delayed();
        let is_returning = self.rewind.is_some_and(|rewind| {
            let generations = rewind.generation_first..=rewind.generation_last;
            generations.contains(&generation) && first >= rewind.from[usize::from(is_delayed)]
        });
        match generation < self.dropped_below {
            _ if is_returning => Group::Returning,
            true => Group::Dropped,
            false => Group::Held,
        }
    }
}

/// A run as its row has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptRow {
    /// The first id behind the run.
    end: u64,
    generation: u64,
}

impl KeptRow {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.end.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
    }

    fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let (end, generation) = (fields.u64()?, fields.u64()?);
        fields.end()?;
        Ok(KeptRow { end, generation })
    }
}

#[derive(Clone, Copy, Debug)]
enum Group {
    Held,
    Returning,
    Dropped,
}

/// Runs by their first ids.
#[derive(Debug, Default)]
struct Runs {
    ends: BTreeMap<u64, u64>,
    message_count: u64,
}

impl Runs {
    fn of(ends: BTreeMap<u64, u64>) -> Self {
        let message_count = ends.iter().map(|(first, end)| end - first).sum();
        Runs {
            ends,
            message_count,
        }
    }

    fn insert(&mut self, first: u64, end: u64) {
        self.ends.insert(first, end);
        self.message_count += end - first;
    }

    fn remove(&mut self, first: u64) -> Option<u64> {
        let end = self.ends.remove(&first)?;
        self.message_count -= end - first;
        Some(end)
    }

    fn append(&mut self, mut other: Runs) {
        self.message_count += other.message_count;
        self.ends.append(&mut other.ends);
    }

    /// Takes the runs at or behind an id that no run reaches across.
    fn split_off(&mut self, from: u64) -> Runs {
        let behind = Runs::of(self.ends.split_off(&from));
        self.message_count -= behind.message_count;
        behind
    }

    /// The lowest run at or behind `from`.
    fn lowest(&self, from: u64) -> Option<(u64, u64)> {
        let (first, end) = self.ends.range(from..).next()?;
        Some((*first, *end))
    }

    /// Takes the ids below `until` of the run that begins at `first`.
    fn cut(&mut self, first: u64, until: u64, changes: &mut RowChanges) {
        if let Some(end) = self.remove(first) {
            changes.on_removal(first, true);
            if until < end {
                self.insert(until, end);
                changes.on_change(until);
            }
        }
    }

    /// Where the run ends that begins last below `id`.
    fn end_before(&self, id: u64) -> Option<u64> {
        let (_, end) = self.ends.range(..id).next_back()?;
        Some(*end)
    }
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Kept {
    held: Runs,
    returning: Runs,
    dropped: Runs,
    state: KeptState,
    changes: RowChanges,
}

impl Kept {
    pub(crate) fn new(state: KeptState) -> Self {
        Kept {
            held: Runs::default(),
            returning: Runs::default(),
            dropped: Runs::default(),
            state,
            changes: RowChanges::default(),
        }
    }

    pub(crate) fn state(&self) -> KeptState {
        self.state
    }

    /// Messages that are held, or that are coming back.
    pub(crate) fn message_count(&self) -> u64 {
        self.held.message_count + self.returning.message_count
    }

    pub(crate) fn run_count(&self) -> usize {
        self.held.ends.len() + self.returning.ends.len() + self.dropped.ends.len()
    }

    /// Holds the messages from `first` up to `end`; false when that would be a run too many.
    pub(crate) fn hold(&mut self, first: u64, end: u64) -> bool {
        let before = self.held.ends.range(..first).next_back();
        let before = before.filter(|(_, end)| **end == first).map(|it| *it.0);
        let after = self.held.ends.get(&end).copied();
        if before.is_none() && after.is_none() && self.run_count() >= KEPT_RUN_COUNT_MAX {
            return false;
        }
        if after.is_some() {
            self.held.remove(end);
            self.changes.on_removal(end, true);
        }
        let whole_first = before.unwrap_or(first);
        self.held.remove(whole_first);
        self.held.insert(whole_first, after.unwrap_or(end));
        self.changes.on_change(whole_first);
        true
    }

    /// The lowest held id from `from` up to `until`.
    pub(crate) fn lowest_held(&self, from: u64, until: u64) -> Option<u64> {
        let (first, _) = self.held.lowest(from)?;
        Some(first).filter(|first| *first < until)
    }

    /// Takes the ids below `until` of the held run that begins at `first`; says how many.
    pub(crate) fn let_go(&mut self, first: u64, until: u64) -> u64 {
        let end = self.held.ends.get(&first).copied().unwrap_or(first);
        let until = until.min(end);
        self.held.cut(first, until, &mut self.changes);
        until - first
    }

    /// Takes held messages from the ids `from` on, those without a delay and those with one, and
    /// gives the first id of the run that ends at `fresh_first`; the others are returning.
    pub(crate) fn rewind(
        &mut self,
        from: [u64; 2],
        fresh_first: u64,
        now: Timestamp,
    ) -> Option<u64> {
        let delayed = self.split_held(from[1]);
        let kept_delayed = self.held.split_off(MessageId::DELAYED_BIT);
        let mut returning = self.split_held(from[0]);
        self.held.append(kept_delayed);
        let last = returning.ends.last_key_value();
        let joined = last.filter(|(_, end)| **end == fresh_first);
        let joined = joined.map(|(first, _)| *first);
        if let Some(first) = joined {
            returning.remove(first);
            self.changes.on_removal(first, true);
        }
        returning.append(delayed);
        if !returning.ends.is_empty() {
            self.returning = returning;
            self.state.rewind = Some(Rewind {
                generation_first: self.state.dropped_below,
                generation_last: self.state.generation,
                from,
                at: now,
            });
            self.state.generation += 1;
        }
        joined
    }

    /// Takes the held runs from `from` on, and cuts the one that reaches across.
    fn split_held(&mut self, from: u64) -> Runs {
        let across = self.held.ends.range(..from).next_back();
        let across = across.filter(|(_, end)| **end > from);
        if let Some((&first, &end)) = across {
            self.held.ends.insert(first, from);
            self.held.ends.insert(from, end);
            self.changes.on_change(first);
            self.changes.on_change(from);
        }
        self.held.split_off(from)
    }

    /// The runs that are coming back, the lowest first.
    pub(crate) fn returning(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let runs = self.returning.ends.iter();
        runs.map(|(first, end)| (*first, *end))
    }

    /// Takes up to `count_max` messages side by side that are coming back.
    pub(crate) fn take_returning(&mut self, count_max: u64, now: Timestamp) -> Option<(u64, u64)> {
        let (first, end) = self.returning.lowest(0)?;
        let until = end.min(first + count_max);
        self.returning.cut(first, until, &mut self.changes);
        match (&mut self.state.rewind, self.returning.ends.is_empty()) {
            (Some(rewind), false) => rewind.at = now,
            (rewind, _) => *rewind = None,
        }
        Some((first, until))
    }

    /// Drops what is held; false when there was nothing.
    pub(crate) fn drop_held(&mut self) -> bool {
        let held = std::mem::take(&mut self.held);
        if held.ends.is_empty() {
            return false;
        }
        self.drop_runs(held);
        true
    }

    /// Drops what is held and what is coming back.
    pub(crate) fn drop_all(&mut self) {
        let returning = std::mem::take(&mut self.returning);
        if self.state.rewind.take().is_some() {
            self.drop_runs(returning);
        }
        self.drop_held();
    }

    fn drop_runs(&mut self, runs: Runs) {
        self.dropped.append(runs);
        self.state.generation += 1;
        self.state.dropped_below = self.state.generation;
    }

    pub(crate) fn has_dropped(&self) -> bool {
        !self.dropped.ends.is_empty()
    }

    /// Takes the lowest run that is dropped.
    pub(crate) fn take_dropped(&mut self) -> Option<(u64, u64)> {
        let (first, end) = self.dropped.lowest(0)?;
        self.dropped.cut(first, end, &mut self.changes);
        Some((first, end))
    }

    pub(crate) fn freeze(&mut self, mut each: impl FnMut(u64, Option<KeptRow>)) {
        let (changed, gone) = self.changes.take();
        gone.into_iter().for_each(|first| each(first, None));
        let rewound = self.state.rewind.map_or(0, |it| it.generation_last);
        let groups = [
            (&self.held, self.state.generation),
            (&self.returning, rewound),
            (&self.dropped, DROPPED),
        ];
        for first in changed {
            let row = groups.iter().find_map(|(runs, generation)| {
                let (end, generation) = (*runs.ends.get(&first)?, *generation);
                Some(KeptRow { end, generation })
            });
            each(first, row);
        }
    }

    pub(crate) fn row_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let groups = [&self.held, &self.returning, &self.dropped].into_iter();
        let here = groups.flat_map(|runs| runs.ends.keys().copied());
        here.chain(self.changes.gone())
    }

    /// Takes in the row of a run; `next` is the next id of its space.
    pub(crate) fn restore_row(
        &mut self,
        first: u64,
        row: &[u8],
        next: u64,
    ) -> Result<(), FieldError> {
        let KeptRow { end, generation } = KeptRow::decode(row)?;
        let runs = [&self.held, &self.returning, &self.dropped];
        let is_free = runs
            .iter()
            .all(|runs| runs.end_before(first).is_none_or(|before| before <= first));
        let is_known = generation <= self.state.generation;
        let has_room = self.run_count() < KEPT_RUN_COUNT_MAX + CUT_COUNT_MAX;
        if !(first < end && end <= next && is_free && is_known && has_room) {
            return Err(FieldError::Range);
        }
        let runs = match self.state.group_of(first, generation) {
            Group::Held => &mut self.held,
            Group::Returning => &mut self.returning,
            Group::Dropped => &mut self.dropped,
        };
        runs.insert(first, end);
        Ok(())
    }

    /// Whether a rewind under way has something left, and nothing comes back without one.
    pub(crate) fn is_whole(&self) -> bool {
        self.state.rewind.is_some() != self.returning.ends.is_empty()
    }
}
