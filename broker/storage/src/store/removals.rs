//! What was removed since the last checkpoint and may still lie on disk.
//!
//! Owns the ids of single messages, as ranges per queue, and the queues that are gone whole. The
//! checkpointer applies them to the index; until then they hide what the frozen overlay and the
//! disk still hold.
//!
//! Invariant: a queue that is gone has no ranges.
//! Spec: spec/storage.md, "The queue store".

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use sampan_protocol::{MessageId, QueueId};

use super::ranges::RangeSet;

/// Removed messages and queues.
#[derive(Clone, Debug, Default)]
pub(super) struct Removals {
    ranges: BTreeMap<QueueId, RangeSet>,
    queues: BTreeSet<QueueId>,
}

impl Removals {
    /// Remembers that the messages `ids` of `queue` are gone. Returns by how many ranges the
    /// memory grew (less than nothing when ranges merged).
    pub(super) fn insert(&mut self, queue: QueueId, ids: Range<u64>) -> i64 {
        if ids.is_empty() || self.queues.contains(&queue) {
            return 0;
        }
        let set = self.ranges.entry(queue).or_default();
        let before = signed(set.count());
        set.insert(ids);
        signed(set.count()) - before
    }

    /// Remembers that the whole queue is gone. Returns how many ranges that made superfluous.
    pub(super) fn insert_queue(&mut self, queue: QueueId) -> usize {
        self.queues.insert(queue);
        self.ranges.remove(&queue).map_or(0, |set| set.count())
    }

    /// Whether the message is gone, alone or with its queue.
    pub(super) fn contains(&self, queue: QueueId, id: MessageId) -> bool {
        self.queues.contains(&queue)
            || self
                .ranges
                .get(&queue)
                .is_some_and(|set| set.contains(id.0))
    }

    /// The ranges of every queue.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (QueueId, &RangeSet)> {
        self.ranges.iter().map(|(queue, set)| (*queue, set))
    }

    /// The queues that are gone.
    pub(super) fn queues(&self) -> impl Iterator<Item = QueueId> + '_ {
        self.queues.iter().copied()
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
