//! What each segment file holds: how long it is as of the last checkpoint and how much of it is
//! alive.
//!
//! Owns the decision which segments can go and which are worth rewriting. Plain values: a
//! checkpoint works on a copy and puts it in place when it has committed.
//!
//! Invariants: `live_len` is the sum over the index rows that name the segment; a segment that is
//! dead stays listed until its file is known to be gone, so that a crash between commit and unlink
//! leaves no file without an owner.
//! Spec: spec/storage.md, "Segment files".

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut};

use super::error::StoreError;
use super::extent_entry::ExtentEntry;
use super::options::{INDEX_FILE, SPARSE_DIVISOR, SPARSE_LEN_MIN_DIVISOR};
use super::seal::{Table, seal, unseal};

/// One segment file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentAccount {
    /// Bytes that belong to a checkpoint; the file may be longer by a leftover.
    pub(super) len: u64,
    /// Bytes of living messages, each extent's share rounded down.
    pub(super) live_len: u64,
    /// Extents with at least one living message.
    pub(super) extent_count: u64,
}

impl SegmentAccount {
    /// Whether nothing in it is alive.
    pub(super) fn is_dead(&self) -> bool {
        self.extent_count == 0
    }

    /// Whether so little of it is alive that it is worth copying out.
    fn is_sparse(&self) -> bool {
        self.live_len < self.len / SPARSE_DIVISOR
    }

    /// The row's sealed value.
    pub(super) fn encode(&self, number: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.put_u64_le(self.len);
        out.put_u64_le(self.live_len);
        out.put_u64_le(self.extent_count);
        seal(Table::Segments, &number.to_be_bytes(), &out)
    }

    /// The row of a segment, checked.
    pub(super) fn decode(number: u32, value: &[u8]) -> Result<Self, StoreError> {
        let mut content = unseal(Table::Segments, &number.to_be_bytes(), value)?;
        if content.len() != 24 {
            return Err(StoreError::damaged(
                INDEX_FILE,
                "a segment row has a wrong length",
            ));
        }
        let (len, live_len) = (content.get_u64_le(), content.get_u64_le());
        Ok(SegmentAccount {
            len,
            live_len,
            extent_count: content.get_u64_le(),
        })
    }
}

/// All segment files of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentAccounts {
    segments: BTreeMap<u32, SegmentAccount>,
    /// The segment that can be appended to; none after a start.
    pub(super) newest: Option<u32>,
    /// The number of the next segment.
    pub(super) next: u32,
}

impl SegmentAccounts {
    /// The accounts as the index has them.
    pub(super) fn restore(segments: BTreeMap<u32, SegmentAccount>, next: u32) -> Self {
        SegmentAccounts {
            segments,
            newest: None,
            next,
        }
    }

    /// Every segment, dead ones included.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, SegmentAccount)> + '_ {
        self.segments
            .iter()
            .map(|(number, account)| (*number, *account))
    }

    /// One segment.
    pub(super) fn account(&self, number: u32) -> Option<SegmentAccount> {
        self.segments.get(&number).copied()
    }

    /// A new segment with the next number, which it returns.
    pub(super) fn begin_segment(&mut self, len: u64) -> u32 {
        let number = self.next;
        self.next += 1;
        self.newest = Some(number);
        self.segments.insert(
            number,
            SegmentAccount {
                len,
                ..SegmentAccount::default()
            },
        );
        number
    }

    /// The length of a segment after an append.
    pub(super) fn set_len(&mut self, number: u32, len: u64) {
        self.segments.entry(number).or_default().len = len;
    }

    /// An index row came in.
    pub(super) fn add(&mut self, entry: &ExtentEntry) {
        let account = self.segments.entry(entry.place.segment).or_default();
        account.live_len += entry.live_len();
        account.extent_count += 1;
    }

    /// An index row went out.
    pub(super) fn subtract(&mut self, entry: &ExtentEntry) {
        let account = self.segments.entry(entry.place.segment).or_default();
        account.live_len = account.live_len.saturating_sub(entry.live_len());
        account.extent_count = account.extent_count.saturating_sub(1);
    }

    /// Ends the newest segment when nothing in it is alive.
    pub(super) fn seal_if_dead(&mut self) {
        self.newest.take_if(|number| {
            self.segments
                .get(number)
                .is_some_and(SegmentAccount::is_dead)
        });
    }

    /// Ends the newest segment when so little of so much is alive that it is worth copying out.
    pub(super) fn seal_if_sparse(&mut self, segment_len_max: u64) {
        let len_min = segment_len_max / SPARSE_LEN_MIN_DIVISOR;
        let is_over = |own: &SegmentAccount| own.len >= len_min && own.is_sparse();
        self.newest
            .take_if(|number| self.segments.get(number).is_some_and(is_over));
    }

    /// Sealed segments in which nothing is alive.
    pub(super) fn dead(&self) -> Vec<u32> {
        let sealed = self
            .segments
            .iter()
            .filter(|(number, _)| Some(**number) != self.newest);
        sealed
            .filter(|(_, account)| account.is_dead())
            .map(|(number, _)| *number)
            .collect()
    }

    /// Sealed segments of which so little is alive that it is worth copying out, oldest first, but
    /// for `left_out`.
    pub(super) fn sparse(&self, count_max: usize, left_out: &BTreeSet<u32>) -> Vec<u32> {
        let sealed = self
            .segments
            .iter()
            .filter(|(number, _)| Some(**number) != self.newest);
        sealed
            .filter(|(_, account)| !account.is_dead())
            .filter(|(_, account)| account.is_sparse())
            .map(|(number, _)| *number)
            .filter(|number| !left_out.contains(number))
            .take(count_max)
            .collect()
    }

    /// Strikes a segment whose file is gone.
    pub(super) fn strike(&mut self, number: u32) {
        self.segments.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use sampan_protocol::QueueId;

    use super::super::extent_entry::Place;
    use super::*;

    fn entry(segment: u32, len: u32) -> ExtentEntry {
        ExtentEntry::new(
            QueueId(1),
            &[1, 2, 3, 4],
            Place {
                segment,
                offset: 64,
                len,
            },
        )
    }

    #[test]
    fn a_sealed_segment_below_a_tenth_is_sparse_and_one_without_extents_is_dead() {
        let mut accounts = SegmentAccounts::restore(BTreeMap::new(), 1);
        let none = BTreeSet::new();
        let first = accounts.begin_segment(10_000);
        accounts.add(&entry(first, 900));
        assert!(
            accounts.sparse(9, &none).is_empty(),
            "the newest segment is not rewritten"
        );
        let second = accounts.begin_segment(10_000);
        accounts.add(&entry(second, 9_000));
        assert_eq!(accounts.sparse(9, &none), vec![first]);
        assert!(accounts.sparse(9, &BTreeSet::from([first])).is_empty());
        accounts.subtract(&entry(first, 900));
        assert_eq!(accounts.dead(), vec![first]);
        assert!(accounts.sparse(9, &none).is_empty());
        accounts.subtract(&entry(second, 9_000));
        accounts.seal_if_dead();
        assert_eq!(accounts.dead(), vec![first, second]);
        accounts.strike(first);
        assert_eq!(accounts.account(first), None);
    }

    #[test]
    fn the_newest_segment_ends_when_it_is_long_and_a_tenth_of_it_is_not_alive() {
        let newest = |len, live_len| {
            let mut accounts = SegmentAccounts::restore(BTreeMap::new(), 1);
            let number = accounts.begin_segment(len);
            accounts.add(&entry(number, live_len));
            accounts.seal_if_sparse(320_000);
            accounts.newest
        };
        assert_eq!(newest(10_000, 900), None);
        assert_eq!(newest(10_000, 1_100), Some(1));
        assert_eq!(newest(9_000, 800), Some(1));
    }

    #[test]
    fn an_account_comes_back_as_it_went_in() {
        let account = SegmentAccount {
            len: 1,
            live_len: 2,
            extent_count: 3,
        };
        assert_eq!(
            SegmentAccount::decode(7, &account.encode(7)).unwrap(),
            account
        );
        assert!(SegmentAccount::decode(8, &account.encode(7)).is_err());
    }
}
