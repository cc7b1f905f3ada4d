//! Purge: everything that was sent before is gone at once, and is cleared away bit by bit.
//!
//! The fresh range is two numbers. Whatever else there is, leases, delayed messages, rests, pages,
//! is **buried**: it moves whole out of the tables that receives, handles, time and counts look
//! at, into ones beside them. Due work then takes it out of there in bounded steps and tells of
//! each message, so that its body is freed. To remove it all in the command would hold the set up
//! for as long as a queue is big; to leave it in its tables with a watermark would put a
//! comparison into every look at them.
//!
//! Numbers of all kinds are given in order, so what is buried lies below those that were next
//! when the purge came. Only chunks and pages that hold such a number and will hold later ones
//! too are emptied at once: at most five chunks and two pages.
//!
//! Invariants: a row is buried if and only if all of its numbers lie below those of the last
//! purge; a buried message is told of exactly once. Spec: spec/semantics.md, "Purge".

use sampan_protocol::{IdSpace, MessageId, Timestamp};

use super::Queue;
use super::spaces::Space;
use super::trace::Removals;
use crate::chunk::CHUNK_COUNT;
use crate::effect::Effect;
use crate::limits::PAGE_COUNT;

/// What was next when the queue was purged last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purged {
    /// Ids without a delay.
    pub(crate) immediate: u64,
    /// Ids of groups.
    pub(crate) grouped: u64,
    /// Ids with one.
    pub(crate) delayed: u64,
    pub(crate) lease: u64,
    pub(crate) rest: u64,
    /// When it was purged or gave its kept messages up, or a part of that was cleared away last:
    /// the place in the order of due work, so that other queues have their turn in between.
    pub(crate) at: Timestamp,
}

impl Purged {
    /// Never.
    pub(super) fn new(immediate: &Space, grouped: &Space, delayed: &Space) -> Self {
        Purged {
            immediate: immediate.base + 1,
            grouped: grouped.base + 1,
            delayed: delayed.base + 1,
            lease: 1,
            rest: 1,
            at: Timestamp(0),
        }
    }

    /// The id that was next, of the space of `id`.
    pub(super) fn next_of(&self, id: MessageId) -> u64 {
        match id.space() {
            IdSpace::Immediate => self.immediate,
            IdSpace::Grouped => self.grouped,
            IdSpace::Delayed => self.delayed,
        }
    }

    /// Whether a page is buried.
    pub(super) fn covers_page(&self, page_number: u64) -> bool {
        let delayed_base = MessageId::DELAYED_BIT / PAGE_COUNT;
        let until = match page_number < delayed_base {
            true => self.immediate,
            false => self.delayed,
        };
        page_number < until / PAGE_COUNT
    }
}

/// Whether a chunk is buried, when `next` was the next number.
pub(super) fn covers_chunk(next: u64, chunk_number: u64) -> bool {
    chunk_number < next / CHUNK_COUNT
}

impl Queue {
    /// Removes every message; tells how many there were.
    pub(crate) fn purge(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> u64 {
        // What is on its way to another queue goes on.
        let count = self.message_count() - self.outbox.count();
        let fresh_count = self.fresh_count();
        if fresh_count > 0 {
            let first = MessageId(self.fresh_first);
            self.trace.on_removed(effects, self.id, first, fresh_count);
        }
        self.fresh_first = self.immediate.next;
        let mut removals = Removals::new(&mut self.trace, effects, self.id);
        for next in [self.immediate.next, self.delayed.next] {
            let first = next / PAGE_COUNT * PAGE_COUNT;
            self.pages
                .take_lowest(first, next, PAGE_COUNT, |id, _| removals.push(id));
        }
        self.pages.bury();
        let (lease, rest) = (self.leases.next, self.resting.next);
        self.waiting
            .bury(self.delayed.next, |id, _| removals.push(MessageId(id)));
        self.resting
            .table
            .bury(rest, |_, slot| removals.push(slot.value.id));
        self.leases
            .table
            .bury(lease, |_, slot| removals.push(slot.value.id));
        self.groups
            .bury(self.grouped.next, |id| removals.push(MessageId(id)));
        removals.finish();
        self.kept.drop_all();
        self.immediate.marks.clear();
        self.grouped.marks.clear();
        self.delayed.marks.clear();
        self.purged = Purged {
            immediate: self.immediate.next,
            grouped: self.grouped.next,
            delayed: self.delayed.next,
            lease,
            rest,
            at: now,
        };
        count
    }

    /// When buried messages are to be cleared away: at once, if there are any.
    pub(super) fn clearing_at(&self) -> Option<Timestamp> {
        let has_buried = self.pages.has_buried()
            || self.waiting.has_buried()
            || self.resting.table.has_buried()
            || self.leases.table.has_buried()
            || self.groups.has_buried()
            || self.kept.has_dropped();
        has_buried.then_some(self.purged.at)
    }

    /// Clears buried messages away until `work` is used up.
    pub(super) fn clear_buried(
        &mut self,
        now: Timestamp,
        work: &mut u64,
        effects: &mut Vec<Effect>,
    ) {
        if *work == 0 || self.clearing_at().is_none() {
            return;
        }
        let mut removals = Removals::new(&mut self.trace, effects, self.id);
        self.pages.take_buried(work, |id| removals.push(id));
        self.waiting
            .take_buried(work, |id, _| removals.push(MessageId(id)));
        self.resting
            .table
            .take_buried(work, |_, slot| removals.push(slot.value.id));
        self.leases
            .table
            .take_buried(work, |_, slot| removals.push(slot.value.id));
        self.groups
            .take_buried(work, |id| removals.push(MessageId(id)));
        removals.finish();
        while *work > 0
            && let Some((first, end)) = self.kept.take_dropped()
        {
            let first_id = MessageId(first);
            self.remove_kept(first_id, end - first, effects);
            *work -= 1;
        }
        self.purged.at = now;
    }
}
