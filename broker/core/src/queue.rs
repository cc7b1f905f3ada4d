//! One queue: which message is in which state.
//!
//! Messages that were never handed out and have no delay are one range of ids, so a backlog of any
//! length is two numbers. Whatever came back or fell due lies in pages, what is in flight in
//! leases, what is delayed in a table of its own, of which only what is due soon need be in memory
//! (`timed`), what is ready of groups in theirs. Bodies are elsewhere.
//!
//! Ids without a delay, ids with one, and those of groups are three spaces, each given in order;
//! what goes by id (marks, expiry, aging) works on all of them alike.
//!
//! Invariants: a message is in exactly one of fresh range, pages, ready of groups, leases, delayed,
//! resting, outbox, kept; what was sent and is in none of them is gone: deleted, expired, purged,
//! in another queue.
//! Spec: spec/semantics.md, "Life of a message".

mod aging;
mod deduplication;
mod deliver;
mod due;
mod groups;
mod handles;
mod needs;
mod outbox;
mod peek;
mod producers;
mod purge;
mod receive;
mod receive_groups;
mod redrive;
mod resting;
mod rewinding;
mod room;
mod rows;
mod schedule;
mod send;
mod send_keyed;
mod spaces;
mod trace;

pub(crate) use deduplication::KeyChunk;
pub use deliver::Arrival;
pub(crate) use deliver::encode_lane;
pub(crate) use groups::GroupChunk;
pub(crate) use needs::Needs;
pub use outbox::Fate;
pub(crate) use outbox::Letter;
pub(crate) use peek::{Look, LookRows};
pub use peek::{Peek, Peeked};
pub(crate) use producers::{Producer, encode_reply};
pub use redrive::{Redrive, RedriveOrder, RedriveStep};
pub(crate) use rewinding::KeptRow;
pub(crate) use rows::{
    QueueRow, decode_attributes, decode_changes, encode_attributes, encode_changes,
};

use sampan_protocol::{GroupMode, IdSpace, QueueAttributes, QueueCounts, QueueId, Timestamp};

use crate::chunk::Value;
use crate::effect::Effect;
use crate::fields::{FieldError, Fields};
use crate::leases::Leases;
use crate::pages::Pages;
use crate::row_key::RowKey;
use crate::timed::Timed;
use deduplication::Keys;
use deliver::Lanes;
use groups::Groups;
use outbox::Outbox;
use producers::Producers;
use purge::Purged;
use redrive::Redrives;
use resting::Resting;
use rewinding::{Kept, KeptState};
use spaces::Space;
use trace::Trace;

#[derive(Debug)]
pub(crate) struct Queue {
    id: QueueId,
    name: String,
    attributes: QueueAttributes,
    immediate: Space,
    grouped: Space,
    delayed: Space,
    /// The first id that was never handed out; up to `immediate.next`.
    fresh_first: u64,
    pages: Pages,
    leases: Leases,
    /// Delayed messages and when they fall due.
    waiting: Timed<Delayed>,
    /// Messages of groups.
    groups: Groups,
    /// Messages that came back unhandled and wait to be ready.
    resting: Resting,
    /// Messages on their way to another queue.
    outbox: Outbox,
    /// What came from other queues.
    lanes: Lanes,
    producers: Producers,
    keys: Keys,
    /// Messages that were deleted and may come back.
    kept: Kept,
    purged: Purged,
    redrives: Redrives,
    /// What the command at hand has done, for the state hash.
    trace: Trace,
    pub(crate) flags: Flags,
}

/// What the broker keeps with each queue for its own lists.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// Its element in the broker's deadlines.
    pub(crate) indexed: Option<Timestamp>,
    /// It changed since the last freeze, and is listed.
    pub(crate) changed: bool,
    /// It gained ready messages since that was last announced.
    pub(crate) gained: bool,
    /// It is listed for the announcement.
    pub(crate) listed: bool,
    /// It is listed among the queues with letters.
    pub(crate) mailing: bool,
    /// It is listed among the queues with a redrive that goes on.
    pub(crate) redriving: bool,
}

/// A delayed message has nothing but its instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delayed;

impl Value for Delayed {
    const HAS_DIRECTORY: bool = true;

    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut Fields<'_>) -> Result<Self, FieldError> {
        Ok(Delayed)
    }
}

impl Queue {
    pub(crate) fn new(id: QueueId, name: String, attributes: QueueAttributes, secret: u64) -> Self {
        let [immediate, grouped, delayed] = IdSpace::ALL.map(Space::empty);
        Queue {
            id,
            name,
            attributes,
            purged: Purged::new(&immediate, &grouped, &delayed),
            immediate,
            grouped,
            delayed,
            fresh_first: 1,
            pages: Pages::default(),
            leases: Leases::new(secret, 1),
            waiting: Timed::new(),
            groups: Groups::new(attributes.groups == GroupMode::Ordered, [1; 2], false),
            resting: Resting::new(1),
            outbox: Outbox::new(1),
            lanes: Lanes::default(),
            producers: Producers::new(1, Timestamp(0), Timestamp(0)),
            keys: Keys::new(0, 0),
            redrives: Redrives::default(),
            kept: Kept::new(KeptState::new()),
            trace: Trace::default(),
            flags: Flags::default(),
        }
    }

    pub(crate) fn id(&self) -> QueueId {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn attributes(&self) -> &QueueAttributes {
        &self.attributes
    }

    pub(crate) fn set_attributes(
        &mut self,
        attributes: QueueAttributes,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        // What a pause held back can be received now.
        self.flags.gained |= self.attributes.is_paused && !attributes.is_paused;
        if self.attributes.dead_letter_after_ms != attributes.dead_letter_after_ms {
            for space in IdSpace::ALL {
                let space = self.space_mut(space);
                space.aged_below = space.base;
            }
        }
        let is_ordered = attributes.groups == GroupMode::Ordered;
        self.in_groups(|groups| groups.set_ordered(is_ordered));
        // What either window has forgotten by now is not known again when the window grows.
        self.keys.forget(self.attributes.dedup_window_ms, now);
        self.attributes = attributes;
        self.keys.forget(self.attributes.dedup_window_ms, now);
        if self.attributes.rewind_ms == 0 {
            self.stop_keeping(now);
        }
        self.readdress(effects);
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    pub(crate) fn pages_mut(&mut self) -> &mut Pages {
        &mut self.pages
    }

    /// The delayed messages that were not sent back.
    pub(crate) fn waiting(&self) -> &Timed<Delayed> {
        &self.waiting
    }

    pub(crate) fn waiting_mut(&mut self) -> &mut Timed<Delayed> {
        &mut self.waiting
    }

    /// Whether a part of it is not in memory.
    pub(crate) fn has_evicted(&self) -> bool {
        self.pages.evicted_count() > 0 || self.waiting.evicted_count() > 0
    }

    /// The last freeze is durable.
    pub(crate) fn on_checkpoint(&mut self) {
        self.pages.on_checkpoint();
        self.waiting.on_checkpoint();
    }

    /// Takes in the row of a page or chunk that is not in memory.
    pub(crate) fn supply(&mut self, key: RowKey, row: &[u8]) -> Result<(), FieldError> {
        match key.kind {
            RowKey::PAGE => self.pages.supply(key.number, row),
            RowKey::DELAYED => self.waiting.supply(key.number, row, self.delayed.next),
            other => Err(FieldError::Kind(other)),
        }
    }

    /// Hash of what happened since it was asked for last, if anything did.
    pub(crate) fn take_trace(&mut self) -> Option<u64> {
        self.trace.take()
    }

    fn fresh_count(&self) -> u64 {
        self.immediate.next - self.fresh_first
    }

    /// Lets `work` change the groups; more that a receive could get is a gain.
    fn in_groups<R>(&mut self, work: impl FnOnce(&mut Groups) -> R) -> R {
        let before = self.groups.receivable_count();
        let result = work(&mut self.groups);
        self.flags.gained |= self.groups.receivable_count() > before;
        result
    }

    /// Messages in no group that are ready, whether or not the queue is paused: those that a
    /// redrive looks at.
    pub(crate) fn groupless_count(&self) -> u64 {
        self.fresh_count() + self.pages.ready_count()
    }

    /// Messages that are ready, whether or not the queue is paused, or their group locked.
    fn ready_count(&self) -> u64 {
        self.groupless_count() + self.groups.ready_count()
    }

    /// Messages that a receive could be given.
    pub(crate) fn receivable_count(&self) -> u64 {
        match self.attributes.is_paused {
            true => 0,
            false => self.groupless_count() + self.groups.receivable_count(),
        }
    }

    fn delayed_count(&self) -> u64 {
        self.waiting.live_count() + self.resting.table.live_count()
    }

    fn message_count(&self) -> u64 {
        self.ready_count() + self.delayed_count() + self.leases.count() + self.outbox.count()
    }

    pub(crate) fn counts(&self) -> QueueCounts {
        // Of delayed messages every deadline is exact.
        let (due, rested) = (self.waiting.next_deadline(), self.resting.table.earliest());
        QueueCounts {
            ready: self.ready_count(),
            delayed: self.delayed_count(),
            in_flight: self.leases.count(),
            oldest_at: self.oldest_at(),
            due_at: due.into_iter().chain(rested).min(),
            visible_at: self.leases.table.earliest(),
            moving: self.outbox.count() - self.outbox.undeliverable_count(),
            undeliverable: self.outbox.undeliverable_count(),
            rewindable: self.kept.message_count(),
            bytes: self.held().bytes,
            locked: self.groups.locked_count(),
        }
    }

    /// When the oldest ready message was sent, as exactly as the marks tell.
    fn oldest_at(&self) -> Option<Timestamp> {
        let fresh = (self.fresh_count() > 0).then_some(self.fresh_first);
        let back = self
            .pages
            .lowest_from(0)
            .filter(|id| *id < self.delayed.base);
        let due = self.pages.lowest_from(self.delayed.base);
        let immediate = fresh.into_iter().chain(back).min();
        let immediate = immediate.and_then(|id| self.immediate.marks.sent_at(id));
        let due = due.and_then(|id| self.delayed.marks.sent_at(id));
        let grouped = self.groups.first_ready();
        let grouped = grouped.and_then(|id| self.grouped.marks.sent_at(id));
        [immediate, due, grouped].into_iter().flatten().min()
    }

    /// The instant before which nothing is due.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let retention_ms = self.attributes.retention_ms;
        let expiry = |space: &Space| space.marks.next_expiry(retention_ms);
        [
            self.leases.table.next_deadline(),
            self.waiting.next_deadline(),
            self.resting.table.next_deadline(),
            expiry(&self.immediate),
            expiry(&self.grouped),
            expiry(&self.delayed),
            self.next_aging(),
            self.producers.next_sweep(),
            self.keys.next_deadline(self.attributes.dedup_window_ms),
            self.clearing_at(),
            self.next_of_kept(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Numbers of things that cost memory, for tests that it stays bounded.
    #[cfg(test)]
    pub(crate) fn held_count(&self) -> usize {
        self.pages.resident_count()
            + self.leases.table.chunk_count()
            + self.waiting.resident_count()
            + self.resting.table.chunk_count()
            + self.outbox.table.chunk_count()
            + self.groups.chunk_count()
            + self.immediate.marks.count()
            + self.grouped.marks.count()
            + self.delayed.marks.count()
            + self.keys.chunk_count()
            + self.kept.run_count()
    }
}
