//! How much a queue holds, what has room in it, and what gives way when it is full.
//!
//! Bytes are counted by the shares that messages have of their marks. Every message that leaves the
//! queue passes here: one that is there takes its share along (`remove`, or `take_share` into a
//! letter), one that was kept takes it from what is kept. Only a purge does not take shares one by
//! one: with the marks it drops all of them.
//!
//! A queue that is to make room gives up its oldest ready messages in the order of receiving. What
//! that takes is found out before anything is changed: all or nothing.
//!
//! Invariant: without the outbox, as many messages have a share as the queue holds.
//! Spec: spec/semantics.md, "Bytes", "When a queue is full".

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use sampan_protocol::{DeathReason, ErrorCode, IdSpace, MessageId, Timestamp, WhenFull};

use super::Queue;
use super::send::Tally;
use super::spaces::Space;
use crate::effect::Effect;
use crate::limits::{GROUPED_COUNT_MAX, OVERFLOW_COUNT_MAX};
use crate::marks::Marks;
use crate::page::Received;
use crate::reply::Refusal;
use crate::share::Share;

/// A message that was ready and is no more.
type Taken = (MessageId, Option<Received>);

impl Queue {
    /// All messages, in whatever state, but those on their way to another queue.
    pub(super) fn here(&self) -> Share {
        let spaces = IdSpace::ALL.map(|space| self.space(space).marks.live());
        spaces.into_iter().fold(Share::default(), Share::plus)
    }

    /// All messages that are counted.
    pub(super) fn held(&self) -> Share {
        let moving = Share {
            count: self.outbox.count(),
            bytes: self.outbox.bytes(),
        };
        self.here().plus(moving)
    }

    /// What the limits look at.
    fn judged(&self) -> Share {
        match self.attributes.when_full {
            WhenFull::Refuse => self.held(),
            WhenFull::DropOldestToDeadLetter => self.here(),
        }
    }

    pub(super) fn marks_of(&mut self, id: MessageId) -> &mut Marks {
        &mut self.space_mut(id.space()).marks
    }

    /// A message is not in this queue's tables any more: what it takes along.
    pub(super) fn take_share(&mut self, id: MessageId) -> u64 {
        self.marks_of(id).take(id.0, 1).bytes
    }

    /// Messages are gone for good.
    pub(super) fn remove(&mut self, first: MessageId, count: u64, effects: &mut Vec<Effect>) {
        self.marks_of(first).take(first.0, count);
        self.trace.on_removed(effects, self.id, first, count);
    }

    /// Deleted messages that were kept are gone for good.
    pub(super) fn remove_kept(&mut self, first: MessageId, count: u64, effects: &mut Vec<Effect>) {
        // What was purged has no share any more.
        if first.0 >= self.purged.next_of(first) {
            self.marks_of(first).let_go(first.0, count);
        }
        self.trace.on_removed(effects, self.id, first, count);
    }

    /// Passes when the queue can hold so many more messages: how many others must be given up
    /// first.
    pub(super) fn check_room(&self, tally: Tally) -> Result<u64, Refusal> {
        let surplus = self.surplus(tally.total())?;
        let grouped = tally.grouped.count;
        if grouped > 0 && self.groups.count() + grouped > GROUPED_COUNT_MAX {
            let text = format!("a queue holds at most {GROUPED_COUNT_MAX} messages of groups");
            return Err(Refusal::with_text(ErrorCode::QueueFull, text));
        }
        let (delayed, delayed_max) = (tally.delayed.count, self.attributes.delayed_count_max);
        if delayed > 0 && delayed + self.delayed_count() > delayed_max {
            let text = format!("a queue holds at most {delayed_max} delayed messages");
            return Err(Refusal::with_text(ErrorCode::TooManyDelayed, text));
        }
        Ok(surplus)
    }

    /// How many messages must be given up before so many more are stored.
    pub(super) fn surplus(&self, more: Share) -> Result<u64, Refusal> {
        let limits = Share {
            count: self.attributes.message_count_max,
            bytes: self.attributes.byte_count_max,
        };
        let over = self.judged().plus(more).less(limits);
        if more.count == 0 || over == Share::default() {
            return Ok(0);
        }
        let limit = match over.count {
            0 => format!("{} bytes", limits.bytes),
            _ => format!("{} messages", limits.count),
        };
        let refused = |rest| {
            let text = format!("the queue holds at most {limit}{rest}");
            Refusal::with_text(ErrorCode::QueueFull, text)
        };
        if self.attributes.when_full == WhenFull::Refuse || self.dead_letter_queue().is_none() {
            return Err(refused(""));
        }
        let found = self.find_surplus(over);
        found.ok_or_else(|| refused(", and too few can be given up"))
    }

    /// How many of the oldest ready messages are so many messages and bytes; none when there are
    /// not enough, or they have no place in the outbox.
    fn find_surplus(&self, over: Share) -> Option<u64> {
        let most = self.ready_count().min(self.outbox.room());
        let most = most.min(OVERFLOW_COUNT_MAX);
        if over.count > most || over.bytes > self.here().bytes {
            return None;
        }
        if over.bytes == 0 {
            return Some(over.count);
        }
        let most = usize::try_from(most).ok()?;
        let mut shares: BTreeMap<u64, Share> = BTreeMap::new();
        let (mut count, mut bytes) = (0, 0);
        for id in self.ready_ids().take(most) {
            let (mark, live) = self.space_of(MessageId(id)).marks.live_of(id);
            bytes += shares.entry(mark).or_insert(live).take(1).bytes;
            count += 1;
            if count >= over.count && bytes >= over.bytes {
                return Some(count);
            }
        }
        None
    }

    /// Ready messages in the order of receiving, those of groups last and by their ids.
    fn ready_ids(&self) -> impl Iterator<Item = u64> + '_ {
        let fresh = self.fresh_first..self.immediate.next;
        let grouped = self.groups.ready_from(0).map(|(id, _)| id);
        self.pages.ready_ids().chain(fresh).chain(grouped)
    }

    /// Gives up the oldest ready messages; there are as many.
    pub(super) fn give_way(&mut self, surplus: u64, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut left = surplus;
        while left > 0 {
            let mut taken = self.take_ready(0, u64::MAX, self.immediate.next, left);
            if taken.is_empty() {
                taken = self.take_grouped(u64::MAX, left);
            }
            assert!(!taken.is_empty(), "they were counted before");
            left -= taken.len() as u64;
            for (id, received) in taken {
                self.bury(id, received, DeathReason::Overflow, now, effects);
            }
        }
    }

    /// Takes up to `count_max` ready messages from `from` on: those of the lowest page below `end`,
    /// or, when there are none, fresh ones below `fresh_end`.
    pub(super) fn take_ready(
        &mut self,
        from: u64,
        end: u64,
        fresh_end: u64,
        count_max: u64,
    ) -> Vec<Taken> {
        let mut taken: Vec<Taken> = Vec::new();
        self.pages
            .take_lowest(from, end, count_max, |id, received| {
                taken.push((id, received));
            });
        if taken.is_empty() {
            let until = fresh_end.min(self.fresh_first.saturating_add(count_max));
            let until = until.max(self.fresh_first);
            taken.extend((self.fresh_first..until).map(|id| (MessageId(id), None)));
            self.fresh_first = until;
        }
        taken
    }

    /// Takes up to `count_max` ready messages of groups below `end`, the lowest ids first.
    pub(super) fn take_grouped(&mut self, end: u64, count_max: u64) -> Vec<Taken> {
        let mut taken: Vec<Taken> = Vec::new();
        self.groups.take_lowest(end, count_max, |id, received| {
            taken.push((id, received));
        });
        taken
    }

    /// All that could still come back by a rewind, or is coming back.
    pub(super) fn returnable(&self) -> Share {
        self.immediate.marks.kept().plus(self.delayed.marks.kept())
    }

    /// Whether as many messages have a share as there are.
    pub(super) fn shares_fit(&self) -> bool {
        self.here().count == self.message_count() - self.outbox.count()
    }
}

/// The marks of all spaces in their order, for what borrows other parts of a queue.
pub(super) fn all_marks<'a>(
    immediate: &'a mut Space,
    grouped: &'a mut Space,
    delayed: &'a mut Space,
) -> [&'a mut Marks; 3] {
    [&mut immediate.marks, &mut grouped.marks, &mut delayed.marks]
}
