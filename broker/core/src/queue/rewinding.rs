//! Rewind: what was deleted a while ago is ready again, as if it had never been received.
//!
//! A queue with a rewind window keeps what is deleted, body and all, until its age passes the
//! window. What is kept is told as runs of ids: consumers delete nearly in order, so there are a
//! handful of them, whatever their length.
//!
//! A rewind takes whole marks. The run that ends where the fresh range begins joins it: two
//! numbers, even with millions of messages. The others come back into the pages one by one, as due
//! work of the following entries, for the pages they belong on may not be in memory.
//!
//! Age is told by the marks, as for retention: a message leaves no earlier than the window says.
//! It does so before its mark can expire, for the window is never longer than the retention.
//!
//! Invariant: what is kept is in none of the tables of living messages, and the marks cover it.
//! Spec: spec/semantics.md, "Rewind"; spec/state.md, "Kept messages".

mod kept;
#[cfg(test)]
mod tests;

pub(crate) use kept::{Kept, KeptRow, KeptState};

use sampan_protocol::{ErrorCode, HandleResults, Handles, IdSpace, MessageId, Timestamp};

use super::Queue;
use super::spaces::Space;
use crate::effect::Effect;
use crate::limits::{DUE_WORK_MAX, PAGE_COUNT};
use crate::reply::Refusal;

impl Queue {
    /// How old a deleted message may be and still come back.
    fn rewind_window_ms(&self) -> u64 {
        self.attributes.rewind_ms.min(self.attributes.retention_ms)
    }

    /// Deletes messages and keeps them.
    pub(super) fn delete_and_keep(
        &mut self,
        handles: &Handles,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> HandleResults {
        let (mut failures, mut ids) = (Vec::new(), Vec::with_capacity(handles.len()));
        self.leases.for_each(
            handles,
            now,
            |chunk, offset, slot| {
                chunk.take(offset);
                ids.push(slot.value.id.0);
            },
            |place, code| failures.push((place, code)),
        );
        ids.sort_unstable();
        for run in ids.chunk_by(|id, next| id + 1 == *next) {
            self.keep(run[0], run[0] + run.len() as u64, now, effects);
        }
        ids.into_iter().for_each(|id| self.let_go(MessageId(id)));
        HandleResults { failures }
    }

    /// Keeps the deleted messages from `first` up to `end`, but for those that are too old, and
    /// unless they would be a run too many.
    fn keep(&mut self, first: u64, end: u64, now: Timestamp, effects: &mut Vec<Effect>) {
        let window_ms = self.rewind_window_ms();
        let space = self.space_of(MessageId(first));
        let kept_from = space.marks.end_of_expired(now, window_ms, space.next);
        let kept_from = kept_from.clamp(first, end);
        // Those of groups are of a time before the queue kept anything.
        let may_keep = kept_from < end && !MessageId(first).is_grouped();
        let kept_from = match may_keep && self.kept.hold(kept_from, end) {
            true => kept_from,
            false => end,
        };
        if first < kept_from {
            self.remove(MessageId(first), kept_from - first, effects);
        }
        if kept_from < end {
            let (first, count) = (MessageId(kept_from), end - kept_from);
            self.marks_of(first).keep(first.0, count);
            self.trace.on_kept(first, count);
        }
    }

    /// Makes ready again what was sent at or after `to` and is kept; says how many messages.
    pub(crate) fn rewind(&mut self, to: Timestamp, now: Timestamp) -> Result<u64, Refusal> {
        self.check_rewind(to, now)?;
        let first_id = |space: &Space| space.marks.first_sent_from(to, space.next);
        let from = [first_id(&self.immediate), first_id(&self.delayed)];
        let count_before = self.kept.message_count();
        let mut count = 0;
        if let Some(first) = self.kept.rewind(from, self.fresh_first, now) {
            count = count_before - self.kept.message_count();
            self.immediate.marks.bring_back(first, count);
            self.trace.on_rewound(MessageId(first), count);
            self.fresh_first = first;
            self.flags.gained = true;
        }
        // What comes back may be too old for the sweep that has passed it.
        for (space, from) in [&mut self.immediate, &mut self.delayed]
            .into_iter()
            .zip(from)
        {
            space.aged_below = space.aged_below.min(from);
        }
        let returning = self.kept.returning().map(|(first, end)| end - first);
        Ok(count + returning.sum::<u64>())
    }

    /// Whether messages of a rewind are coming back.
    pub(super) fn is_rewinding(&self) -> bool {
        self.kept.state().rewind.is_some()
    }

    fn check_rewind(&self, to: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        let window_ms = self.rewind_window_ms();
        let refused = |text| Err(Refusal::with_text(ErrorCode::RewindOutOfRange, text));
        if window_ms == 0 {
            return refused("the queue keeps no deleted messages: its rewind_ms is 0".to_owned());
        }
        let earliest = now.0.saturating_sub(window_ms);
        if !(earliest..=now.0).contains(&to.0) {
            let (to, now) = (to.0, now.0);
            return refused(format!(
                "a rewind to {to} is outside {earliest} to {now} (ms since 1970): the queue keeps \
                 deleted messages for {window_ms} ms"
            ));
        }
        if self.is_rewinding() {
            let text = "messages of the rewind before are still coming back".to_owned();
            return Err(Refusal::with_text(ErrorCode::QueueBusy, text));
        }
        Ok(())
    }

    /// Gives up what is kept when the queue is to keep nothing.
    pub(super) fn stop_keeping(&mut self, now: Timestamp) {
        if self.kept.drop_held() {
            self.purged.at = now;
        }
    }

    /// When something kept is to go, or to come back.
    pub(super) fn next_of_kept(&self) -> Option<Timestamp> {
        let leaving = [&self.immediate, &self.delayed].into_iter();
        let leaving = leaving.filter_map(|space| Some(self.next_to_leave(space)?.1));
        let returning = self.kept.state().rewind.map(|rewind| rewind.at);
        leaving.chain(returning).min()
    }

    /// The first id that is kept of a space, when it is too old, and where the messages that are
    /// then too old end.
    fn next_to_leave(&self, space: &Space) -> Option<(u64, Timestamp, u64)> {
        let first = self.kept.lowest_held(space.base, space.next)?;
        let (last_sent_at, end) = space.marks.stretch(first)?;
        let at = last_sent_at.after_ms(self.rewind_window_ms());
        Some((first, at, end.min(space.next)))
    }

    /// Lets go what is too old. Each run, or part of one, is a piece of work.
    pub(super) fn leave_window(
        &mut self,
        now: Timestamp,
        work: &mut u64,
        effects: &mut Vec<Effect>,
    ) {
        for space in [IdSpace::Immediate, IdSpace::Delayed] {
            while *work > 0
                && let Some((first, at, end)) = self.next_to_leave(self.space(space))
                && at <= now
            {
                let count = self.kept.let_go(first, end);
                self.remove_kept(MessageId(first), count, effects);
                *work -= 1;
            }
        }
    }

    /// Makes ready what a rewind brings back.
    pub(super) fn bring_back(&mut self, now: Timestamp, work: &mut u64, effects: &mut Vec<Effect>) {
        while *work > 0
            && let Some((first, end)) = self.kept.take_returning(*work, now)
        {
            *work -= end - first;
            self.marks_of(MessageId(first))
                .bring_back(first, end - first);
            for id in first..end {
                self.come_back(MessageId(id), None, now, effects);
            }
        }
    }

    /// The pages of what due work could bring back.
    pub(super) fn pages_of_returning(&self) -> impl Iterator<Item = u64> + '_ {
        let mut left = DUE_WORK_MAX;
        let runs = self.kept.returning().map_while(move |(first, end)| {
            let count = left.min(end - first);
            left -= count;
            (count > 0).then_some((first, first + count))
        });
        runs.flat_map(|(first, end)| first / PAGE_COUNT..=(end - 1) / PAGE_COUNT)
    }
}
