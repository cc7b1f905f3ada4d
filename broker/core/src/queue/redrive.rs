//! Messages of a queue go back to where they came from: one job at a time.
//!
//! The job is replicated, who drives it is not: the leader looks at the ready messages behind the
//! cursor, in the order of their ids, finds a target for each, and proposes steps. A step moves
//! the cursor and makes letters of the messages that are still ready; from there on the outbox has
//! them. So a step that comes twice, or of a leader that was replaced, changes nothing: its cursor
//! is not ahead.
//!
//! Fresh messages up to the cursor that stay lie in the pages afterwards: a range with holes would
//! not be two numbers. It is done step by step, for a filter that finds its first message behind
//! millions must not cost one entry all of them.
//!
//! Invariants: the cursor only rises; every ready message that was there when the job began and is
//! not past the cursor has still to be looked at. Spec: spec/semantics.md, "Redrive".

use std::sync::Arc;

use sampan_protocol::{ErrorCode, MessageId, QueueId, RedriveFilter, RedriveState, Timestamp};

use super::outbox::Letter;
use super::{Fate, Queue};
use crate::command::{put_order, take_order};
use crate::effect::Effect;
use crate::fields::{FieldError, Fields};
use crate::limits::{OUTBOX_COUNT_MAX, REDRIVE_SPAN_MAX};
use crate::reply::Refusal;

const VERSION: u8 = 1;

/// What a redrive is asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedriveOrder {
    /// The queue that gets all messages; none: each goes to the one that it came from.
    pub target: Option<QueueId>,
    /// Its name, for people; empty without one.
    pub target_name: String,
    /// Which messages move.
    pub filter: RedriveFilter,
    /// At most so many a second; 0: as fast as it goes.
    pub rate: u32,
}

/// One step of a redrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedriveStep {
    /// The job.
    pub job: u64,
    /// The last message that was looked at.
    pub cursor: MessageId,
    /// Messages that move and their targets, ids ascending; at most 256.
    pub picks: Vec<(MessageId, QueueId)>,
    /// Messages looked at that stay.
    pub skipped: u32,
    /// Nothing is left behind the cursor.
    pub is_last: bool,
}

/// The newest redrive of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// Its number among those of its queue, from 1.
    pub job: u64,
    /// What it is to do.
    pub order: RedriveOrder,
    /// Whether it goes on.
    pub state: RedriveState,
    /// The last message that was looked at; at first 0.
    pub cursor: MessageId,
    /// The ids of both kinds that were next when it began: it goes up to these.
    pub ends: [MessageId; 2],
    /// Messages looked at.
    pub looked: u64,
    /// Messages that became letters.
    pub moved: u64,
    /// Messages that stay.
    pub skipped: u64,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ended; 0 while it goes on.
    pub ended_at: Timestamp,
}

impl Redrive {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        let numbers = [
            self.job,
            self.cursor.0,
            self.ends[0].0,
            self.ends[1].0,
            self.looked,
            self.moved,
            self.skipped,
            self.begun_at.0,
            self.ended_at.0,
        ];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.push(self.state.number());
        put_order(&self.order, out);
    }

    fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let job = fields.u64()?;
        let cursor = MessageId(fields.u64()?);
        let ends = [MessageId(fields.u64()?), MessageId(fields.u64()?)];
        let (looked, moved, skipped) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let (begun_at, ended_at) = (fields.timestamp()?, fields.timestamp()?);
        let state = RedriveState::from_number(fields.u8()?).ok_or(FieldError::Range)?;
        let order = take_order(&mut fields)?;
        fields.end()?;
        if job == 0 || cursor.0 >= 1 << 63 {
            return Err(FieldError::Range);
        }
        Ok(Redrive {
            job,
            order,
            state,
            cursor,
            ends,
            looked,
            moved,
            skipped,
            begun_at,
            ended_at,
        })
    }
}

/// The newest job of a queue, and whether a freeze has seen it as it is.
#[derive(Debug, Default)]
pub(super) struct Redrives {
    newest: Option<Arc<Redrive>>,
    changed: bool,
}

impl Redrives {
    pub(super) fn newest(&self) -> Option<&Redrive> {
        self.newest.as_deref()
    }

    /// Whether the job speaks of ids that were given, when these are next.
    pub(super) fn fits(&self, next: [u64; 2]) -> bool {
        let ends = self
            .newest()
            .map_or([0; 2], |newest| newest.ends.map(|end| end.0));
        ends[0] <= next[0] && ends[1] <= next[1]
    }

    fn running_mut(&mut self) -> Option<&mut Redrive> {
        let newest = self.newest.as_mut();
        let running = newest.filter(|newest| newest.state == RedriveState::Running)?;
        self.changed = true;
        Some(Arc::make_mut(running))
    }

    /// The newest job, when it changed since the last freeze.
    pub(super) fn freeze(&mut self) -> Option<Arc<Redrive>> {
        let changed = std::mem::take(&mut self.changed);
        self.newest.clone().filter(|_| changed)
    }

    pub(super) fn restore_row(&mut self, number: u64, row: &[u8]) -> Result<(), FieldError> {
        if number != 0 {
            return Err(FieldError::Range);
        }
        self.newest = Some(Arc::new(Redrive::decode(row)?));
        Ok(())
    }
}

impl Queue {
    /// The newest redrive.
    pub(crate) fn redrive(&self) -> Option<&Redrive> {
        self.redrives.newest()
    }

    /// Whether a redrive goes on.
    pub(crate) fn is_redriving(&self) -> bool {
        self.redrive()
            .is_some_and(|newest| newest.state == RedriveState::Running)
    }

    /// The ids that come next, without a delay and with one.
    pub(crate) fn ends(&self) -> [MessageId; 2] {
        [self.immediate.next, self.delayed.next].map(MessageId)
    }

    pub(crate) fn redrive_begin(
        &mut self,
        order: &RedriveOrder,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<u64, Refusal> {
        if self.is_redriving() {
            return Err(ErrorCode::RedriveRunning.into());
        }
        if order.target == Some(self.id) {
            let text = "a queue is not redriven to itself".to_owned();
            return Err(Refusal::with_text(ErrorCode::InvalidDeadLetterQueue, text));
        }
        let job = self.redrive().map_or(1, |newest| newest.job + 1);
        self.redrives.changed = true;
        self.redrives.newest = Some(Arc::new(Redrive {
            job,
            order: order.clone(),
            state: RedriveState::Running,
            cursor: MessageId(0),
            ends: self.ends(),
            looked: 0,
            moved: 0,
            skipped: 0,
            begun_at: now,
            ended_at: Timestamp(0),
        }));
        effects.push(Effect::Redrive { queue: self.id });
        Ok(job)
    }

    /// Ends the job that goes on, if there is one; tells of the newest.
    pub(crate) fn redrive_cancel(&mut self, now: Timestamp) -> Result<&Redrive, Refusal> {
        if let Some(running) = self.redrives.running_mut() {
            running.state = RedriveState::Cancelled;
            running.ended_at = now;
        }
        self.redrive().ok_or(ErrorCode::NoRedrive.into())
    }

    /// Carries out a step that is ahead of the job; any other changes nothing.
    pub(crate) fn redrive_step(
        &mut self,
        step: &RedriveStep,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let is_ahead = |running: &Redrive| running.job == step.job && running.cursor < step.cursor;
        if !self.is_redriving() || !self.redrive().is_some_and(is_ahead) {
            return Ok(());
        }
        let count = step.picks.len() as u64;
        if self.outbox.room() < count {
            let text = format!("at most {OUTBOX_COUNT_MAX} messages of a queue are on their way");
            return Err(Refusal::with_text(ErrorCode::QueueBusy, text));
        }
        let moved = self.pick(step, now, effects);
        self.trace.on_number(self.fresh_first);
        if let Some(running) = self.redrives.running_mut() {
            running.cursor = step.cursor;
            running.looked += count + u64::from(step.skipped);
            running.skipped += u64::from(step.skipped);
            running.moved += moved;
            if step.is_last {
                running.state = RedriveState::Done;
                running.ended_at = now;
            }
        }
        Ok(())
    }

    /// Makes letters of those messages of a step that are still ready; tells how many.
    fn pick(&mut self, step: &RedriveStep, now: Timestamp, effects: &mut Vec<Effect>) -> u64 {
        self.open_fresh_range(step.cursor);
        let mut moved = 0;
        for (id, target) in &step.picks {
            let Some(received) = self.pages.take(*id) else {
                continue;
            };
            moved += 1;
            let letter = Letter {
                id: *id,
                target: *target,
                receive_count: received.map_or(0, |received| received.receive_count),
                reason: None,
                bytes: self.take_share(*id),
            };
            self.address(letter, now, effects);
        }
        moved
    }

    /// What was fresh up to the cursor lies in pages from then on: as much as the leader looked at
    /// for the step, for what lies before was laid there by the steps before. Should it be more
    /// than a step may cost, it stays fresh, and is passed over.
    fn open_fresh_range(&mut self, cursor: MessageId) {
        let (first, until) = (self.fresh_first, self.redrive_fresh_until(cursor));
        if first < until && until - first <= REDRIVE_SPAN_MAX {
            (first..until).for_each(|id| self.pages.put(MessageId(id), None));
            self.fresh_first = until;
        }
    }

    /// Where the fresh messages end that a step with this cursor has looked at.
    fn redrive_fresh_until(&self, cursor: MessageId) -> u64 {
        let end = self.redrive().map_or(0, |newest| newest.ends[0].0);
        cursor.0.saturating_add(1).min(end)
    }

    /// The ids whose pages a step touches; see `needs`.
    pub(super) fn touched_by_step<'a>(
        &'a self,
        step: &'a RedriveStep,
    ) -> impl Iterator<Item = u64> + 'a {
        // What is next by then may be more, on pages that are not there yet.
        let ends = [
            self.redrive_fresh_until(step.cursor),
            step.cursor.0.saturating_add(1).min(self.immediate.next),
        ];
        let spans = ends.into_iter().flat_map(|end| {
            let last = end.saturating_sub(1);
            [end, last, last.saturating_sub(REDRIVE_SPAN_MAX)]
        });
        spans.chain(step.picks.iter().map(|(id, _)| id.0))
    }

    /// The messages that come back by these fates, for the pages that they touch.
    pub(super) fn coming_back<'a>(
        &'a self,
        fates: &'a [(u64, Fate)],
    ) -> impl Iterator<Item = MessageId> + 'a {
        let undeliverable = fates
            .iter()
            .filter(|(_, fate)| *fate == Fate::Undeliverable);
        let letters = undeliverable.filter_map(|(number, _)| self.outbox.table.peek(*number));
        letters
            .filter(|slot| slot.value.reason.is_none())
            .map(|slot| slot.value.id)
    }

    /// A redriven message whose target is gone is ready again, as if it had never been received;
    /// or gone, when its queue was purged meanwhile.
    pub(super) fn come_home(&mut self, id: MessageId, now: Timestamp, effects: &mut Vec<Effect>) {
        // What a purge found has no mark any more, and counts as expired.
        self.come_back(id, None, now, effects);
    }
}
