//! The numbers under which sends go out, so that a repeat of one stores nothing twice.
//!
//! The broker stores what a session sends to a queue in the order of the numbers, each of them
//! once. So a send may be repeated as often as it takes, as long as its number means nothing else.
//! Two things end that, and both show only in refusals:
//!
//! - A **hole**: the frame of a number was refused for good, and none of its tries has an unknown
//!   outcome. It is not stored and never will be, and so is nothing above it. What waits above it
//!   is numbered anew: from the hole on when every try of theirs was answered, else in a new
//!   session, for a copy that is still on its way must not meet another frame under its number.
//! - **Doubt**: from a number on the broker can't say any more what it has stored, because it has
//!   forgotten the session, or refuses for good what it may have stored before. What was answered
//!   with a refusal each time is numbered anew in a new session; of the rest nobody can know.
//!
//! Numbers below both go on as before. The session ends once nothing of it is under way and
//! nothing below waits: one session at a time, so that the order of the calls stays the order in
//! which a queue stores. A new session for each refused message would be simpler, and would fill
//! the broker's memory of sessions.
//!
//! Invariants: all numbers under way are of the current session and below `number_next`, and at
//! most [`WINDOW`] numbers lie between the lowest that is alive and the next one.
//! Spec: spec/semantics.md, "Producers"; spec/wire.md, "Send".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use sampan_protocol::{ProducerNumber, ProducerSession, Timestamp};
use tokio::time::Instant;

/// Queues whose sessions are kept. One more takes the place of the queue that was not used for
/// longest and has nothing under way; while there is none, what the gate lets in is the bound.
pub(crate) const PRODUCERS_MAX: usize = 10_000;
/// A session that was not used for so long is replaced: half of what the broker remembers one for.
pub(crate) const SESSION_IDLE_MAX: Duration = Duration::from_secs(12 * 3_600);
/// Numbers from the lowest unanswered one on: the replies that a queue keeps for a session.
pub(crate) const WINDOW: u64 = 1_024;

/// What a refusal says about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// See the head of the file.
    Hole(u64),
    /// From this number on; see the head of the file.
    Doubt(u64),
}

/// The session of one queue.
#[derive(Debug)]
pub(crate) struct Producer {
    session: ProducerSession,
    number_next: u64,
    /// The highest number that is known to be stored; those below are, too.
    stored: u64,
    last_used: Instant,
    /// Numbers that are with a connection.
    under_way: BTreeSet<u64>,
    hole: Option<u64>,
    doubt: Option<u64>,
    /// Tries above the hole that were never answered may still reach the broker.
    has_copies: bool,
}

impl Producer {
    fn new(session: ProducerSession, now: Instant) -> Self {
        Producer {
            session,
            number_next: 1,
            stored: 0,
            last_used: now,
            under_way: BTreeSet::new(),
            hole: None,
            doubt: None,
            has_copies: false,
        }
    }

    pub(crate) fn note(&mut self, end: End) {
        let (place, number) = match end {
            End::Hole(number) => (&mut self.hole, number),
            End::Doubt(number) => (&mut self.doubt, number),
        };
        *place = Some(place.map_or(number, |known| known.min(number)));
    }

    /// A frame is not with a connection any more.
    fn land(&mut self, number: u64, is_stored: bool) {
        self.under_way.remove(&number);
        if is_stored {
            self.stored = self.stored.max(number);
            if self.is_above_hole(number) {
                // The broker stored what cannot be stored: nothing that is known here holds.
                self.note(End::Doubt(0));
                self.hole = None;
            }
        }
    }

    /// Whether a number can't be stored any more.
    pub(crate) fn is_above_hole(&self, number: u64) -> bool {
        self.hole.is_some_and(|hole| number > hole)
    }

    /// Whether the broker can't say any more whether a number is stored.
    pub(crate) fn is_in_doubt(&self, number: u64) -> bool {
        self.doubt.is_some_and(|doubt| number >= doubt) && !self.is_above_hole(number)
    }

    /// From which number on the session is over.
    fn ends_at(&self) -> Option<u64> {
        [self.hole, self.doubt].into_iter().flatten().min()
    }

    /// Whether a frame goes out again under the number that it has.
    pub(crate) fn goes_on(&self, number: u64) -> bool {
        self.ends_at().is_none_or(|end| number < end)
    }

    /// Whether a lower number is with a connection.
    pub(crate) fn is_behind(&self, number: u64) -> bool {
        self.under_way.first().is_some_and(|first| *first < number)
    }

    /// Whether a frame can get a number, when none with one waits.
    pub(crate) fn may_number(&self) -> bool {
        let first = self.under_way.first().copied();
        let lowest = first.unwrap_or(self.number_next);
        self.ends_at().is_none() && self.number_next - lowest < WINDOW
    }

    /// Gives the next number.
    pub(crate) fn number(&mut self) -> ProducerNumber {
        let number = self.number_next;
        self.number_next += 1;
        ProducerNumber {
            session: self.session,
            number,
        }
    }

    /// A frame goes to a connection. Returns whether the one before it is known to be stored.
    pub(crate) fn depart(&mut self, number: u64, now: Instant) -> bool {
        self.under_way.insert(number);
        self.last_used = now;
        self.stored + 1 >= number
    }

    /// Whether the session is over, and nothing of it is under way or goes on. `first`: the lowest
    /// number that waits.
    pub(crate) fn is_finished(&self, first: Option<u64>) -> bool {
        let Some(end) = self.ends_at() else {
            return false;
        };
        self.under_way.is_empty() && first.is_none_or(|first| first >= end)
    }

    /// Something above the hole was given up, and a copy of it may still be on its way.
    pub(crate) fn note_copy(&mut self) {
        self.has_copies = true;
    }

    /// Begins anew after the end of the session, when no number is alive.
    pub(crate) fn renew(&mut self, draw: impl FnOnce() -> ProducerSession) {
        match self.hole {
            Some(hole) if self.doubt.is_none() && !self.has_copies => self.number_next = hole,
            _ => {
                self.session = draw();
                self.number_next = 1;
                self.stored = 0;
            }
        }
        self.hole = None;
        self.doubt = None;
        self.has_copies = false;
    }

    /// Draws a new session when the broker may forget this one soon.
    pub(crate) fn freshen(&mut self, now: Instant, draw: impl FnOnce() -> ProducerSession) {
        let idle = now.saturating_duration_since(self.last_used);
        if self.under_way.is_empty() && idle >= SESSION_IDLE_MAX {
            *self = Producer::new(draw(), now);
        }
    }
}

/// What a broker's clock said last, and when. The broker forgets sessions by their time, so that of
/// this machine, which may be years off, would not do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) told: Timestamp,
    pub(crate) at: Instant,
}

impl Clock {
    /// A session that nobody has drawn before.
    pub(crate) fn draw(self, now: Instant) -> ProducerSession {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let mut random = [0; 10];
        rand::rng().fill(&mut random);
        ProducerSession::new(Timestamp(self.told.0.saturating_add(passed)), random)
    }
}

/// The sessions of a client, and the clock that they are drawn by.
#[derive(Debug)]
pub(crate) struct Producers {
    /// Whether sends are numbered.
    pub(crate) is_on: bool,
    by_queue: BTreeMap<Arc<str>, Producer>,
    clock: Clock,
}

impl Producers {
    pub(crate) fn new(is_on: bool) -> Self {
        Producers {
            is_on,
            by_queue: BTreeMap::new(),
            clock: Clock {
                told: Timestamp(0),
                at: Instant::now(),
            },
        }
    }

    /// A broker told its time.
    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// What sessions are drawn by.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Sees to it that a queue has a session. `is_idle`: whether nothing of a queue is alive.
    pub(crate) fn prepare(
        &mut self,
        queue: &Arc<str>,
        now: Instant,
        is_idle: impl Fn(&Arc<str>) -> bool,
    ) {
        if self.by_queue.contains_key(queue) {
            return;
        }
        if self.by_queue.len() >= PRODUCERS_MAX {
            let idle = self.by_queue.iter().filter(|(queue, _)| is_idle(queue));
            let oldest = idle.min_by_key(|(_, producer)| producer.last_used);
            if let Some(oldest) = oldest.map(|(queue, _)| Arc::clone(queue)) {
                self.by_queue.remove(&oldest);
            }
        }
        let producer = Producer::new(self.clock.draw(now), now);
        self.by_queue.insert(Arc::clone(queue), producer);
    }

    pub(crate) fn find(&mut self, queue: &str) -> Option<&mut Producer> {
        self.by_queue.get_mut(queue)
    }

    pub(crate) fn note(&mut self, queue: &str, end: End) {
        if let Some(producer) = self.by_queue.get_mut(queue) {
            producer.note(end);
        }
    }

    pub(crate) fn land(&mut self, queue: &str, number: u64, is_stored: bool) {
        if let Some(producer) = self.by_queue.get_mut(queue) {
            producer.land(number, is_stored);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(now: Instant) -> Producer {
        Producer::new(ProducerSession([1; 16]), now)
    }

    /// Numbers the next frame and hands it to a connection.
    fn write(producer: &mut Producer, now: Instant) -> (u64, bool) {
        let number = producer.number().number;
        (number, producer.depart(number, now))
    }

    #[test]
    fn numbers_below_a_hole_go_on_and_the_session_waits_for_them() {
        let now = Instant::now();
        let mut producer = producer(now);
        for _ in 0..4 {
            write(&mut producer, now);
        }
        producer.note(End::Hole(3));
        producer.land(3, false);
        assert!(producer.goes_on(2) && !producer.goes_on(3) && !producer.goes_on(4));
        assert!(!producer.may_number() && !producer.is_finished(None));
        for (number, is_stored) in [(1, true), (4, false), (2, false)] {
            producer.land(number, is_stored);
        }
        assert!(!producer.is_finished(Some(2)), "the second is to be stored");
        producer.depart(2, now);
        producer.land(2, true);
        assert!(producer.is_finished(Some(4)));
        producer.renew(|| panic!("every try was answered"));
        assert_eq!(write(&mut producer, now), (3, true));
    }

    #[test]
    fn a_number_is_not_used_again_while_a_copy_of_it_may_be_on_its_way() {
        let now = Instant::now();
        let other = ProducerSession([2; 16]);
        for end in [None, Some(End::Doubt(2))] {
            let mut producer = producer(now);
            write(&mut producer, now);
            producer.note(End::Hole(1));
            producer.land(1, false);
            match end {
                None => producer.note_copy(),
                Some(end) => producer.note(end),
            }
            producer.renew(|| other);
            let number = producer.number();
            assert_eq!((number.session, number.number), (other, 1));
        }
    }

    #[test]
    fn what_lies_above_a_hole_is_never_in_doubt() {
        let mut producer = producer(Instant::now());
        producer.note(End::Doubt(4));
        producer.note(End::Hole(6));
        let in_doubt: Vec<_> = (1..9).filter(|n| producer.is_in_doubt(*n)).collect();
        assert_eq!(in_doubt, [4, 5, 6]);
        producer.land(7, true);
        assert!(
            producer.is_in_doubt(8),
            "a broker that stores above a hole is not believed"
        );
    }

    #[test]
    fn no_more_numbers_are_given_than_the_broker_remembers_replies() {
        let now = Instant::now();
        let mut producer = producer(now);
        for number in 1..=WINDOW {
            assert!(producer.may_number());
            write(&mut producer, now);
            if number > 1 {
                producer.land(number, false);
            }
        }
        assert!(!producer.may_number(), "the first is still under way");
        producer.land(1, true);
        assert!(producer.may_number());
    }

    #[test]
    fn a_session_that_was_idle_for_long_is_replaced() {
        let now = Instant::now();
        let mut producer = producer(now);
        write(&mut producer, now);
        let later = now + SESSION_IDLE_MAX;
        producer.freshen(later, || panic!("a frame of it is under way"));
        producer.land(1, true);
        producer.freshen(later - Duration::from_secs(1), || panic!("used lately"));
        producer.freshen(later, || ProducerSession([2; 16]));
        assert_eq!(producer.number().session, ProducerSession([2; 16]));
    }

    #[test]
    fn sessions_begin_with_the_brokers_time_and_those_of_idle_queues_make_room() {
        let now = Instant::now();
        let mut producers = Producers::new(true);
        let told = Timestamp(1_000);
        producers.set_clock(Clock { told, at: now });
        let later = now + Duration::from_millis(234);
        let clock = producers.clock();
        let (one, other) = (clock.draw(later), clock.draw(later));
        assert_eq!(one.drawn_at(), Timestamp(1_234));
        assert_ne!(one, other);
        let queue = |n: usize| Arc::from(format!("q{n}"));
        for n in 0..PRODUCERS_MAX {
            let at = now + Duration::from_millis(n as u64);
            producers.prepare(&queue(n), at, |_| true);
        }
        let new = Arc::from("new");
        producers.prepare(&new, later, |idle| **idle != *"q0");
        assert_eq!(producers.by_queue.len(), PRODUCERS_MAX);
        assert!(producers.find("q0").is_some(), "something of it is alive");
        assert!(producers.find("q1").is_none() && producers.find("new").is_some());
    }
}
