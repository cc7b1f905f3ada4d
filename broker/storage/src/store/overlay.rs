//! What changed since the last checkpoint, in memory, bodies included.
//!
//! Owns the extents of messages that were stored, and the removals that must reach the disk. A
//! message that is stored and removed between two checkpoints leaves nothing behind here, which in
//! a healthy queue is nearly all of them. Once frozen, an overlay never changes again: removals
//! that hit it are kept by the overlay that follows. Marking them in place would need a lock
//! between the set's core and the checkpointer.
//!
//! Invariants: extents of one id space lie in ascending order without overlap; an id at or above a
//! space's floor is here or nowhere, an id below it is older than this overlay.
//! Spec: spec/storage.md, "The queue store".

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use sampan_protocol::{IdSpace, MessageBatch, MessageId, QueueId, Timestamp};

use super::memory_extent::MemoryExtent;
use super::removals::Removals;

/// What one remembered range of removed ids adds to the length of the overlay.
const RANGE_LEN: u64 = 48;
/// Dead extents among living ones are tolerated up to this count, then up to half of all.
const DEAD_COUNT_MIN: usize = 64;

/// The extents of one id space of one queue.
#[derive(Debug, Default)]
struct Space {
    /// The first id that was stored since the overlay began.
    floor: Option<u64>,
    extents: VecDeque<MemoryExtent>,
    /// Dead extents that lie between living ones.
    dead_count: usize,
}

impl Space {
    fn push(&mut self, extent: MemoryExtent) {
        let ids = extent.ids();
        let end = self.extents.back().map_or(0, |last| last.ids().end);
        assert!(ids.start >= end, "message ids are given in ascending order");
        self.floor.get_or_insert(ids.start);
        self.extents.push_back(extent);
    }

    /// The extent that has `id`, dead or alive.
    fn holder(&self, id: u64) -> Option<&MemoryExtent> {
        let place = self.place(id);
        self.extents
            .get(place)
            .filter(|extent| extent.ids().contains(&id))
    }

    /// The place of the first extent that ends behind `id`.
    fn place(&self, id: u64) -> usize {
        if self
            .extents
            .front()
            .is_none_or(|front| id < front.ids().end)
        {
            return 0;
        }
        self.extents
            .partition_point(|extent| extent.ids().end <= id)
    }

    /// Kills the messages of `ids`; returns the length that this set free.
    fn kill(&mut self, ids: &Range<u64>) -> u64 {
        let mut freed = 0;
        let mut place = self.place(ids.start);
        while let Some(extent) = self.extents.get_mut(place) {
            if extent.ids().start >= ids.end {
                break;
            }
            if extent.kill(ids) {
                freed += extent.len();
                self.dead_count += 1;
            }
            place += 1;
        }
        self.drop_dead();
        freed
    }

    fn drop_dead(&mut self) {
        while self.extents.front().is_some_and(MemoryExtent::is_dead) {
            self.extents.pop_front();
            self.dead_count -= 1;
        }
        if self.dead_count > DEAD_COUNT_MIN.max(self.extents.len() / 2) {
            self.extents.retain(|extent| !extent.is_dead());
            self.dead_count = 0;
        }
    }

    fn len(&self) -> u64 {
        let living = self.extents.iter().filter(|extent| !extent.is_dead());
        living.map(MemoryExtent::len).sum()
    }
}

/// The id spaces of a queue.
#[derive(Debug, Default)]
struct QueueOverlay {
    plain: Space,
    grouped: Space,
    delayed: Space,
}

impl QueueOverlay {
    /// In the order of the ids.
    fn spaces(&self) -> impl Iterator<Item = &Space> {
        [&self.plain, &self.grouped, &self.delayed].into_iter()
    }

    fn space(&self, id: u64) -> &Space {
        match MessageId(id).space() {
            IdSpace::Immediate => &self.plain,
            IdSpace::Grouped => &self.grouped,
            IdSpace::Delayed => &self.delayed,
        }
    }

    fn space_mut(&mut self, id: u64) -> &mut Space {
        match MessageId(id).space() {
            IdSpace::Immediate => &mut self.plain,
            IdSpace::Grouped => &mut self.grouped,
            IdSpace::Delayed => &mut self.delayed,
        }
    }
}

/// Everything that happened to the messages of a set since a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    queues: BTreeMap<QueueId, QueueOverlay>,
    removals: Removals,
    range_count: i64,
    len: u64,
}

impl Overlay {
    /// Stores `count` messages from `first` on, from the `index`-th place of the batch.
    pub(super) fn insert(
        &mut self,
        queue: QueueId,
        first: MessageId,
        (index, count): (u16, u16),
        sent_at: Timestamp,
        batch: MessageBatch,
    ) {
        let extent = MemoryExtent::new(first, index, count, sent_at, batch);
        self.len += extent.len();
        self.queues
            .entry(queue)
            .or_default()
            .space_mut(first.0)
            .push(extent);
    }

    /// Removes `ids`, here or, at the next checkpoint, on disk.
    pub(super) fn remove(&mut self, queue: QueueId, ids: Range<u64>) {
        let mut floor = None;
        if let Some(overlay) = self.queues.get_mut(&queue) {
            let space = overlay.space_mut(ids.start);
            floor = space.floor;
            if floor.is_some_and(|floor| ids.end > floor) {
                self.len -= space.kill(&ids);
            }
        }
        let older = ids.start..ids.end.min(floor.unwrap_or(u64::MAX));
        if !older.is_empty() {
            self.range_count += self.removals.insert(queue, older);
        }
    }

    /// Removes a queue with all its messages.
    pub(super) fn remove_queue(&mut self, queue: QueueId) {
        if let Some(overlay) = self.queues.remove(&queue) {
            self.len -= overlay.spaces().map(Space::len).sum::<u64>();
        }
        let superfluous = self.removals.insert_queue(queue);
        self.range_count -= i64::try_from(superfluous).unwrap_or(i64::MAX);
    }

    /// The extent that has `id`, dead or alive.
    pub(super) fn holder(&self, queue: QueueId, id: u64) -> Option<&MemoryExtent> {
        self.queues.get(&queue)?.space(id).holder(id)
    }

    /// What must reach the disk as removed.
    pub(super) fn removals(&self) -> &Removals {
        &self.removals
    }

    /// Bytes of batches that are held, and of the ranges that are remembered.
    pub(super) fn len(&self) -> u64 {
        self.len + u64::try_from(self.range_count).unwrap_or(0) * RANGE_LEN
    }

    /// The extents with living messages, by queue and ascending id.
    pub(super) fn extents(&self) -> impl Iterator<Item = (QueueId, &MemoryExtent)> {
        self.queues.iter().flat_map(|(queue, overlay)| {
            let all = overlay.spaces().flat_map(|space| &space.extents);
            all.filter(|extent| !extent.is_dead())
                .map(|extent| (*queue, extent))
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sampan_protocol::{BatchBuilder, NewMessage};

    use super::*;

    const QUEUE: QueueId = QueueId(7);
    const AT: Timestamp = Timestamp(5);

    fn batch(count: usize) -> MessageBatch {
        let mut builder = BatchBuilder::new();
        for number in 0..count {
            let body = Bytes::from(format!("body {number}"));
            builder
                .push(NewMessage {
                    body,
                    ..NewMessage::default()
                })
                .unwrap();
        }
        builder.finish()
    }

    fn alive(overlay: &Overlay) -> Vec<u64> {
        let extents = overlay.extents();
        let messages = extents.flat_map(|(_, extent)| extent.messages(extent.ids().start));
        messages
            .filter_map(|(id, message)| message.map(|_| id.0))
            .collect()
    }

    #[test]
    fn an_extent_is_dropped_with_its_last_message() {
        let mut overlay = Overlay::default();
        overlay.insert(QUEUE, MessageId(1), (0, 3), AT, batch(3));
        assert!(overlay.len() > 0);
        overlay.remove(QUEUE, 2..3);
        assert_eq!(alive(&overlay), vec![1, 3]);
        overlay.remove(QUEUE, 1..2);
        overlay.remove(QUEUE, 3..4);
        assert_eq!(overlay.len(), 0);
        assert!(overlay.holder(QUEUE, 1).is_none());
    }

    #[test]
    fn only_ids_below_the_floor_are_remembered_as_removed() {
        let mut overlay = Overlay::default();
        overlay.insert(QUEUE, MessageId(10), (0, 2), AT, batch(2));
        overlay.remove(QUEUE, 8..12);
        assert_eq!(overlay.removals().ranges().count(), 1);
        assert!(overlay.removals().contains(QUEUE, MessageId(9)));
        assert!(!overlay.removals().contains(QUEUE, MessageId(10)));
        assert_eq!(alive(&overlay), Vec::<u64>::new());
    }

    #[test]
    fn dead_extents_between_living_ones_do_not_pile_up() {
        let mut overlay = Overlay::default();
        for id in 1..=10_000 {
            overlay.insert(QUEUE, MessageId(id), (0, 1), AT, batch(1));
        }
        for id in 2..10_000 {
            overlay.remove(QUEUE, id..id + 1);
        }
        assert_eq!(alive(&overlay), vec![1, 10_000]);
        assert!(overlay.queues[&QUEUE].plain.extents.len() <= 2 + DEAD_COUNT_MIN);
    }

    #[test]
    fn the_two_id_spaces_do_not_meet() {
        let mut overlay = Overlay::default();
        let delayed = MessageId(MessageId::DELAYED_BIT | 1);
        overlay.insert(QUEUE, delayed, (1, 1), AT, batch(2));
        overlay.insert(QUEUE, MessageId(1), (0, 1), AT, batch(2));
        overlay.remove(QUEUE, 1..2);
        assert_eq!(alive(&overlay), vec![delayed.0]);
        overlay.remove(QUEUE, delayed.0..delayed.0 + 1);
        assert_eq!(overlay.len(), 0);
    }

    #[test]
    fn a_batch_cut_into_many_extents_is_counted_once() {
        let mut overlay = Overlay::default();
        let batch = batch(200);
        for place in 0..200 {
            let id = MessageId(1 + u64::from(place));
            overlay.insert(QUEUE, id, (place, 1), AT, batch.clone());
        }
        assert!(overlay.len() <= batch.as_bytes().len() as u64);
    }

    #[test]
    fn a_removed_queue_frees_all_it_held() {
        let mut overlay = Overlay::default();
        overlay.insert(QUEUE, MessageId(5), (0, 2), AT, batch(2));
        overlay.remove(QUEUE, 1..2);
        overlay.remove_queue(QUEUE);
        assert_eq!(overlay.len(), 0);
        assert!(overlay.removals().contains(QUEUE, MessageId(77)));
    }
}
