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

mod answer;
mod scattered;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sampan_protocol::{ErrorCode, ProducerNumber, ProducerSession, Sent, Timestamp};

use crate::fields::{FieldError, Fields};
use crate::limits::{
    ANSWER_COUNT_MAX, ANSWERS_KEPT, PRODUCER_COUNT_MAX, PRODUCER_LIFE_MS, PRODUCER_SWEEP_MS,
};
use crate::reply::Refusal;
use answer::Answer;
use scattered::Scattered;
pub(crate) use scattered::encode as encode_reply;

const VERSION: u8 = 1;

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
    /// The replies that do not fit into an answer.
    scattered: Scattered,
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

impl Producers {
    pub(crate) fn new(next: u64, swept_at: Timestamp, forgotten_until: Timestamp) -> Self {
        Producers {
            known: BTreeMap::new(),
            answer_count: 0,
            scattered: Scattered::default(),
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
        let Some(answer) = place.map(|place| &answers[place]) else {
            let text = format!("number {number} of a session that is at {highest}");
            return Err(Refusal::with_text(ErrorCode::ProducerExpired, text));
        };
        let sent = match answer.sent() {
            Some(sent) => sent,
            None => self.scattered.reply(known.number, number),
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
        let answer = Answer::of(sent);
        // The number that it replaces had the place of this one.
        if answer.is_scattered() {
            self.scattered.put(known.number, producer.highest, sent);
        } else {
            self.scattered.remove(known.number, producer.highest);
        }
        producer.answers.push_back(answer);
        self.answer_count += 1;
        if self.known.len() > PRODUCER_COUNT_MAX || self.room_taken() > ANSWER_COUNT_MAX {
            self.make_room(session);
        }
    }

    /// Replies that are remembered, each run of a scattered one counted too.
    fn room_taken(&self) -> usize {
        self.answer_count + self.scattered.run_count()
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
            if self.known.len() <= count_max && self.room_taken() <= answer_max {
                return;
            }
            if let Some(known) = self.known.remove(&session) {
                self.forgotten_until = self.forgotten_until.max(at);
                self.answer_count -= known.producer.answers.len();
                self.scattered.remove_all(known.number);
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
        let scattered = &mut self.scattered;
        self.known.retain(|_, known| {
            let is_kept = known.producer.forgotten_at() > now;
            if !is_kept {
                gone.push(known.number);
                *answer_count -= known.producer.answers.len();
                scattered.remove_all(known.number);
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

    /// Hands over the scattered replies that changed since the last freeze, by row number.
    pub(crate) fn freeze_replies(&mut self, each: impl FnMut(u64, Option<Arc<Sent>>)) {
        self.scattered.freeze(each);
    }

    /// The numbers of all rows of scattered replies that may be stored.
    pub(crate) fn reply_row_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.scattered.row_numbers()
    }

    pub(crate) fn restore_reply(&mut self, number: u64, row: &[u8]) -> Result<(), FieldError> {
        self.scattered.restore_row(number, row)
    }

    /// Whether every scattered answer has its reply, and every reply its answer.
    pub(crate) fn is_whole(&self) -> bool {
        let mut count = 0;
        let mut have = self.known.values().flat_map(|known| {
            let ages = (0..).zip(known.producer.answers.iter().rev());
            let scattered = ages.filter(|(_, answer)| answer.is_scattered());
            scattered.map(|(age, answer)| (known.number, known.producer.highest - age, answer))
        });
        let all = have.all(|(producer, number, answer)| {
            count += 1;
            self.scattered.holds(producer, number, answer)
        });
        all && count == self.scattered.reply_count()
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

#[cfg(test)]
mod tests;
