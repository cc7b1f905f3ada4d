//! Producers as one would write them in an hour: every reply of every session, kept for ever, and
//! when it was used last.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;
use sampan_core::Reply;
use sampan_core::limits::{PRODUCER_LIFE_MS, PRODUCER_SWEEP_MS};
use sampan_protocol::{ErrorCode, ProducerNumber, ProducerSession, Sent, Timestamp};

/// What a numbered send has to bring.
#[derive(Debug)]
pub(crate) enum Judged {
    /// What a send without a number would.
    Next,
    Repeat(Sent),
    Refused(ErrorCode),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    known: BTreeMap<ProducerSession, (Vec<Sent>, u64)>,
    /// Sessions that ever sent something, known or not.
    drawn: Vec<ProducerSession>,
}

impl Producers {
    pub(crate) fn judge(&mut self, producer: ProducerNumber, now: u64, reply: &Reply) -> Judged {
        let ProducerNumber { session, number } = producer;
        let drawn_at = session.drawn_at().0;
        let is_too_old = drawn_at + PRODUCER_LIFE_MS <= now;
        if let Some((_, used_at)) = self.known.get(&session) {
            // Between these, the broker may have forgotten it or not.
            let forgotten_at = drawn_at.max(*used_at) + PRODUCER_LIFE_MS;
            let is_expired = matches!(
                reply,
                Reply::Refused(refusal) if refusal.code == ErrorCode::ProducerExpired
            );
            let must_be_gone = forgotten_at + PRODUCER_SWEEP_MS <= now;
            if must_be_gone || (forgotten_at <= now && is_expired) {
                self.known.remove(&session);
            }
        }
        let Some((answers, used_at)) = self.known.get_mut(&session) else {
            let is_early = drawn_at > now + PRODUCER_LIFE_MS;
            return match number {
                _ if is_too_old || is_early => Judged::Refused(ErrorCode::ProducerExpired),
                1 => Judged::Next,
                _ => Judged::Refused(ErrorCode::OutOfOrder),
            };
        };
        let place = usize::try_from(number).unwrap() - 1;
        match answers.get(place) {
            Some(sent) => {
                *used_at = now;
                Judged::Repeat(sent.clone())
            }
            None if place == answers.len() => Judged::Next,
            None => Judged::Refused(ErrorCode::OutOfOrder),
        }
    }

    pub(crate) fn note(&mut self, producer: ProducerNumber, now: u64, sent: &Sent) {
        let session = producer.session;
        if !self.drawn.contains(&session) {
            self.drawn.push(session);
        }
        let (answers, used_at) = self.known.entry(session).or_default();
        answers.push(sent.clone());
        *used_at = now;
    }

    /// What a client might say: mostly the next number, else a repeat, a gap, a new session, or one
    /// of another day.
    pub(crate) fn random(&self, random: &mut StdRng, now: u64) -> Option<ProducerNumber> {
        let session = match random.random_range(0..10) {
            0..3 => return None,
            3..9 if !self.drawn.is_empty() => self.drawn[random.random_range(0..self.drawn.len())],
            _ => {
                let far = 2 * PRODUCER_LIFE_MS;
                let drawn_at = match random.random_range(0..4) {
                    0 => random.random_range(now - far..now + far),
                    _ => now,
                };
                ProducerSession::new(Timestamp(drawn_at), random.random())
            }
        };
        let highest = self.known.get(&session).map_or(0, |known| known.0.len()) as u64;
        let number = match random.random_range(0..8) {
            0 => random.random_range(1..=highest + 1),
            1 => highest + 2,
            2 => highest.max(1),
            _ => highest + 1,
        };
        Some(ProducerNumber { session, number })
    }
}
