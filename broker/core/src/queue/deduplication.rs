//! Deduplication keys: which messages a queue stored within its window, by the keys that their
//! senders gave them.
//!
//! A key is kept as its digest: the first 128 bits of SHA-256 over the queue's secret and the key.
//! Two keys with one digest would lose a message that is no repeat, so the digest must not collide,
//! neither by chance (2^-88 when a full table meets another full table) nor on purpose (2^64
//! attempts for who knows the secret); a short hash like that of the state would. Whole keys cost
//! up to 128 bytes and an allocation each: four times the memory for the same answer.
//!
//! Keys are numbered in the order in which they were stored, and so are forgotten in this order.
//! Forgetting is one number, `first`; chunks of 64 leave memory afterwards, in bounded steps.
//!
//! Invariants: instants never fall with the number; chunks lie side by side, all but the last one
//! full; `places` has each digest of a chunk, at its highest number; without a chunk `first` is
//! `next`, a multiple of 64. Spec: spec/semantics.md, "Deduplication"; spec/state.md, "Keys".

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sampan_protocol::{ErrorCode, MessageId, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::fields::{FieldError, Fields};
use crate::limits::{DEDUP_COUNT_MAX, DEDUP_SWEEP_MS};
use crate::reply::Refusal;
use crate::row_changes::RowChanges;

const VERSION: u8 = 1;
/// Keys of one chunk, which is one row.
const CHUNK_COUNT: u64 = 64;

/// What stands for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest(u128);

impl Digest {
    /// The digest of a key in the queue with this secret.
    pub(super) fn of(secret: u64, key: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(secret.to_le_bytes());
        let whole = hash.chain_update(key).finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        Digest(u128::from_le_bytes(half))
    }

    /// What the state hash takes in of it.
    pub(super) fn word(self) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.0.to_le_bytes()[..8]);
        u64::from_le_bytes(word)
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    stored_at: Timestamp,
    /// The message that was stored with the key.
    id: MessageId,
    digest: Digest,
}

/// Up to 64 keys side by side.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyChunk {
    slots: Vec<Slot>,
}

#[derive(Debug, Default)]
struct Held {
    chunk: Arc<KeyChunk>,
    /// A freeze has seen it.
    stored: bool,
}

/// The keys of a queue.
#[derive(Debug)]
pub(super) struct Keys {
    chunks: VecDeque<Held>,
    /// The number of the first chunk, or of the next one when there is none.
    front: u64,
    places: BTreeMap<Digest, u64>,
    /// Keys below this number are forgotten, whether or not they are still there.
    first: u64,
    /// The number that the next key gets.
    next: u64,
    changes: RowChanges,
}

impl Keys {
    pub(super) fn new(first: u64, next: u64) -> Self {
        Keys {
            chunks: VecDeque::new(),
            front: next / CHUNK_COUNT,
            places: BTreeMap::new(),
            first,
            next,
            changes: RowChanges::default(),
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Forgets what was stored `window_ms` ago or earlier.
    pub(super) fn forget(&mut self, window_ms: u32, now: Timestamp) {
        let is_over = |slot: &Slot| slot.stored_at.after_ms(window_ms.into()) <= now;
        let is_all_over = |held: &Held| held.chunk.slots.last().is_some_and(is_over);
        let place = self.chunks.partition_point(is_all_over);
        let end = match self.chunks.get(place) {
            Some(held) => {
                let count = held.chunk.slots.partition_point(is_over);
                (self.front + place as u64) * CHUNK_COUNT + count as u64
            }
            None => self.next,
        };
        self.first = self.first.max(end);
    }

    /// The message that was stored with a key which is not forgotten.
    pub(super) fn find(&self, digest: Digest) -> Option<MessageId> {
        let number = *self.places.get(&digest)?;
        let slot = self.slot(number).filter(|_| number >= self.first)?;
        Some(slot.id)
    }

    fn slot(&self, number: u64) -> Option<&Slot> {
        let place = usize::try_from((number / CHUNK_COUNT).checked_sub(self.front)?).ok()?;
        let offset = usize::try_from(number % CHUNK_COUNT).ok()?;
        self.chunks.get(place)?.chunk.slots.get(offset)
    }

    /// Passes when `count` more keys can be remembered.
    pub(super) fn check_room(&self, count: u64) -> Result<(), Refusal> {
        if self.next - self.first + count <= DEDUP_COUNT_MAX {
            return Ok(());
        }
        let text = format!("a queue remembers at most {DEDUP_COUNT_MAX} keys");
        Err(Refusal::with_text(ErrorCode::TooManyKeys, text))
    }

    /// Gives back the room of at least `count` forgotten keys, while there are as many.
    pub(super) fn make_room(&mut self, count: u64) {
        for _ in 0..=count / CHUNK_COUNT {
            self.drop_forgotten();
        }
    }

    /// Remembers a key that is not known.
    pub(super) fn remember(&mut self, digest: Digest, id: MessageId, now: Timestamp) {
        let number = self.next;
        self.next += 1;
        if number.is_multiple_of(CHUNK_COUNT) {
            self.chunks.push_back(Held::default());
        }
        let held = self.chunks.back_mut();
        let held = held.expect("without a chunk, the next number begins one");
        Arc::make_mut(&mut held.chunk).slots.push(Slot {
            stored_at: now,
            id,
            digest,
        });
        self.places.insert(digest, number);
        self.changes.on_change(number / CHUNK_COUNT);
    }

    /// When forgotten keys are to leave memory: at round instants, so that a queue wakes its set
    /// seldom.
    pub(super) fn next_deadline(&self, window_ms: u32) -> Option<Timestamp> {
        let stored_at = self.chunks.front()?.chunk.slots.last()?.stored_at;
        let forgotten_at = match self.is_front_forgotten() {
            true => stored_at,
            false => stored_at.after_ms(window_ms.into()),
        };
        let round = (forgotten_at.0 / DEDUP_SWEEP_MS + 1).saturating_mul(DEDUP_SWEEP_MS);
        Some(Timestamp(round))
    }

    /// Lets forgotten keys leave memory, as far as `work` goes.
    pub(super) fn sweep(&mut self, window_ms: u32, now: Timestamp, work: &mut u64) {
        self.forget(window_ms, now);
        while *work > 0 && self.drop_forgotten() {
            *work = work.saturating_sub(CHUNK_COUNT);
        }
    }

    fn is_front_forgotten(&self) -> bool {
        let end = (self.front + 1) * CHUNK_COUNT;
        !self.chunks.is_empty() && end.min(self.next) <= self.first
    }

    /// Drops the first chunk when all of its keys are forgotten.
    fn drop_forgotten(&mut self) -> bool {
        if !self.is_front_forgotten() {
            return false;
        }
        let held = self.chunks.pop_front();
        let held = held.expect("a forgotten chunk is there");
        for (number, slot) in (self.front * CHUNK_COUNT..).zip(&held.chunk.slots) {
            // A key that came again has its place there.
            if self.places.get(&slot.digest) == Some(&number) {
                self.places.remove(&slot.digest);
            }
        }
        self.changes.on_removal(self.front, held.stored);
        self.front += 1;
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
            self.next = self.front * CHUNK_COUNT;
            self.first = self.next;
        }
        true
    }

    /// Hands over the chunks that changed since the last freeze; `None` for those that are gone.
    pub(super) fn freeze(&mut self, mut each: impl FnMut(u64, Option<Arc<KeyChunk>>)) {
        let (changed, gone) = self.changes.take();
        for number in gone {
            each(number, None);
        }
        for number in changed {
            let place = usize::try_from(number - self.front).ok();
            let held = place.and_then(|place| self.chunks.get_mut(place));
            let held = held.expect("what is listed as changed exists");
            held.stored = true;
            each(number, Some(Arc::clone(&held.chunk)));
        }
    }

    /// Numbers of all rows that may be stored.
    pub(super) fn row_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let held = (self.front..).zip(&self.chunks);
        let stored = held.filter(|(_, held)| held.stored);
        stored.map(|(number, _)| number).chain(self.changes.gone())
    }

    /// Takes in a chunk; they come in the order of their numbers.
    pub(super) fn restore_row(&mut self, number: u64, row: &[u8]) -> Result<(), FieldError> {
        let chunk = KeyChunk::decode(row)?;
        if self.chunks.is_empty() {
            self.front = number;
        }
        let before = self.chunks.back().map(|held| &held.chunk.slots);
        let follows = number == self.front.saturating_add(self.chunks.len() as u64)
            && number < u64::MAX / CHUNK_COUNT
            && before.is_none_or(|before| {
                before.len() as u64 == CHUNK_COUNT
                    && before.last().map(|slot| slot.stored_at)
                        <= chunk.slots.first().map(|slot| slot.stored_at)
            });
        if !follows {
            return Err(FieldError::Range);
        }
        for (number, slot) in (number * CHUNK_COUNT..).zip(&chunk.slots) {
            self.places.insert(slot.digest, number);
        }
        self.chunks.push_back(Held {
            chunk: Arc::new(chunk),
            stored: true,
        });
        Ok(())
    }

    /// Whether the chunks are those of the two numbers.
    pub(super) fn is_whole(&self) -> bool {
        let Some(last) = self.chunks.back() else {
            return self.first == self.next && self.next.is_multiple_of(CHUNK_COUNT);
        };
        let before = (self.front + self.chunks.len() as u64 - 1) * CHUNK_COUNT;
        let is_end = before + last.chunk.slots.len() as u64 == self.next;
        is_end && (self.front * CHUNK_COUNT..=self.next).contains(&self.first)
    }

    /// Chunks in memory.
    #[cfg(test)]
    pub(super) fn chunk_count(&self) -> usize {
        assert_eq!(self.chunks.is_empty(), self.places.is_empty());
        self.chunks.len()
    }
}

impl KeyChunk {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        for slot in &self.slots {
            out.extend_from_slice(&slot.stored_at.0.to_le_bytes());
            out.extend_from_slice(&slot.id.0.to_le_bytes());
            out.extend_from_slice(&slot.digest.0.to_le_bytes());
        }
    }

    fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let mut slots: Vec<Slot> = Vec::new();
        while !fields.is_empty() {
            let slot = Slot {
                stored_at: fields.timestamp()?,
                id: MessageId(fields.u64()?),
                digest: Digest(fields.u128()?),
            };
            let before = slots.last().map(|before| before.stored_at);
            let is_sound = (1..1 << 63).contains(&slot.id.0) && before <= Some(slot.stored_at);
            if !is_sound || slots.len() as u64 == CHUNK_COUNT {
                return Err(FieldError::Range);
            }
            slots.push(slot);
        }
        match slots.is_empty() {
            true => Err(FieldError::Range),
            false => Ok(KeyChunk { slots }),
        }
    }
}

#[cfg(test)]
mod tests;
