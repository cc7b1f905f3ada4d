//! Messages that nobody deleted in time go to the dead-letter queue.
//!
//! Age is told by the marks, as for retention, but no mark is dropped for it: `aged_below` of each
//! id space says up to where the sweep has come. Beginning anew is harmless, for a sweep takes what
//! is there; so a change of the attribute sets it back.
//!
//! What is delayed, rests or is in flight when its time comes goes when it would become ready.
//! When the outbox has no room, the sweep stands still and is not due.
//! Spec: spec/semantics.md, "Dead letters".

use sampan_protocol::{DeathReason, IdSpace, MessageId, Timestamp};

use super::Queue;
use super::spaces::Space;
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
        let spaces = IdSpace::ALL.into_iter().map(|space| self.space(space));
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
        for space in IdSpace::ALL {
            while let Some((last_sent_at, end)) = self.space(space).next_to_age()
                && last_sent_at.after_ms(after_ms) <= now
                && self.bury_below(space, end, now, work, effects)
            {
                self.space_mut(space).aged_below = end;
                *work = work.saturating_sub(1);
            }
        }
    }

    /// Gives up what is ready below `end`; false when the budget or the outbox ended before.
    fn bury_below(
        &mut self,
        space: IdSpace,
        end: u64,
        now: Timestamp,
        work: &mut u64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let base = space.base();
        loop {
            let count = (*work).min(self.outbox.room());
            if count == 0 {
                return false;
            }
            let taken = match space {
                IdSpace::Immediate => self.take_ready(base, end, end, count),
                IdSpace::Delayed => self.take_ready(base, end, 0, count),
                IdSpace::Grouped => self.take_grouped(end, count),
            };
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
