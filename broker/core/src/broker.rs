//! The replicated state machine of one set: queues, and in set 0 the catalog.
//!
//! Same state, same entry: same replies and effects on every replica. Nothing here reads a clock,
//! draws a random number, waits, or depends on what is evicted: that only decides whether `apply`
//! first answers [`Need`], before it has changed anything.
//!
//! Deadlines are indexed twice: each queue knows its earliest, and the broker orders the queues by
//! it, so that an idle set with ten thousand queues costs one comparison per entry.
//!
//! Invariants: time never falls; `deadlines` has each queue's next deadline and nothing else;
//! every queue with evicted rows is in `evicted`. Spec: spec/semantics.md, "Time".

mod apply;
mod hold;
mod outcome;
mod peek;
mod residency;
mod restore;

use std::collections::{BTreeMap, BTreeSet};

use sampan_protocol::{DeathReason, MessageId, QueueAttributes, QueueCounts, QueueId, Timestamp};

pub(crate) use hold::Hold;
pub use peek::PeekError;
pub use restore::RestoreError;

use crate::catalog::Catalog;
use crate::frozen::{Frozen, FrozenRow, SetRow};
use crate::limits::RESIDENT_CHUNK_COUNT_MAX;
use crate::queue::{Queue, Redrive};
use crate::row_key::RowKey;
use crate::state_hash::StateHash;

/// The rows that an entry touches and that are not in memory. Nothing was changed: give each to
/// [`Broker::supply`], then apply the same entry again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need(pub Vec<RowKey>);

/// A message on its way to another queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Tells repeats apart.
    pub number: u64,
    /// The message in the queue that gave it up.
    pub id: MessageId,
    /// How often it was received there.
    pub receive_count: u32,
    /// Why it was given up; none of one that is redriven.
    pub reason: Option<DeathReason>,
    /// When it was given up.
    pub dead_at: Timestamp,
}

/// The state of one set.
#[derive(Debug)]
pub struct Broker {
    now: Timestamp,
    hash: StateHash,
    queues: BTreeMap<QueueId, Queue>,
    deadlines: BTreeSet<(Timestamp, QueueId)>,
    catalog: Catalog,
    catalog_changed: bool,
    /// Queues that changed since the last freeze.
    changed: Vec<QueueId>,
    /// Queues of the last freeze, while it is not durable.
    frozen: Vec<QueueId>,
    /// Rows of queues that were removed since the last freeze.
    gone: Vec<RowKey>,
    /// Queues that have rows which are not in memory.
    evicted: BTreeSet<QueueId>,
    /// Chunks of delayed messages that may be in memory, about.
    chunk_count_max: usize,
    /// Rows that were supplied since chunks were evicted last.
    supplied_count: usize,
    /// Queues that gained ready messages in the entry at hand.
    gained: Vec<QueueId>,
    /// Queues with messages on their way to another.
    mailing: BTreeSet<QueueId>,
    /// Queues with a redrive that goes on.
    redriving: BTreeSet<QueueId>,
    /// Whoever takes a backup.
    hold: Option<Hold>,
}

impl Default for Broker {
    fn default() -> Self {
        Broker::new()
    }
}

impl Broker {
    /// A set without a queue, at the beginning of time.
    pub fn new() -> Broker {
        Broker {
            now: Timestamp(0),
            hash: StateHash::default(),
            queues: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            catalog: Catalog::new(),
            catalog_changed: false,
            changed: Vec::new(),
            frozen: Vec::new(),
            gone: Vec::new(),
            evicted: BTreeSet::new(),
            chunk_count_max: RESIDENT_CHUNK_COUNT_MAX,
            supplied_count: 0,
            gained: Vec::new(),
            mailing: BTreeSet::new(),
            redriving: BTreeSet::new(),
            hold: None,
        }
    }

    /// The time of the set: that of the newest entry.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// One number for all that was ever applied: replicas that applied the same entries have the
    /// same one, or have parted ways.
    pub fn state_hash(&self) -> u64 {
        self.hash.value()
    }

    /// When an entry without commands has something to do, at the earliest. Lies in the past when
    /// an apply left work over, for the work of one entry is bounded.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// How many messages of a queue can be received now; 0 when it is paused, or not there.
    pub fn receivable_count(&self, queue: QueueId) -> u64 {
        self.queues.get(&queue).map_or(0, Queue::receivable_count)
    }

    /// How many ready messages of a queue a redrive without a filter moves.
    pub fn redrivable_count(&self, queue: QueueId) -> u64 {
        self.queues.get(&queue).map_or(0, Queue::groupless_count)
    }

    /// How many messages of a queue are in which state.
    pub fn counts(&self, queue: QueueId) -> Option<QueueCounts> {
        self.queues.get(&queue).map(Queue::counts)
    }

    /// The attributes of a queue as this set has them.
    pub fn attributes(&self, queue: QueueId) -> Option<&QueueAttributes> {
        self.queues.get(&queue).map(Queue::attributes)
    }

    /// The name of a queue as it was created.
    pub fn name(&self, queue: QueueId) -> Option<&str> {
        self.queues.get(&queue).map(Queue::name)
    }

    /// Every lane with messages on their way: from which queue to which.
    pub fn lanes(&self) -> impl Iterator<Item = (QueueId, QueueId)> + '_ {
        let sources = self.mailing.iter().filter_map(|id| self.queues.get(id));
        sources.flat_map(|queue| queue.targets().map(|target| (queue.id(), target)))
    }

    /// The first messages of a lane.
    pub fn letters(&self, source: QueueId, target: QueueId, count_max: usize) -> Vec<Outgoing> {
        let queue = self.queues.get(&source).into_iter();
        let letters = queue.flat_map(|queue| queue.letters(target, count_max));
        letters
            .map(|(number, dead_at, letter)| Outgoing {
                number,
                id: letter.id,
                receive_count: letter.receive_count,
                reason: letter.reason,
                dead_at,
            })
            .collect()
    }

    /// The newest redrive of a queue.
    pub fn redrive(&self, queue: QueueId) -> Option<&Redrive> {
        self.queues.get(&queue)?.redrive()
    }

    /// The ids of a queue that come next, without a delay and with one.
    pub fn ends(&self, queue: QueueId) -> Option<[MessageId; 2]> {
        self.queues.get(&queue).map(Queue::ends)
    }

    /// The queues with a redrive that goes on.
    pub fn redriving(&self) -> impl Iterator<Item = QueueId> + '_ {
        self.redriving.iter().copied()
    }

    /// The catalog; empty in every set but 0.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The queues of this set, by id.
    pub fn queues(&self) -> impl Iterator<Item = QueueId> + '_ {
        self.queues.keys().copied()
    }

    /// Takes along every row that changed since the last freeze. Clones references only.
    ///
    /// When the rows do not become durable, this broker must not be frozen again, but be restored
    /// from what is durable: what a lost freeze took along is not taken twice.
    pub fn freeze(&mut self) -> Frozen {
        let mut rows: Vec<(RowKey, FrozenRow)> = std::mem::take(&mut self.gone)
            .into_iter()
            .map(|key| (key, FrozenRow::Gone))
            .collect();
        let key = RowKey {
            queue: QueueId(0),
            kind: RowKey::SET,
            number: 0,
        };
        let set = SetRow {
            now: self.now,
            hash: self.hash.value(),
            hold: self.hold,
        };
        rows.push((key, FrozenRow::Set(set)));
        self.catalog.freeze(&mut rows);
        for id in std::mem::take(&mut self.changed) {
            // A queue that is gone again has its rows in `gone`.
            if let Some(queue) = self.queues.get_mut(&id)
                && std::mem::take(&mut queue.flags.changed)
            {
                queue.freeze(&mut rows);
                self.frozen.push(id);
            }
        }
        Frozen::new(rows)
    }

    #[cfg(test)]
    pub(crate) fn queue(&self, queue: QueueId) -> Option<&Queue> {
        self.queues.get(&queue)
    }
}

#[cfg(test)]
mod tests;
