//! Messages that nobody deleted in time go to the dead-letter queue.
//!
//! Age is told by the marks, as for retention, but no mark is dropped for it: `aged_below` of each
//! id space says up to where the sweep has come. Beginning anew is harmless, for a sweep takes what
//! is there; so a change of the attribute sets it back.
//!
//! What is delayed, rests or is in flight when its time comes goes when it would become ready.
//! When the outbox has no room, the sweep stands still and is not due.
//! Spec: spec/semantics.md, "Dead letters".

use sampan_protocol::{DeathReason, MessageId, Timestamp};

use super::{Queue, Space};
use crate::effect::Effect;

impl Space {
    /// Where the sweep goes on, and until where the messages there are of one mark; none when it
    /// has come to the end.
    fn next_to_age(&self) -> Option<(Timestamp, u64)> {
        let from = self.aged_below.max(self.marks.expired_below(self.next));
        if from >= self.next {
            return None;
        }
        let (last_sent_at, end) = self.marks.stretch(from)?;
        Some((last_sent_at, end.min(self.next)))
    }
}

impl Queue {
    fn dead_letter_after_ms(&self) -> Option<u64> {
        self.dead_letter_queue()?;
        Some(self.attributes.dead_letter_after_ms).filter(|after_ms| *after_ms > 0)
    }

    /// Whether a message that would become ready goes to the dead-letter queue for its age.
    pub(super) fn is_too_old(&self, id: MessageId, now: Timestamp) -> bool {
        let Some(after_ms) = self.dead_letter_after_ms() else {
            return false;
        };
        let space = self.space_of(id);
        let is_old = |(last_sent_at, _): (Timestamp, u64)| last_sent_at.after_ms(after_ms) <= now;
        self.outbox.room() > 0
            && (id.0 < space.aged_below || space.marks.stretch(id.0).is_some_and(is_old))
    }

    /// When the next messages are too old.
    pub(super) fn next_aging(&self) -> Option<Timestamp> {
        let after_ms = self.dead_letter_after_ms()?;
        if self.outbox.room() == 0 {
            return None;
        }
        let spaces = [&self.immediate, &self.delayed].into_iter();
        let next = spaces.filter_map(Space::next_to_age);
        next.map(|(last_sent_at, _)| last_sent_at.after_ms(after_ms))
            .min()
    }

    /// Ids of the space below this one are too old by `now`; its base when none is.
    pub(super) fn aging_until(&self, space: &Space, now: Timestamp) -> u64 {
        match self.dead_letter_after_ms() {
            None => space.base,
            Some(after_ms) => space.marks.end_of_expired(now, after_ms, space.next),
        }
    }

    /// Gives up what is too old.
    pub(super) fn age(&mut self, now: Timestamp, work: &mut u64, effects: &mut Vec<Effect>) {
        let Some(after_ms) = self.dead_letter_after_ms() else {
            return;
        };
        for is_delayed in [false, true] {
            while let Some((last_sent_at, end)) = self.space(is_delayed).next_to_age()
                && last_sent_at.after_ms(after_ms) <= now
                && self.bury_below(is_delayed, end, now, work, effects)
            {
                self.space_mut(is_delayed).aged_below = end;
                *work = work.saturating_sub(1);
            }
        }
    }

    pub(super) fn space(&self, is_delayed: bool) -> &Space {
        match is_delayed {
            true => &self.delayed,
            false => &self.immediate,
        }
    }

    fn space_mut(&mut self, is_delayed: bool) -> &mut Space {
        match is_delayed {
            true => &mut self.delayed,
            false => &mut self.immediate,
        }
    }

    /// Gives up what is ready below `end`; false when the budget or the outbox ended before.
    fn bury_below(
        &mut self,
        is_delayed: bool,
        end: u64,
        now: Timestamp,
        work: &mut u64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let base = self.space(is_delayed).base;
        loop {
            let count = (*work).min(self.outbox.room());
            if count == 0 {
                return false;
            }
            let fresh_end = if is_delayed { 0 } else { end };
            let taken = self.take_ready(base, end, fresh_end, count);
            if taken.is_empty() {
                return true;
            }
            *work -= taken.len() as u64;
            for (id, received) in taken {
                self.bury(id, received, DeathReason::Age, now, effects);
            }
        }
    }
}
