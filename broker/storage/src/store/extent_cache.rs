//! The extents that were read last, so that draining a queue in small batches reads each once.
//!
//! Also remembers, for a bounded number of queues, where the last read ended: a read that goes on
//! there is a drain, and worth reading ahead for.
//!
//! Invariant: an extent is found by its place in the segment files, which is never given twice
//! while a store is open; so a cached one is never stale.

use std::collections::BTreeMap;

use sampan_protocol::QueueId;

use super::extent_entry::Place;
use super::lru::Lru;
use super::options::DRAIN_COUNT_MAX;
use super::segment_extent::Extent;

/// Extents by place, up to a number of bytes.
#[derive(Debug)]
pub(super) struct ExtentCache {
    extents: Lru<Place, Extent>,
    /// The id behind the last one that was read of a queue.
    ends: BTreeMap<QueueId, u64>,
}

impl ExtentCache {
    /// An empty cache for `len_max` bytes.
    pub(super) fn new(len_max: usize) -> Self {
        ExtentCache {
            extents: Lru::new(len_max),
            ends: BTreeMap::new(),
        }
    }

    /// The extent at `place`.
    pub(super) fn find(&mut self, place: &Place) -> Option<Extent> {
        self.extents.find(place).cloned()
    }

    /// Takes an extent in.
    pub(super) fn insert(&mut self, place: Place, extent: Extent) {
        let len = extent.len();
        self.extents.insert(place, extent, len);
    }

    /// Whether a read of `queue` from `first` on continues the one before; remembers that this one
    /// ends before `end`.
    pub(super) fn continues(&mut self, queue: QueueId, first: u64, end: u64) -> bool {
        if self.ends.len() >= DRAIN_COUNT_MAX && !self.ends.contains_key(&queue) {
            self.ends.clear();
        }
        self.ends.insert(queue, end) == Some(first)
    }
}
