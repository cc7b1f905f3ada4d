//! A set of message ids, kept as merged ranges.
//!
//! Owns nothing but the ranges; whoever holds one says what its ids mean. Consumers delete nearly
//! in order, so a handful of ranges stands for any number of ids. A bitmap or a set of single ids
//! would cost memory by the message.
//!
//! Invariant: ranges are not empty, do not overlap and do not touch.

use std::collections::BTreeMap;
use std::ops::Range;

/// Sorted, merged ranges of ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RangeSet {
    /// Start to end (exclusive).
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds every id of `range`.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        if let Some((&before, &before_end)) = self.ranges.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
        }
        while let Some((&after, &after_end)) = self.ranges.range(start..=end).next() {
            end = end.max(after_end);
            self.ranges.remove(&after);
        }
        self.ranges.insert(start, end);
    }

    /// Whether `id` is in the set.
    pub(super) fn contains(&self, id: u64) -> bool {
        let before = self.ranges.range(..=id).next_back();
        before.is_some_and(|(_, &end)| id < end)
    }

    /// How many ranges there are.
    pub(super) fn count(&self) -> usize {
        self.ranges.len()
    }

    /// The ranges in ascending order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// The ranges that have an id in `within`, in ascending order.
    pub(super) fn overlapping(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let before = self.ranges.range(..within.start).next_back();
        let before = before.filter(|(_, end)| **end > within.start);
        let inside = self.ranges.range(within);
        before
            .into_iter()
            .chain(inside)
            .map(|(&start, &end)| start..end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut set = RangeSet::default();
        set.insert(1..3);
        set.insert(5..7);
        set.insert(3..5);
        assert_eq!(set.iter().collect::<Vec<_>>(), vec![1..7]);
        assert_eq!(set.count(), 1);
    }

    #[test]
    fn an_empty_range_adds_nothing() {
        let mut set = RangeSet::default();
        set.insert(4..4);
        assert_eq!(set.count(), 0);
    }

    proptest! {
        // Method: the same ranges into a plain set of ids; membership and gaps are compared.
        #[test]
        fn a_range_set_holds_what_a_plain_set_holds(
            ranges in prop::collection::vec((0u64..200, 0u64..20), 0..60),
            probe in (0u64..220, 0u64..40),
        ) {
            let mut set = RangeSet::default();
            let mut plain = BTreeSet::new();
            for (start, count) in ranges {
                set.insert(start..start + count);
                plain.extend(start..start + count);
            }
            for id in 0..230 {
                prop_assert_eq!(set.contains(id), plain.contains(&id));
            }
            let listed: Vec<_> = set.iter().collect();
            for pair in listed.windows(2) {
                prop_assert!(pair[0].end < pair[1].start);
            }
            let within = probe.0..probe.0 + probe.1;
            let expected: Vec<_> = listed
                .into_iter()
                .filter(|range| range.start < within.end && range.end > within.start)
                .collect();
            if !within.is_empty() {
                prop_assert_eq!(set.overlapping(within).collect::<Vec<_>>(), expected);
            }
        }
    }
}
