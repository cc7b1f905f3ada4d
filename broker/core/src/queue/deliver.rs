//! Taking messages that another queue gave up.
//!
//! Each source numbers its letters, and they come in that order; the highest number that was taken
//! is kept for each. So a repeat is never taken, however late it comes.
//!
//! What is taken is taken whatever its length: a queue that refused some letters for good would
//! have to remember which, for a repeat must not hear that they were taken. The only queue that
//! never takes a letter is one that is gone.
//!
//! Invariant: numbers of a source only rise. Spec: spec/semantics.md, "Dead letters".

use sampan_protocol::{ErrorCode, MessageBatch, QueueId, Timestamp};

use super::Queue;
use super::send::{Place, Tally};
use crate::effect::Effect;
use crate::fields::{FieldError, Fields};
use crate::limits::LANE_COUNT_MAX;
use crate::marks::class_of;
use crate::reply::Refusal;
use crate::row_changes::RowChanges;

const VERSION: u8 = 1;

/// The highest number taken of each source.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    highest: std::collections::BTreeMap<u64, u64>,
    changes: RowChanges,
}

impl Lanes {
    fn highest(&self, source: QueueId) -> u64 {
        self.highest.get(&source.0).copied().unwrap_or(0)
    }

    fn has_room_for(&self, source: QueueId) -> bool {
        self.highest.contains_key(&source.0) || self.highest.len() < LANE_COUNT_MAX
    }

    fn note(&mut self, source: QueueId, number: u64) {
        self.highest.insert(source.0, number);
        self.changes.on_change(source.0);
    }

    pub(super) fn freeze(&mut self, mut each: impl FnMut(u64, u64)) {
        let (changed, _) = self.changes.take();
        for source in changed {
            each(source, self.highest(QueueId(source)));
        }
    }

    pub(super) fn row_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.highest.keys().copied()
    }

    pub(super) fn restore_row(&mut self, source: u64, row: &[u8]) -> Result<(), FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let highest = fields.u64()?;
        fields.end()?;
        if highest == 0 || self.highest.len() >= LANE_COUNT_MAX {
            return Err(FieldError::Range);
        }
        self.highest.insert(source, highest);
        Ok(())
    }
}

/// The row of a lane.
pub(crate) fn encode_lane(highest: u64, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&highest.to_le_bytes());
}

/// One message of another queue as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The number of its letter there.
    pub number: u64,
    /// When it was sent first.
    pub sent_at: Timestamp,
}

impl Queue {
    /// Takes messages from `source`: all of those that are new, or none.
    pub(crate) fn deliver(
        &mut self,
        source: QueueId,
        arrivals: &[Arrival],
        batch: &MessageBatch,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let highest = self.lanes.highest(source);
        let is_new = |arrival: &&Arrival| arrival.number > highest;
        let messages = (0u16..).zip(batch.messages(0)).zip(arrivals);
        let mut new: Vec<(u16, Place, usize, Arrival)> = Vec::new();
        let mut tally = Tally::default();
        for ((index, (record, start)), arrival) in messages.filter(|(_, it)| is_new(it)) {
            let group = self.group_of(batch, &record, start);
            let place = group.map_or(Place::Fresh, Place::Group);
            tally.add(place, record.content_len());
            new.push((index, place, record.content_len(), *arrival));
        }
        let surplus = self.check_arrival(source, tally)?;
        self.give_way(surplus, now, effects);
        for (index, place, content_len, arrival) in new {
            let mut one = Tally::default();
            one.add(place, content_len);
            self.note_marks(one, class_of(content_len), now);
            self.take_in(index, place, arrival, batch, now, effects);
        }
        if let Some(last) = arrivals.last().filter(is_new) {
            self.lanes.note(source, last.number);
        }
        Ok(())
    }

    /// Passes when the messages can be taken: how many others must be given up first.
    fn check_arrival(&self, source: QueueId, tally: Tally) -> Result<u64, Refusal> {
        if tally == Tally::default() {
            return Ok(0);
        }
        if self.attributes.is_paused {
            let text = "a paused queue takes no messages of other queues".to_owned();
            return Err(Refusal::with_text(ErrorCode::QueueBusy, text));
        }
        let surplus = self.check_room(tally)?;
        if !self.lanes.has_room_for(source) {
            let text = format!("a queue takes messages of at most {LANE_COUNT_MAX} others");
            return Err(Refusal::with_text(ErrorCode::QueueFull, text));
        }
        Ok(surplus)
    }

    fn take_in(
        &mut self,
        index: u16,
        place: Place,
        arrival: Arrival,
        batch: &MessageBatch,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let first = self.give(place, now);
        self.trace.on_arrival(first, arrival.sent_at);
        effects.push(Effect::Stored {
            queue: self.id,
            first,
            index,
            count: 1,
            sent_at: arrival.sent_at,
            batch: batch.clone(),
        });
    }
}
