//! Messages of one send that lie in memory: consecutive ids that share one batch.
//!
//! Owns which of them are alive. The batch is the client's bytes, shared with the log; it is let
//! go with the last message that lives in it, for it is what costs memory.
//!
//! Invariants: at most 256 messages; `alive_count` is the number of set bits; the batch is there
//! exactly as long as `alive_count` is not 0.
//! Spec: spec/storage.md, "The queue store".

use std::ops::Range;

use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::{MessageBatch, MessageId, MessageRecord, Timestamp};

const WORD_COUNT: usize = BATCH_COUNT_MAX / 64;

/// One message that is still in memory.
#[derive(Clone, Copy, Debug)]
pub struct InMemory<'a> {
    /// When the message was sent.
    pub sent_at: Timestamp,
    /// Its lengths, checksum and delay.
    pub record: MessageRecord,
    /// The batch it came in.
    pub batch: &'a MessageBatch,
    /// Where headers, keys and body begin in the batch's bytes.
    pub start: usize,
}

impl<'a> InMemory<'a> {
    /// Headers, keys and body, as they lie in the batch.
    pub fn content(&self) -> &'a [u8] {
        &self.batch.as_bytes()[self.start..self.start + self.record.content_len()]
    }
}

/// A run of messages with one batch.
#[derive(Clone, Debug)]
pub(super) struct MemoryExtent {
    first: u64,
    count: u16,
    alive_count: u16,
    /// Place of the first message in the batch.
    index: u16,
    /// What the messages add to the length of the overlay: their share of the batch.
    len: u64,
    sent_at: Timestamp,
    alive: [u64; WORD_COUNT],
    batch: Option<MessageBatch>,
}

impl MemoryExtent {
    /// `count` messages from `first` on, from the `index`-th place of the batch.
    pub(super) fn new(
        first: MessageId,
        index: u16,
        count: u16,
        sent_at: Timestamp,
        batch: MessageBatch,
    ) -> Self {
        assert!(count > 0, "an extent holds at least one message");
        assert!(
            usize::from(index) + usize::from(count) <= batch.count(),
            "the messages of an extent lie in its batch"
        );
        let share = batch.as_bytes().len() as u64 * u64::from(count) / batch.count() as u64;
        let mut alive = [0; WORD_COUNT];
        for (word, bits) in alive.iter_mut().enumerate() {
            *bits = ones(0..usize::from(count), word);
        }
        let batch = Some(batch);
        MemoryExtent {
            first: first.0,
            count,
            alive_count: count,
            index,
            len: share,
            sent_at,
            alive,
            batch,
        }
    }

    /// The ids, dead ones included.
    pub(super) fn ids(&self) -> Range<u64> {
        self.first..self.first + u64::from(self.count)
    }

    /// What the extent adds to the length of the overlay while it lives.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether no message lives in it.
    pub(super) fn is_dead(&self) -> bool {
        self.alive_count == 0
    }

    /// Kills the messages of `ids`. Returns true when that killed the last one.
    pub(super) fn kill(&mut self, ids: &Range<u64>) -> bool {
        if self.is_dead() {
            return false;
        }
        let own = self.ids();
        if ids.start <= own.start && ids.end >= own.end {
            self.alive = [0; WORD_COUNT];
            self.alive_count = 0;
        } else {
            self.kill_some(ids.start.max(own.start)..ids.end.min(own.end));
        }
        if self.is_dead() {
            self.batch = None;
        }
        self.is_dead()
    }

    fn kill_some(&mut self, ids: Range<u64>) {
        let place = |id: u64| usize::try_from(id - self.first).expect("at most 256 places");
        let places = place(ids.start)..place(ids.end.max(ids.start));
        let mut alive_count = 0;
        for (word, bits) in self.alive.iter_mut().enumerate() {
            *bits &= !ones(places.clone(), word);
            alive_count += bits.count_ones();
        }
        self.alive_count = u16::try_from(alive_count).expect("at most 256 bits");
    }

    fn is_alive(&self, place: usize) -> bool {
        self.alive[place / 64] & (1 << (place % 64)) != 0
    }

    /// The messages from `from` on: every id, with what lives there.
    pub(super) fn messages(
        &self,
        from: u64,
    ) -> impl Iterator<Item = (MessageId, Option<InMemory<'_>>)> {
        let skipped = usize::try_from(from - self.first).expect("callers ask for its own ids");
        let left = usize::from(self.count) - skipped;
        let start = usize::from(self.index) + skipped;
        let found = self.batch.iter().flat_map(move |batch| {
            batch
                .messages(start)
                .map(move |(record, start)| (batch, record, start))
        });
        found
            .take(left)
            .enumerate()
            .map(move |(step, (batch, record, start))| {
                let place = skipped + step;
                let id = MessageId(self.first + place as u64);
                let sent_at = self.sent_at;
                let message = InMemory {
                    sent_at,
                    record,
                    batch,
                    start,
                };
                (id, self.is_alive(place).then_some(message))
            })
    }
}

/// The bits of `places` that fall into the `word`-th word.
fn ones(places: Range<usize>, word: usize) -> u64 {
    let from = places.start.max(word * 64);
    let to = places.end.min(word * 64 + 64);
    if from >= to {
        return 0;
    }
    (u64::MAX >> (64 - (to - from))) << (from - word * 64)
}
