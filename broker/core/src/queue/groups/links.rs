//! Where the next message of a group is: at a message, the distance from its id to the next one's.
//!
//! Kept by chunks of 64 ids beside the tables and not in them: a send sets the link of a message
//! that was stored long ago, and that must not copy a chunk that a freeze shares. A message
//! without a link costs nothing here, one with four bytes and its part of the chunk's 60.
//!
//! Invariant: no chunk is empty.

use std::collections::BTreeMap;

use super::chunk::{give_back_room, place_of};

/// The links of one chunk.
#[derive(Debug, Default)]
struct Distances {
    /// Bit n: the id at place n has one.
    linked: u64,
    /// One per bit, in order.
    values: Vec<u32>,
}

impl Distances {
    fn place(&self, offset: u8) -> Result<usize, usize> {
        let place = (self.linked & ((1 << offset) - 1)).count_ones() as usize;
        match self.linked >> offset & 1 {
            1 => Ok(place),
            _ => Err(place),
        }
    }
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Links {
    chunks: BTreeMap<u64, Distances>,
}

impl Links {
    /// Links an id that has no link.
    pub(super) fn set(&mut self, id: u64, distance: u32) {
        let (number, offset) = place_of(id);
        let chunk = self.chunks.entry(number).or_default();
        let place = chunk.place(offset).expect_err("an id is linked once");
        chunk.values.insert(place, distance);
        chunk.linked |= 1 << offset;
    }

    pub(super) fn get(&self, id: u64) -> Option<u32> {
        let (number, offset) = place_of(id);
        let chunk = self.chunks.get(&number)?;
        let place = chunk.place(offset).ok()?;
        Some(chunk.values[place])
    }

    pub(super) fn take(&mut self, id: u64) -> Option<u32> {
        let (number, offset) = place_of(id);
        let chunk = self.chunks.get_mut(&number)?;
        let place = chunk.place(offset).ok()?;
        let distance = chunk.values.remove(place);
        chunk.linked &= !(1 << offset);
        if chunk.linked == 0 {
            self.chunks.remove(&number);
        } else {
            give_back_room(&mut chunk.values);
        }
        Some(distance)
    }

    /// Frees one chunk; false when there is none.
    pub(super) fn shrink(&mut self) -> bool {
        self.chunks.pop_first().is_some()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_chunk_are_told_apart_and_leave_nothing_behind() {
        let mut links = Links::default();
        let ids = [63, 64, 100, 127, 128, 70];
        for id in ids {
            links.set(id, u32::try_from(id).unwrap());
        }
        assert_eq!([65, 99, 129].map(|id| links.get(id)), [None; 3]);
        for id in ids {
            assert_eq!(links.get(id).map(u64::from), Some(id));
            assert_eq!(links.take(id).map(u64::from), Some(id));
            assert_eq!(links.take(id), None);
        }
        assert!(links.is_empty());
    }
}
