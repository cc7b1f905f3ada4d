//! Messages that a queue has given up and that are on their way to another.
//!
//! A letter is a reference, and has its message's share of bytes: the body stays where it is until
//! the other queue has the message, and somebody says so. Letters of a queue are numbered in the
//! order in which it gave them up; those for one target are its lane. The target remembers the
//! highest number that it took, so a repeat changes nothing there, and a letter goes when it is
//! settled here.
//!
//! A letter whose target is gone is kept, in the lane of nobody, until the queue is given another
//! dead-letter queue. That of a message that is redriven, and not given up, ends: the message is
//! ready again.
//!
//! Invariants: a message is in the outbox or elsewhere in its queue, never in both; numbers rise
//! and are not given again; `lanes` has each letter once, and `bytes` is the sum over them.
//! Spec: spec/semantics.md, "Dead letters".

use std::collections::{BTreeMap, BTreeSet};

use sampan_protocol::{DeathReason, MessageId, QueueId, Timestamp};

use super::Queue;
use crate::chunk::Value;
use crate::effect::Effect;
use crate::fields::{FieldError, Fields};
use crate::limits::OUTBOX_COUNT_MAX;
use crate::page::Received;
use crate::timed::Timed;

/// The target of letters that nobody takes.
const NOBODY: QueueId = QueueId(0);
/// Stands for a message that was not given up, but is redriven.
const REDRIVEN: u8 = 3;
/// No message has more, in rows.
const BYTES_MAX: u64 = 1 << 31;

/// A message on its way. Its instant in the table is when the queue gave it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) id: MessageId,
    pub(crate) target: QueueId,
    /// How often it was received.
    pub(crate) receive_count: u32,
    /// Why it was given up; none of one that is redriven.
    pub(crate) reason: Option<DeathReason>,
    /// The bytes that it took along from its mark.
    pub(crate) bytes: u64,
}

impl Value for Letter {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.target.0.to_le_bytes());
        out.extend_from_slice(&self.receive_count.to_le_bytes());
        out.push(self.reason.map_or(REDRIVEN, DeathReason::number));
        out.extend_from_slice(&self.bytes.to_le_bytes());
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let id = MessageId(fields.u64()?);
        let target = QueueId(fields.u64()?);
        let receive_count = fields.u32()?;
        let reason = match fields.u8()? {
            REDRIVEN => None,
            number => Some(DeathReason::from_number(number).ok_or(FieldError::Range)?),
        };
        let bytes = fields.u64()?;
        if id.0 >= 1 << 63 || bytes > BYTES_MAX {
            return Err(FieldError::Range);
        }
        Ok(Letter {
            id,
            target,
            receive_count,
            reason,
            bytes,
        })
    }
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The target has the message.
    Delivered,
    /// The target is gone, or the body is lost.
    Undeliverable,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) table: Timed<Letter>,
    /// The number of the next letter; from 1.
    pub(super) next: u64,
    /// Of all letters.
    bytes: u64,
    lanes: BTreeMap<QueueId, BTreeSet<u64>>,
}

impl Outbox {
    pub(super) fn new(next: u64) -> Self {
        Outbox {
            table: Timed::new(),
            next,
            bytes: 0,
            lanes: BTreeMap::new(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.table.live_count()
    }

    /// The bytes of all messages on their way.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn undeliverable_count(&self) -> u64 {
        self.lanes.get(&NOBODY).map_or(0, |lane| lane.len() as u64)
    }

    /// How many letters may still come in.
    pub(super) fn room(&self) -> u64 {
        OUTBOX_COUNT_MAX.saturating_sub(self.count())
    }

    fn push(&mut self, letter: Letter, dead_at: Timestamp) {
        let number = self.next;
        self.next += 1;
        self.bytes += letter.bytes;
        self.table.extend(number, 1, dead_at, |_| letter);
        self.lanes.entry(letter.target).or_default().insert(number);
    }

    fn take(&mut self, number: u64) -> Option<(Letter, Timestamp)> {
        let slot = self.table.take(number)?;
        self.bytes -= slot.value.bytes;
        if let Some(lane) = self.lanes.get_mut(&slot.value.target) {
            lane.remove(&number);
            if lane.is_empty() {
                self.lanes.remove(&slot.value.target);
            }
        }
        Some((slot.value, slot.at))
    }

    /// Makes the lanes and the sum of a table that was read.
    pub(super) fn index(&mut self) {
        let mut lanes: BTreeMap<QueueId, BTreeSet<u64>> = BTreeMap::new();
        let mut bytes = 0;
        for (number, slot) in self.table.slots_from(0) {
            lanes.entry(slot.value.target).or_default().insert(number);
            bytes += slot.value.bytes;
        }
        (self.lanes, self.bytes) = (lanes, bytes);
    }
}

impl Queue {
    pub(super) fn dead_letter_queue(&self) -> Option<QueueId> {
        match self.attributes.dead_letter_queue {
            0 => None,
            queue => Some(QueueId(queue)),
        }
    }

    /// Whether a message that comes back after so many receives goes to the dead-letter queue.
    pub(super) fn is_given_up(&self, receive_count: u32) -> bool {
        let most = self.attributes.receive_count_max;
        let is_spent = most > 0 && receive_count >= most;
        is_spent && self.outbox.room() > 0 && self.dead_letter_queue().is_some()
    }

    /// Gives a message up, that is nowhere else in the queue any more.
    pub(super) fn bury(
        &mut self,
        id: MessageId,
        received: Option<Received>,
        reason: DeathReason,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let target = self.dead_letter_queue();
        let target = target.expect("without a dead-letter queue nothing is given up");
        let letter = Letter {
            id,
            target,
            receive_count: received.map_or(0, |received| received.receive_count),
            reason: Some(reason),
            bytes: self.take_share(id),
        };
        self.address(letter, now, effects);
    }

    fn tell_of_letters(&self, effects: &mut Vec<Effect>) {
        let told = Effect::Letters { queue: self.id };
        if effects.last() != Some(&told) {
            effects.push(told);
        }
    }

    /// Whether letters wait for somebody to deliver them.
    pub(crate) fn has_letters(&self) -> bool {
        self.targets().next().is_some()
    }

    /// The queues that letters are for, with those that nobody takes left out.
    pub(crate) fn targets(&self) -> impl Iterator<Item = QueueId> + '_ {
        let targets = self.outbox.lanes.keys().copied();
        targets.filter(|target| *target != NOBODY)
    }

    /// The first letters for `target`: number, when it was given up, and what it is.
    pub(crate) fn letters(
        &self,
        target: QueueId,
        count_max: usize,
    ) -> impl Iterator<Item = (u64, Timestamp, Letter)> + '_ {
        let lane = self.outbox.lanes.get(&target).into_iter().flatten();
        lane.take(count_max).filter_map(|number| {
            let slot = self.outbox.table.peek(*number)?;
            Some((*number, slot.at, slot.value))
        })
    }

    /// Takes in what became of letters. Those that are not there any more were settled before.
    pub(crate) fn settle(
        &mut self,
        fates: &[(u64, Fate)],
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        for (number, fate) in fates {
            let Some((letter, dead_at)) = self.outbox.take(*number) else {
                continue;
            };
            match fate {
                Fate::Delivered => self.trace.on_removed(effects, self.id, letter.id, 1),
                Fate::Undeliverable if letter.reason.is_none() => {
                    self.marks_of(letter.id)
                        .give_back(letter.id.0, letter.bytes);
                    self.come_home(letter.id, now, effects);
                }
                Fate::Undeliverable => {
                    let other = self.dead_letter_queue().filter(|it| *it != letter.target);
                    let target = other.unwrap_or(NOBODY);
                    self.address(Letter { target, ..letter }, dead_at, effects);
                }
            }
        }
    }

    /// Letters that nobody took have another chance.
    pub(super) fn readdress(&mut self, effects: &mut Vec<Effect>) {
        let Some(target) = self.dead_letter_queue() else {
            return;
        };
        for number in self.outbox.lanes.get(&NOBODY).cloned().unwrap_or_default() {
            if let Some((letter, dead_at)) = self.outbox.take(number) {
                self.address(Letter { target, ..letter }, dead_at, effects);
            }
        }
    }

    pub(super) fn address(
        &mut self,
        letter: Letter,
        dead_at: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        self.trace
            .on_letter(letter.id, self.outbox.next, letter.target);
        self.outbox.push(letter, dead_at);
        self.tell_of_letters(effects);
    }
}
