//! Where the entries of a set are: one extent per record, about forty bytes for all its entries.
//!
//! Invariants: extents are in order and without gaps, and so are the generations of their files.
//! Every entry of the set that is synced and neither purged nor cut off is in exactly one.

use std::collections::VecDeque;

/// Entries of one record in a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Index of its first entry.
    pub(super) first: u64,
    /// How many of its entries count; those after were cut off.
    pub(super) count: u32,
    /// How many entries the record has.
    pub(super) stored_count: u32,
    pub(super) generation: u64,
    /// Where the payload of the record is in its file.
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) crc: u32,
}

impl Extent {
    /// Index of its last entry that counts.
    pub(super) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }
}

/// The extents of a set.
#[derive(Clone, Debug, Default)]
pub(super) struct Extents {
    extents: VecDeque<Extent>,
}

impl Extents {
    pub(super) fn push(&mut self, extent: Extent) {
        self.extents.push_back(extent);
    }

    /// The extent that holds `index`.
    pub(super) fn find(&self, index: u64) -> Option<&Extent> {
        let place = self.extents.partition_point(|extent| extent.last() < index);
        self.extents
            .get(place)
            .filter(|extent| extent.first <= index)
    }

    pub(super) fn truncate_after(&mut self, index: Option<u64>) {
        while let Some(extent) = self.extents.back_mut() {
            match index {
                Some(index) if extent.first <= index => {
                    let keep = (index - extent.first).saturating_add(1);
                    extent.count =
                        u32::try_from(keep).map_or(extent.count, |keep| extent.count.min(keep));
                    return;
                }
                _ => self.extents.pop_back(),
            };
        }
    }

    pub(super) fn purge(&mut self, index: u64) {
        while self
            .extents
            .front()
            .is_some_and(|extent| extent.last() <= index)
        {
            self.extents.pop_front();
        }
    }

    /// The oldest file that holds an entry.
    pub(super) fn oldest_generation(&self) -> Option<u64> {
        self.extents.front().map(|extent| extent.generation)
    }

    /// The last index in the files up to `generation`.
    pub(super) fn last_index_in(&self, generation: u64) -> Option<u64> {
        let after = self
            .extents
            .partition_point(|extent| extent.generation <= generation);
        Some(self.extents.get(after.checked_sub(1)?)?.last())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(first: u64, count: u32, generation: u64) -> Extent {
        Extent {
            first,
            count,
            stored_count: count,
            generation,
            offset: 0,
            len: 0,
            crc: 0,
        }
    }

    fn extents() -> Extents {
        let mut extents = Extents::default();
        for (first, count, generation) in [(5, 3, 1), (8, 1, 1), (9, 10, 2)] {
            extents.push(extent(first, count, generation));
        }
        extents
    }

    #[test]
    fn each_entry_is_found_in_its_extent() {
        let extents = extents();
        for (index, first) in [(5, 5), (7, 5), (8, 8), (9, 9), (18, 9)] {
            assert_eq!(extents.find(index).unwrap().first, first);
        }
        assert!(extents.find(4).is_none());
        assert!(extents.find(19).is_none());
        assert_eq!(extents.last_index_in(1), Some(8));
        assert_eq!(extents.last_index_in(0), None);
    }

    #[test]
    fn cutting_off_and_purging_meet_in_the_middle() {
        let mut extents = extents();
        extents.truncate_after(Some(10));
        assert_eq!(extents.find(10).unwrap().count, 2);
        assert!(extents.find(11).is_none());
        extents.purge(9);
        assert_eq!(extents.oldest_generation(), Some(2));
        extents.truncate_after(None);
        assert_eq!(extents.oldest_generation(), None);
    }
}
