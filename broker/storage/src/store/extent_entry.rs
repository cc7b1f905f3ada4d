//! One row of the extent index: where an extent lies and which of its messages are alive.
//!
//! Owns the row's layout and the arithmetic of removing messages from it. The bitmap is over ids,
//! not over places, so that a removal never needs to read the segment.
//!
//! Invariants: at least one message is alive; the span of ids is at most `EXTENT_SPAN_MAX`;
//! without a bitmap every id of the span is a living message.
//! Spec: spec/storage.md, "The index file".

use std::ops::Range;

use bytes::{Buf, BufMut};
use sampan_protocol::QueueId;

use super::error::StoreError;
use super::options::{EXTENT_LEN_MAX, EXTENT_SPAN_MAX, INDEX_FILE};
use super::seal::{Table, seal, unseal};

/// Length of the key: queue and last id, big-endian so that rows sort by both.
pub(super) const EXTENT_KEY_LEN: usize = 16;
const FIXED_LEN: usize = 34;

/// The key of the extent of `queue` that ends with `last`.
pub(super) fn extent_key(queue: QueueId, last: u64) -> [u8; EXTENT_KEY_LEN] {
    let mut key = [0; EXTENT_KEY_LEN];
    key[..8].copy_from_slice(&queue.0.to_be_bytes());
    key[8..].copy_from_slice(&last.to_be_bytes());
    key
}

/// Queue and last id of a key.
pub(super) fn split_extent_key(mut key: &[u8]) -> (QueueId, u64) {
    (QueueId(key.get_u64()), key.get_u64())
}

/// Where something lies in the segment files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// An extent as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExtentEntry {
    pub(super) queue: QueueId,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) place: Place,
    /// Messages that lie in the extent.
    pub(super) count: u16,
    /// Messages of these that are alive.
    pub(super) alive_count: u16,
    /// One bit per id from `first` on; empty when all are alive.
    bitmap: Vec<u64>,
}

impl ExtentEntry {
    /// A fresh extent of the messages `ids`, ascending, all alive.
    pub(super) fn new(queue: QueueId, ids: &[u64], place: Place) -> Self {
        let (first, last) = (ids[0], ids[ids.len() - 1]);
        let count = u16::try_from(ids.len()).expect("an extent spans at most 4096 ids");
        let alive_count = count;
        let bitmap = Vec::new();
        let mut entry = ExtentEntry {
            queue,
            first,
            last,
            place,
            count,
            alive_count,
            bitmap,
        };
        if u64::from(count) != entry.span() {
            entry.bitmap = vec![0; entry.word_count()];
            for id in ids {
                let place = entry.bit(*id);
                entry.bitmap[place / 64] |= 1 << (place % 64);
            }
        }
        entry
    }

    fn span(&self) -> u64 {
        self.last - self.first + 1
    }

    fn word_count(&self) -> usize {
        usize::try_from(self.span().div_ceil(64)).expect("a span is at most 4096")
    }

    fn bit(&self, id: u64) -> usize {
        usize::try_from(id - self.first).expect("a span is at most 4096")
    }

    /// Whether the message is in the extent and alive.
    pub(super) fn is_alive(&self, id: u64) -> bool {
        if id < self.first || id > self.last {
            return false;
        }
        if self.bitmap.is_empty() {
            return true;
        }
        let place = self.bit(id);
        self.bitmap[place / 64] & (1 << (place % 64)) != 0
    }

    /// The living messages, ascending.
    pub(super) fn living(&self) -> impl Iterator<Item = u64> + '_ {
        (self.first..=self.last).filter(|id| self.is_alive(*id))
    }

    /// Takes out the messages of `ids`. Afterwards `alive_count` may be 0.
    pub(super) fn remove(&mut self, ids: &Range<u64>) {
        if ids.start <= self.first && ids.end > self.last {
            self.alive_count = 0;
            self.bitmap = vec![0; self.word_count()];
            return;
        }
        if self.bitmap.is_empty() {
            self.bitmap = vec![u64::MAX; self.word_count()];
            let rest = self.span() % 64;
            if rest != 0 {
                let last = self.word_count() - 1;
                self.bitmap[last] = (1 << rest) - 1;
            }
        }
        for id in ids.start.max(self.first)..ids.end.min(self.last + 1) {
            let place = self.bit(id);
            self.bitmap[place / 64] &= !(1 << (place % 64));
        }
        let alive_count: u32 = self.bitmap.iter().map(|word| word.count_ones()).sum();
        self.alive_count = u16::try_from(alive_count).expect("a span is at most 4096");
    }

    /// The bytes of the extent that count as alive.
    pub(super) fn live_len(&self) -> u64 {
        u64::from(self.place.len) * u64::from(self.alive_count) / u64::from(self.count)
    }

    /// The row's key.
    pub(super) fn key(&self) -> [u8; EXTENT_KEY_LEN] {
        extent_key(self.queue, self.last)
    }

    /// The row's sealed value.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + self.bitmap.len() * 8);
        out.put_u32_le(self.place.segment);
        out.put_u32_le(self.place.len);
        out.put_u64_le(self.place.offset);
        out.put_u64_le(self.first);
        out.put_u16_le(self.count);
        out.put_u16_le(self.alive_count);
        let words = u16::try_from(self.bitmap.len()).expect("a bitmap has at most 64 words");
        out.put_u16_le(words);
        out.put_u32_le(0);
        self.bitmap.iter().for_each(|word| out.put_u64_le(*word));
        seal(Table::Extents, &self.key(), &out)
    }

    /// The row under `key`, checked.
    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let content = unseal(Table::Extents, key, value)?;
        Self::decode_content(key, content)
            .ok_or_else(|| StoreError::damaged(INDEX_FILE, "an extent row contradicts itself"))
    }

    fn decode_content(key: &[u8], mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < FIXED_LEN {
            return None;
        }
        let (queue, last) = split_extent_key(key);
        let (segment, len) = (bytes.get_u32_le(), bytes.get_u32_le());
        let place = Place {
            segment,
            offset: bytes.get_u64_le(),
            len,
        };
        let first = bytes.get_u64_le();
        let (count, alive_count) = (bytes.get_u16_le(), bytes.get_u16_le());
        let words = usize::from(bytes.get_u16_le());
        bytes.advance(4);
        if bytes.len() != words * 8 {
            return None;
        }
        let bitmap = bytes
            .chunks_exact(8)
            .map(|mut word| word.get_u64_le())
            .collect();
        let entry = ExtentEntry {
            queue,
            first,
            last,
            place,
            count,
            alive_count,
            bitmap,
        };
        entry.is_sound().then_some(entry)
    }

    fn is_sound(&self) -> bool {
        let spans = self.first <= self.last && self.last - self.first < EXTENT_SPAN_MAX;
        if !spans || self.alive_count == 0 || self.alive_count > self.count {
            return false;
        }
        let alive = if self.bitmap.is_empty() {
            self.span()
        } else {
            self.bitmap
                .iter()
                .map(|word| u64::from(word.count_ones()))
                .sum()
        };
        let rest = self.span() % 64;
        let stray = rest != 0 && self.bitmap.last().is_some_and(|word| word >> rest != 0);
        alive == u64::from(self.alive_count)
            && u64::from(self.count) <= self.span()
            && (self.bitmap.is_empty() || self.bitmap.len() == self.word_count())
            && !stray
            && self.place.len as usize <= EXTENT_LEN_MAX
            && self
                .place
                .offset
                .checked_add(u64::from(self.place.len))
                .is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PLACE: Place = Place {
        segment: 3,
        offset: 64,
        len: 6_400,
    };

    #[test]
    fn a_row_that_contradicts_itself_is_damage() {
        let ids: Vec<u64> = (10..20).collect();
        let entry = ExtentEntry::new(QueueId(1), &ids, PLACE);
        for wrong in [
            ExtentEntry {
                first: 21,
                ..entry.clone()
            },
            ExtentEntry {
                alive_count: 0,
                ..entry.clone()
            },
            ExtentEntry {
                count: 11,
                ..entry.clone()
            },
            ExtentEntry {
                bitmap: vec![u64::MAX],
                ..entry.clone()
            },
            ExtentEntry {
                bitmap: vec![1, 2],
                ..entry.clone()
            },
            ExtentEntry {
                first: 0,
                last: 5_000,
                ..entry.clone()
            },
        ] {
            let value = wrong.encode();
            assert!(
                ExtentEntry::decode(&wrong.key(), &value).is_err(),
                "{wrong:?}"
            );
        }
    }

    proptest! {
        // Method: removals on an entry and on a plain set of ids, with a trip through the bytes.
        #[test]
        fn an_entry_says_of_every_id_whether_it_is_alive(
            offsets in prop::collection::btree_set(0u64..300, 1..200),
            removed in prop::collection::vec((0u64..320, 0u64..50), 0..8),
        ) {
            let ids: Vec<u64> = offsets.iter().map(|offset| 1_000 + offset).collect();
            let mut plain: BTreeSet<u64> = ids.iter().copied().collect();
            let mut entry = ExtentEntry::new(QueueId(9), &ids, PLACE);
            prop_assert_eq!(entry.live_len(), 6_400);
            for (start, count) in removed {
                entry.remove(&(1_000 + start..1_000 + start + count));
                plain.retain(|id| *id < 1_000 + start || *id >= 1_000 + start + count);
            }
            prop_assert_eq!(usize::from(entry.alive_count), plain.len());
            if !plain.is_empty() {
                let decoded = ExtentEntry::decode(&entry.key(), &entry.encode()).unwrap();
                prop_assert_eq!(&decoded, &entry);
                for id in 990..1_330 {
                    prop_assert_eq!(decoded.is_alive(id), plain.contains(&id));
                }
            }
        }
    }
}
