//! What time does to a queue: messages expire, are given up, fall due, have rested, and lapse;
//! rewound ones come back; producers and keys are forgotten; what a purge left is cleared away.
//!
//! What is kept leaves before the marks that speak for it. Then expiry comes first, so that what
//! lapses or falls due at the same moment already knows how old is too old. Each step spends from a
//! common budget; what is left when it is used up stays due. Spec: spec/semantics.md, "Time".

use sampan_protocol::{MessageId, Timestamp};

use super::Queue;
use super::room::all_marks;
use super::trace::Removals;
use crate::effect::Effect;
use crate::leases::Lease;

impl Queue {
    pub(crate) fn run_due(&mut self, now: Timestamp, work: &mut u64, effects: &mut Vec<Effect>) {
        self.leave_window(now, work, effects);
        while self.expire_immediate(now, work, effects) {}
        while self.expire_grouped(now, work, effects) {}
        while self.expire_delayed(now, work, effects) {}
        self.age(now, work, effects);
        self.fall_due(now, work, effects);
        self.end_rests(now, work, effects);
        self.lapse(now, work, effects);
        self.bring_back(now, work, effects);
        self.clear_buried(now, work, effects);
        self.producers.sweep(now);
        self.keys.sweep(self.attributes.dedup_window_ms, now, work);
    }

    /// Expires the oldest mark of the messages without delay; false when none is due, or the
    /// budget is used up before its end.
    fn expire_immediate(
        &mut self,
        now: Timestamp,
        work: &mut u64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let expiry = self
            .immediate
            .marks
            .next_expiry(self.attributes.retention_ms);
        if *work == 0 || expiry.is_none_or(|at| at > now) {
            return false;
        }
        let end = self.immediate.marks.front_end(self.immediate.next);
        if !self.sweep_pages(self.immediate.base, end, work, effects) {
            return false;
        }
        if self.fresh_first < end {
            let first = MessageId(self.fresh_first);
            self.remove(first, end - first.0, effects);
            self.fresh_first = end;
        }
        self.immediate.marks.drop_front();
        *work = work.saturating_sub(1);
        true
    }

    /// The same for messages of groups.
    fn expire_grouped(
        &mut self,
        now: Timestamp,
        work: &mut u64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let expiry = self.grouped.marks.next_expiry(self.attributes.retention_ms);
        if *work == 0 || expiry.is_none_or(|at| at > now) {
            return false;
        }
        let end = self.grouped.marks.front_end(self.grouped.next);
        let marks = all_marks(&mut self.immediate, &mut self.grouped, &mut self.delayed);
        let mut removals = Removals::new(&mut self.trace, effects, self.id).with_shares(marks);
        let take = |id, _| removals.push(id);
        *work -= self.groups.take_lowest(end, *work, take);
        removals.finish();
        if *work == 0 {
            return false;
        }
        self.grouped.marks.drop_front();
        *work -= 1;
        true
    }

    /// The same for messages with a delay. Those that still wait are dropped when they fall due.
    fn expire_delayed(
        &mut self,
        now: Timestamp,
        work: &mut u64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let expiry = self.delayed.marks.next_expiry(self.attributes.retention_ms);
        if *work == 0 || expiry.is_none_or(|at| at > now) {
            return false;
        }
        let end = self.delayed.marks.front_end(self.delayed.next);
        if !self.sweep_pages(self.delayed.base, end, work, effects) {
            return false;
        }
        self.delayed.marks.drop_front();
        *work = work.saturating_sub(1);
        true
    }

    /// Removes what the pages hold from `base` up to `end`; false when the budget ended before.
    fn sweep_pages(
        &mut self,
        base: u64,
        end: u64,
        work: &mut u64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let marks = all_marks(&mut self.immediate, &mut self.grouped, &mut self.delayed);
        let mut removals = Removals::new(&mut self.trace, effects, self.id).with_shares(marks);
        while *work > 0 {
            let taken = self.pages.take_lowest(base, end, *work, |id, _| {
                removals.push(id);
            });
            if taken == 0 {
                removals.finish();
                return true;
            }
            *work -= taken;
        }
        removals.finish();
        false
    }

    fn fall_due(&mut self, now: Timestamp, work: &mut u64, effects: &mut Vec<Effect>) {
        let mut due = Vec::new();
        self.waiting
            .take_due(now, work, |id, _| due.push(MessageId(id)));
        for id in due {
            self.come_back(id, None, now, effects);
        }
    }

    fn lapse(&mut self, now: Timestamp, work: &mut u64, effects: &mut Vec<Effect>) {
        let mut lapsed: Vec<Lease> = Vec::new();
        self.leases
            .table
            .take_due(now, work, |_, slot| lapsed.push(slot.value));
        for lease in &lapsed {
            self.come_back_unhandled(lease, now, effects);
        }
    }
}
