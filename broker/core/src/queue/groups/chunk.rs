//! The groups of up to 64 messages with ids side by side: the unit that is copied on write, and one
//! row.
//!
//! A group is eight bytes per message. What few messages have, a past (it came back) and a turn
//! (it is the front of its group), lies beside it and costs the others nothing.
//!
//! Invariants: one group per live bit, in order; a past and a turn belong to a live bit.
//! Spec: spec/state.md, "Groups".

use sampan_protocol::Timestamp;

use crate::fields::{FieldError, Fields};
use crate::page::Received;

const VERSION: u8 = 1;
/// Ids of one chunk.
pub(super) const CHUNK_COUNT: u64 = 64;

/// The number of an id's chunk, and its place there.
pub(super) fn place_of(id: u64) -> (u64, u8) {
    let offset = u8::try_from(id % CHUNK_COUNT).expect("below 64");
    (id / CHUNK_COUNT, offset)
}

/// What stands for a group key: the first half of its digest. Two keys with one digest are one
/// group, by chance one in 2^64 pairs: messages then wait for each other, and nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group(pub(crate) u64);

/// What a chunk knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) group: Group,
    /// What it brought along when it came back.
    pub(super) past: Option<Received>,
}

/// Values of few of 64 places.
#[derive(Clone, Debug)]
struct Sparse<T>(Vec<(u8, T)>);

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Sparse(Vec::new())
    }
}

impl<T: Copy> Sparse<T> {
    fn place(&self, offset: u8) -> Result<usize, usize> {
        self.0.binary_search_by_key(&offset, |(offset, _)| *offset)
    }

    fn get(&self, offset: u8) -> Option<T> {
        self.place(offset).ok().map(|place| self.0[place].1)
    }

    fn set(&mut self, offset: u8, value: Option<T>) {
        match (self.place(offset), value) {
            (Ok(place), Some(value)) => self.0[place].1 = value,
            (Err(place), Some(value)) => self.0.insert(place, (offset, value)),
            (Ok(place), None) => {
                self.0.remove(place);
                give_back_room(&mut self.0);
            }
            (Err(_), None) => (),
        }
    }

    fn encode(&self, out: &mut Vec<u8>, mut put: impl FnMut(&T, &mut Vec<u8>)) {
        out.push(u8::try_from(self.0.len()).expect("a chunk has 64 places"));
        for (offset, value) in &self.0 {
            out.push(*offset);
            put(value, out);
        }
    }

    /// Values of places of `live` only, ascending.
    fn decode(
        fields: &mut Fields<'_>,
        live: u64,
        take: impl Fn(&mut Fields<'_>) -> Result<T, FieldError>,
    ) -> Result<Self, FieldError> {
        let count = fields.u8()?;
        let mut sparse = Vec::with_capacity(usize::from(count.min(64)));
        let mut least = 0;
        for _ in 0..count {
            let offset = fields.u8()?;
            if offset < least || offset >= 64 || live >> offset & 1 == 0 {
                return Err(FieldError::Range);
            }
            least = offset + 1;
            sparse.push((offset, take(fields)?));
        }
        Ok(Sparse(sparse))
    }
}

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupChunk {
    live: u64,
    groups: Vec<Group>,
    past: Sparse<Received>,
    turns: Sparse<u64>,
}

impl GroupChunk {
    pub(super) fn count(&self) -> u64 {
        u64::from(self.live.count_ones())
    }

    fn place(&self, offset: u8) -> usize {
        (self.live & ((1 << offset) - 1)).count_ones() as usize
    }

    fn has(&self, offset: u8) -> bool {
        self.live >> offset & 1 == 1
    }

    /// Adds a message that is not there.
    pub(super) fn insert(&mut self, offset: u8, member: Member) {
        assert!(!self.has(offset), "a message is in a table once");
        self.groups.insert(self.place(offset), member.group);
        self.live |= 1 << offset;
        self.past.set(offset, member.past);
    }

    pub(super) fn get(&self, offset: u8) -> Option<Member> {
        let group = *self.groups.get(self.place(offset))?;
        let past = self.past.get(offset);
        self.has(offset).then_some(Member { group, past })
    }

    pub(super) fn remove(&mut self, offset: u8) -> Option<Member> {
        let member = self.get(offset)?;
        self.groups.remove(self.place(offset));
        give_back_room(&mut self.groups);
        self.live &= !(1 << offset);
        self.past.set(offset, None);
        self.turns.set(offset, None);
        Some(member)
    }

    /// The turn that was set last; 0 for none.
    pub(super) fn turn(&self, offset: u8) -> u64 {
        self.turns.get(offset).unwrap_or(0)
    }

    pub(super) fn set_turn(&mut self, offset: u8, turn: u64) {
        self.turns.set(offset, Some(turn).filter(|turn| *turn > 0));
    }

    /// Places and what is known of their messages, ascending.
    pub(super) fn members(&self) -> impl Iterator<Item = (u8, Member)> + '_ {
        (0..64).filter_map(|offset| Some((offset, self.get(offset)?)))
    }

    /// The first place.
    pub(super) fn first(&self) -> Option<u64> {
        (self.live != 0).then(|| u64::from(self.live.trailing_zeros()))
    }

    /// The last place.
    pub(super) fn last(&self) -> Option<u64> {
        (self.live != 0).then(|| u64::from(63 - self.live.leading_zeros()))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.live.to_le_bytes());
        for group in &self.groups {
            out.extend_from_slice(&group.0.to_le_bytes());
        }
        self.past.encode(out, |past, out| {
            out.extend_from_slice(&past.receive_count.to_le_bytes());
            out.extend_from_slice(&past.first_received_at.0.to_le_bytes());
        });
        let put = |turn: &u64, out: &mut Vec<u8>| out.extend_from_slice(&turn.to_le_bytes());
        self.turns.encode(out, put);
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let live = fields.u64()?;
        let mut groups = Vec::with_capacity(live.count_ones() as usize);
        for _ in 0..live.count_ones() {
            groups.push(Group(fields.u64()?));
        }
        let past = Sparse::decode(&mut fields, live, take_past)?;
        let turns = Sparse::decode(&mut fields, live, |fields| match fields.u64()? {
            0 => Err(FieldError::Range),
            turn => Ok(turn),
        })?;
        fields.end()?;
        if live == 0 {
            return Err(FieldError::Range);
        }
        Ok(GroupChunk {
            live,
            groups,
            past,
            turns,
        })
    }
}

fn take_past(fields: &mut Fields<'_>) -> Result<Received, FieldError> {
    let receive_count = fields.u32()?;
    let first_received_at: Timestamp = fields.timestamp()?;
    if receive_count == 0 {
        return Err(FieldError::Range);
    }
    Ok(Received {
        receive_count,
        first_received_at,
    })
}

/// A lone survivor does not hold the room of 64.
pub(super) fn give_back_room<T>(values: &mut Vec<T>) {
    if values.len() * 4 <= values.capacity() {
        values.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> GroupChunk {
        let mut chunk = GroupChunk::default();
        for offset in [0, 3, 4, 63] {
            let group = Group(u64::from(offset) * 1_000);
            let past = (offset == 4).then_some(Received {
                receive_count: 7,
                first_received_at: Timestamp(99),
            });
            chunk.insert(offset, Member { group, past });
        }
        chunk.set_turn(3, 12);
        chunk
    }

    #[test]
    fn a_row_comes_back_and_no_shorter_one_does() {
        let (chunk, mut row) = (chunk(), Vec::new());
        chunk.encode(&mut row);
        let back = GroupChunk::decode(&row).unwrap();
        assert!(back.members().eq(chunk.members()));
        assert_eq!([0, 3, 4].map(|offset| back.turn(offset)), [0, 12, 0]);
        for len in 0..row.len() {
            assert!(GroupChunk::decode(&row[..len]).is_err(), "{len} bytes");
        }
        let past_offset = row.len() - 10 - 13;
        assert_eq!(row[past_offset], 4);
        row[past_offset] = 5;
        assert!(GroupChunk::decode(&row).is_err(), "the past of nobody");
    }

    #[test]
    fn a_place_that_is_taken_leaves_nothing_behind() {
        let mut chunk = chunk();
        assert_eq!(chunk.get(5), None);
        for offset in [4, 0, 63, 3] {
            assert!(chunk.remove(offset).is_some());
            assert_eq!(chunk.remove(offset), None);
        }
        assert_eq!((chunk.count(), chunk.groups.capacity()), (0, 0));
        let group = Group(1);
        chunk.insert(4, Member { group, past: None });
        chunk.insert(3, Member { group, past: None });
        assert_eq!(chunk.get(4).and_then(|member| member.past), None);
        assert_eq!(chunk.turn(3), 0);
    }
}
