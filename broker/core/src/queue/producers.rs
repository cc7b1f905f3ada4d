//! Which numbered sends a queue has stored, so that a repeat gets its first reply.
//!
//! Per session the highest stored number and the replies of the newest ones. A number is stored
//! only behind its predecessor, so what a session stored is in the order of its numbers, and one
//! comparison tells a repeat from a gap.
//!
//! A session that was forgotten must never look new, or a late repeat would be stored. So a session
//! names when it was drawn, begins only within [`PRODUCER_LIFE_MS`] of that, and is remembered at
//! least as long. When there are too many, those that were used least lately are forgotten sooner,
//! and from then on no session begins that was drawn before their last use.
//!
//! Forgetting by age is done in sweeps whose time is part of the state, because it decides in which
//! order replicas do due work.
//!
//! Invariants: `highest` is at least 1; there are min(`highest`, [`ANSWERS_KEPT`]) answers;
//! `answer_count` is the sum over all sessions; no session that is not known and was ever known can
//! begin. Spec: spec/semantics.md, "Producers".

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sampan_protocol::{ErrorCode, MessageId, ProducerNumber, ProducerSession, Sent, Timestamp};

use crate::fields::{FieldError, Fields, put_varint, unzigzag, zigzag};
use crate::limits::{
    ANSWER_COUNT_MAX, ANSWERS_KEPT, PRODUCER_COUNT_MAX, PRODUCER_LIFE_MS, PRODUCER_SWEEP_MS,
};
use crate::reply::Refusal;

const VERSION: u8 = 1;
const ONE_RUN: u8 = 0;
const MIXED: u8 = 1;
/// Bytes with a bit for each message of a batch.
const MASK_LEN: usize = 32;

/// What a numbered send is to its queue.
pub(crate) enum Turn {
    /// The next of its session.
    Next,
    /// It was stored before, and got this reply.
    Repeat(Sent),
}

/// The producers of a queue.
#[derive(Debug)]
pub(crate) struct Producers {
    known: BTreeMap<ProducerSession, Known>,
    answer_count: usize,
    /// The number that the next session gets.
    next: u64,
    swept_at: Timestamp,
    /// Sessions that were drawn up to then may have been forgotten.
    forgotten_until: Timestamp,
    /// Sessions that changed since the last freeze.
    changed: Vec<ProducerSession>,
    /// Numbers of sessions that were forgotten since then.
    gone: Vec<u64>,
}

#[derive(Debug)]
struct Known {
    number: u64,
    is_changed: bool,
    producer: Arc<Producer>,
}

/// One session in one queue.
#[derive(Clone, Debug)]
pub(crate) struct Producer {
    session: ProducerSession,
    highest: u64,
    used_at: Timestamp,
    /// Of the newest numbers, the oldest first.
    answers: VecDeque<Answer>,
}

/// The reply to a stored send, in little room.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    /// Of the first message; of a mixed batch, of the first one without a delay.
    first: u64,
    count: u16,
    mixed: Option<Box<Mixed>>,
}

/// A batch in which some messages have a delay: each kind has ids side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mixed {
    first_delayed: u64,
    /// A bit for each message that has a delay.
    delayed: [u8; MASK_LEN],
}

impl Producers {
    pub(crate) fn new(next: u64, swept_at: Timestamp, forgotten_until: Timestamp) -> Self {
        Producers {
            known: BTreeMap::new(),
            answer_count: 0,
            next,
            swept_at,
            forgotten_until,
            changed: Vec::new(),
            gone: Vec::new(),
        }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn swept_at(&self) -> Timestamp {
        self.swept_at
    }

    pub(crate) fn forgotten_until(&self) -> Timestamp {
        self.forgotten_until
    }

    /// Judges a numbered send; a repeat counts as a use of its session.
    pub(crate) fn turn(
        &mut self,
        producer: ProducerNumber,
        now: Timestamp,
    ) -> Result<Turn, Refusal> {
        let ProducerNumber { session, number } = producer;
        let Some(known) = self.known.get_mut(&session) else {
            self.check_begin(session, now)?;
            return next_after(0, number);
        };
        let Producer {
            highest, answers, ..
        } = &*known.producer;
        if number > *highest {
            return next_after(*highest, number);
        }
        let age = usize::try_from(*highest - number).unwrap_or(usize::MAX);
        let place = answers.len().checked_sub(age.saturating_add(1));
        let Some(sent) = place.map(|place| answers[place].sent()) else {
            let text = format!("number {number} of a session that is at {highest}");
            return Err(Refusal::with_text(ErrorCode::ProducerExpired, text));
        };
        if known.producer.used_at != now {
            Arc::make_mut(&mut known.producer).used_at = now;
            if !std::mem::replace(&mut known.is_changed, true) {
                self.changed.push(session);
            }
        }
        Ok(Turn::Repeat(sent))
    }

    /// Notes that the send which had its turn was stored.
    pub(crate) fn note(&mut self, session: ProducerSession, now: Timestamp, sent: &Sent) {
        if self.known.is_empty() {
            self.swept_at = now;
        }
        let next = &mut self.next;
        let known = self.known.entry(session).or_insert_with(|| {
            let number = *next;
            *next += 1;
            Known {
                number,
                is_changed: false,
                producer: Arc::new(Producer::new(session)),
            }
        });
        if !std::mem::replace(&mut known.is_changed, true) {
            self.changed.push(session);
        }
        let producer = Arc::make_mut(&mut known.producer);
        producer.highest += 1;
        producer.used_at = now;
        if producer.answers.len() == ANSWERS_KEPT {
            producer.answers.pop_front();
            self.answer_count -= 1;
        }
        producer.answers.push_back(Answer::of(sent));
        self.answer_count += 1;
        if self.known.len() > PRODUCER_COUNT_MAX || self.answer_count > ANSWER_COUNT_MAX {
            self.make_room(session);
        }
    }

    /// Forgets a sixteenth of what there may be: what was used least lately, but not `kept`.
    fn make_room(&mut self, kept: ProducerSession) {
        let (count_max, answer_max) = (
            PRODUCER_COUNT_MAX - PRODUCER_COUNT_MAX / 16,
            ANSWER_COUNT_MAX - ANSWER_COUNT_MAX / 16,
        );
        let others = self.known.iter().filter(|(session, _)| **session != kept);
        let mut by_use: Vec<(Timestamp, ProducerSession)> = others
            .map(|(session, known)| (known.producer.newest_at(), *session))
            .collect();
        by_use.sort_unstable();
        for (at, session) in by_use {
            if self.known.len() <= count_max && self.answer_count <= answer_max {
                return;
            }
            if let Some(known) = self.known.remove(&session) {
                self.forgotten_until = self.forgotten_until.max(at);
                self.answer_count -= known.producer.answers.len();
                self.gone.push(known.number);
            }
        }
    }

    /// Passes when a session that is not known may begin.
    fn check_begin(&self, session: ProducerSession, now: Timestamp) -> Result<(), Refusal> {
        let drawn_at = session.drawn_at();
        let is_young = drawn_at.after_ms(PRODUCER_LIFE_MS) > now;
        let is_early = drawn_at > now.after_ms(PRODUCER_LIFE_MS);
        if is_young && !is_early && drawn_at > self.forgotten_until {
            return Ok(());
        }
        let text = format!(
            "the session is not known, and was drawn {} s from now: less than {}, and later than \
             those that were forgotten",
            drawn_at.0.abs_diff(now.0) / 1_000,
            PRODUCER_LIFE_MS / 1_000
        );
        Err(Refusal::with_text(ErrorCode::ProducerExpired, text))
    }

    /// When old sessions are to be looked for.
    pub(crate) fn next_sweep(&self) -> Option<Timestamp> {
        let at = self.swept_at.after_ms(PRODUCER_SWEEP_MS);
        (!self.known.is_empty()).then_some(at)
    }

    /// Forgets what is too old to begin anew, when it is time for that.
    pub(crate) fn sweep(&mut self, now: Timestamp) {
        if self.next_sweep().is_none_or(|at| at > now) {
            return;
        }
        self.swept_at = now;
        let (gone, answer_count) = (&mut self.gone, &mut self.answer_count);
        self.known.retain(|_, known| {
            let is_kept = known.producer.forgotten_at() > now;
            if !is_kept {
                gone.push(known.number);
                *answer_count -= known.producer.answers.len();
            }
            is_kept
        });
    }

    /// Hands over what changed since the last freeze, by number.
    pub(crate) fn freeze(&mut self, mut each: impl FnMut(u64, Option<Arc<Producer>>)) {
        for number in self.gone.drain(..) {
            each(number, None);
        }
        for session in self.changed.drain(..) {
            if let Some(known) = self.known.get_mut(&session) {
                known.is_changed = false;
                each(known.number, Some(known.producer.clone()));
            }
        }
    }

    /// The numbers of all rows that may be stored.
    pub(crate) fn row_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let known = self.known.values().map(|known| known.number);
        known.chain(self.gone.iter().copied())
    }

    pub(crate) fn restore_row(&mut self, number: u64, row: &[u8]) -> Result<(), FieldError> {
        let producer = Producer::decode(row)?;
        if number == 0 || number >= self.next {
            return Err(FieldError::Range);
        }
        self.answer_count += producer.answers.len();
        let known = Known {
            number,
            is_changed: false,
            producer: Arc::new(producer),
        };
        match self.known.insert(known.producer.session, known) {
            None => Ok(()),
            Some(_) => Err(FieldError::Range),
        }
    }
}

/// Judges a number above the highest.
fn next_after(highest: u64, number: u64) -> Result<Turn, Refusal> {
    if number == highest + 1 {
        return Ok(Turn::Next);
    }
    let text = format!("number {number} of a session that is at {highest}");
    Err(Refusal::with_text(ErrorCode::OutOfOrder, text))
}

impl Producer {
    fn new(session: ProducerSession) -> Self {
        Producer {
            session,
            highest: 0,
            used_at: Timestamp(0),
            answers: VecDeque::new(),
        }
    }

    /// When it was used last, or drawn if that is later.
    fn newest_at(&self) -> Timestamp {
        self.used_at.max(self.session.drawn_at())
    }

    /// From then on it could not begin anew.
    fn forgotten_at(&self) -> Timestamp {
        self.newest_at().after_ms(PRODUCER_LIFE_MS)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.session.0);
        out.extend_from_slice(&self.highest.to_le_bytes());
        out.extend_from_slice(&self.used_at.0.to_le_bytes());
        let count = u16::try_from(self.answers.len()).expect("at most ANSWERS_KEPT");
        out.extend_from_slice(&count.to_le_bytes());
        let mut before = 0;
        for answer in &self.answers {
            answer.encode(before, out);
            before = answer.first;
        }
    }

    fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let mut session = [0; 16];
        session.copy_from_slice(fields.bytes(16)?);
        let (highest, used_at) = (fields.u64()?, fields.timestamp()?);
        let count = usize::from(fields.u16()?);
        let is_sound = session != [0; 16] && highest > 0;
        if !is_sound || count as u64 != highest.min(ANSWERS_KEPT as u64) {
            return Err(FieldError::Range);
        }
        let mut answers = VecDeque::new();
        let mut before = 0;
        for _ in 0..count {
            let answer = Answer::decode(before, &mut fields)?;
            before = answer.first;
            answers.push_back(answer);
        }
        fields.end()?;
        Ok(Producer {
            session: ProducerSession(session),
            highest,
            used_at,
            answers,
        })
    }
}

impl Answer {
    fn of(sent: &Sent) -> Self {
        let count: u32 = sent.runs.iter().map(|(_, count)| count).sum();
        let count = u16::try_from(count).expect("a batch has at most 256 messages");
        let first_where = |is_delayed: bool| {
            let mut firsts = sent.runs.iter().map(|(first, _)| *first);
            firsts.find(|first| first.is_delayed() == is_delayed)
        };
        let (first, first_delayed) = (first_where(false), first_where(true));
        let (Some(first), Some(first_delayed)) = (first, first_delayed) else {
            let first = first.or(first_delayed).map_or(0, |first| first.0);
            return Answer {
                first,
                count,
                mixed: None,
            };
        };
        let mut delayed = [0; MASK_LEN];
        for (place, id) in sent.ids().enumerate() {
            delayed[place / 8] |= u8::from(id.is_delayed()) << (place % 8);
        }
        let mixed = Mixed {
            first_delayed: first_delayed.0,
            delayed,
        };
        Answer {
            first: first.0,
            count,
            mixed: Some(Box::new(mixed)),
        }
    }

    fn sent(&self) -> Sent {
        let Some(mixed) = &self.mixed else {
            return Sent {
                runs: vec![(MessageId(self.first), self.count.into())],
            };
        };
        let mut next = [self.first, mixed.first_delayed];
        let mut runs: Vec<(MessageId, u32)> = Vec::new();
        for place in 0..usize::from(self.count) {
            let is_delayed = mixed.delayed[place / 8] >> (place % 8) & 1 == 1;
            let next = &mut next[usize::from(is_delayed)];
            let id = MessageId(*next);
            *next += 1;
            match runs.last_mut() {
                Some((first, count)) if first.plus(u64::from(*count)) == id => *count += 1,
                _ => runs.push((id, 1)),
            }
        }
        Sent { runs }
    }

    fn encode(&self, before: u64, out: &mut Vec<u8>) {
        let less_one = u8::try_from(self.count - 1).expect("a batch has at most 256 messages");
        out.push(less_one);
        out.push(if self.mixed.is_some() { MIXED } else { ONE_RUN });
        let step = self.first.wrapping_sub(before).cast_signed();
        put_varint(out, zigzag(step));
        if let Some(mixed) = &self.mixed {
            put_varint(out, mixed.first_delayed - MessageId::DELAYED_BIT);
            out.extend_from_slice(&mixed.delayed);
        }
    }

    fn decode(before: u64, fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let count = u16::from(fields.u8()?) + 1;
        let kind = fields.u8()?;
        let step = unzigzag(fields.varint()?).cast_unsigned();
        let mut answer = Answer {
            first: before.wrapping_add(step),
            count,
            mixed: None,
        };
        match kind {
            ONE_RUN => {}
            MIXED => {
                let first_delayed = fields.varint()?.checked_add(MessageId::DELAYED_BIT);
                let mut delayed = [0; MASK_LEN];
                delayed.copy_from_slice(fields.bytes(MASK_LEN)?);
                answer.mixed = Some(Box::new(Mixed {
                    first_delayed: first_delayed.ok_or(FieldError::Range)?,
                    delayed,
                }));
            }
            other => return Err(FieldError::Kind(other)),
        }
        let last = answer.first.checked_add(u64::from(count));
        if answer.first == 0 || last.is_none_or(|last| last >= 1 << 63) {
            return Err(FieldError::Range);
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
