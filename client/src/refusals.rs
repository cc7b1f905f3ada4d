//! What refusals do to the frames that got them.
//!
//! A refusal that comes from the state that the cluster is in is repeated within the retry
//! deadline, elsewhere when another server may do better. One that belongs to one message of a
//! frame that several callers share splits the frame, so that each caller gets the answer to its
//! own messages. Everything else goes to the callers.
//!
//! A send with a number is safe to repeat, but its refusal also says something of its session: see
//! `producer`. Out of order is never told to a caller: it says that the send before this one is not
//! stored yet, and what becomes of that one decides about this one. So it has no deadline but the
//! request timeout, and needs no pause: the frames before it are under way, or wait in the same
//! line.

use std::sync::Arc;
use std::time::Duration;

use sampan_protocol::{Applied, ErrorCode, ErrorReply, Reply};
use tokio::time::Instant;

use crate::backoff;
use crate::config::Config;
use crate::connection::Connection;
use crate::error::Error;
use crate::line::When;
use crate::outgoing::{Outgoing, Work};
use crate::producer::End;
use crate::state::State;

/// Longest pause between two tries while the cluster chooses a leader: that takes about a second,
/// and what is added to it is what callers wait in vain.
const FAILOVER_PAUSE_MAX: Duration = Duration::from_millis(200);

/// A frame that goes out again.
#[derive(Debug)]
pub(crate) struct Repeat {
    outgoing: Outgoing,
    when: When,
    /// Whether to find out first who leads.
    finds_leader: bool,
}

impl Repeat {
    /// Of a send that has a number, and that was not answered.
    pub(crate) fn of_unknown(outgoing: Outgoing) -> Self {
        Repeat {
            outgoing,
            when: When::Now,
            finds_leader: false,
        }
    }

    /// Hands the frame back after `slot` refused it.
    pub(crate) fn put(self, state: &mut State, slot: usize, now: Instant) {
        // With one server there is nobody else to ask.
        let is_worth_it = self.when == When::Now || state.servers.len() > 1;
        if self.finds_leader && is_worth_it {
            state.unroute(self.outgoing.queue(), slot, now);
        }
        match self.when {
            _ if self.outgoing.number().is_some() => state.put_line(self.outgoing, self.when),
            When::At(at) => state.put_retry(at, self.outgoing),
            When::Now | When::AfterEarlier => state.put_ready(self.outgoing),
        }
    }
}

/// What a refusal means for the frame that got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The caller hears of it.
    Final,
    /// Somebody else leads: at once, when it is known who.
    Elsewhere,
    /// The cluster is changing: after a pause, wherever the leader is then.
    NotNow,
    /// The queue is changing: after a pause.
    Busy,
}

impl Connection {
    pub(crate) fn on_refusal(&mut self, mut outgoing: Outgoing, refusal: &ErrorReply) {
        let error = Error::from_reply(refusal);
        if matches!(&outgoing.work, Work::Call(call) if call.has_received()) {
            // Part of the messages came before the refusal; they are leased to this caller.
            if let Work::Call(call) = outgoing.work {
                call.resolve(&self.shared, Reply::Received(Vec::new()), outgoing.repeated);
            }
            return;
        }
        let code = error.code();
        let is_unknown = outgoing.repeated || refusal.applied != Applied::No;
        if outgoing.is_orphan() && !is_unknown {
            // Not stored, so those behind it need not wait for it.
            return self.refuse_for_good(outgoing, error);
        }
        if let Work::Send(frame) = &outgoing.work
            && frame.producer.is_some()
        {
            match code {
                Some(ErrorCode::OutOfOrder) if !frame.follows_stored => {
                    return self.repeats.push(Repeat {
                        outgoing,
                        when: When::AfterEarlier,
                        finds_leader: false,
                    });
                }
                // What this one follows was stored, and the queue knows nothing of it: it was
                // deleted and made again.
                Some(ErrorCode::OutOfOrder | ErrorCode::ProducerExpired) => {
                    return self.on_session_lost(outgoing, refusal);
                }
                _ => {}
            }
        }
        let config = &self.shared.config;
        let verdict = code.map(|code| verdict(code, refusal.applied, &outgoing, config));
        let verdict = verdict.unwrap_or(Verdict::Final);
        if verdict != Verdict::Final {
            let mut at = self.repeat_at(&mut outgoing, refusal, verdict);
            if at.is_none() && is_unknown && outgoing.number().is_some() {
                outgoing.orphan(error.clone(), &mut self.freed);
                at = self.repeat_at(&mut outgoing, refusal, verdict);
            }
            if let Some(at) = at {
                // Once the outcome of one try is open, that of the request is.
                outgoing.repeated = is_unknown;
                return self.repeats.push(Repeat {
                    outgoing,
                    when: match verdict {
                        Verdict::Elsewhere => When::Now,
                        _ => When::At(at),
                    },
                    finds_leader: verdict != Verdict::Busy,
                });
            }
        }
        if code.is_some_and(is_of_one_message) && self.can_split(&outgoing) {
            return self.split(outgoing);
        }
        self.refuse_for_good(outgoing, error);
    }

    /// When to try a refused frame again, unless that is too late for its caller.
    fn repeat_at(
        &self,
        outgoing: &mut Outgoing,
        refusal: &ErrorReply,
        verdict: Verdict,
    ) -> Option<Instant> {
        let config = &self.shared.config;
        let asked = Duration::from_millis(refusal.retry_after_ms.into());
        let pause = match verdict {
            Verdict::Elsewhere => Duration::ZERO,
            Verdict::NotNow => backoff::delay_up_to(outgoing.refused_count, FAILOVER_PAUSE_MAX),
            Verdict::Busy | Verdict::Final => backoff::delay(outgoing.refused_count),
        };
        let at = self.now + pause.max(asked);
        let since = *outgoing.refused_since.get_or_insert(self.now);
        let until = outgoing
            .expires_at(config.request_timeout)
            .min(since + config.retry_deadline);
        if at >= until && !outgoing.is_orphan() {
            return None;
        }
        outgoing.refused_count += 1;
        if let Work::Call(call) = &mut outgoing.work {
            call.shorten_wait(at);
        }
        Some(at)
    }

    /// The queue does not know the session of a send any more.
    fn on_session_lost(&mut self, mut outgoing: Outgoing, refusal: &ErrorReply) {
        let error = Error::refused(ErrorCode::ProducerExpired);
        self.note_end(&outgoing, |_| End::Doubt(0));
        if outgoing.repeated {
            return outgoing.fail(error, &mut self.freed);
        }
        // Each try was refused, so it is not stored and can have a number of another session.
        match self.repeat_at(&mut outgoing, refusal, Verdict::NotNow) {
            Some(at) => self.repeats.push(Repeat {
                outgoing,
                when: When::At(at),
                finds_leader: false,
            }),
            None => outgoing.fail(error.with_applied(Applied::No), &mut self.freed),
        }
    }

    /// Tells the callers of a frame that it goes out no more.
    pub(crate) fn refuse_for_good(&mut self, outgoing: Outgoing, error: Error) {
        if outgoing.repeated || error.applied() != Applied::No {
            self.note_end(&outgoing, End::Doubt);
        } else {
            self.note_end(&outgoing, End::Hole);
        }
        outgoing.fail(error, &mut self.freed);
    }

    /// Notes what is known of the session of a send that has a number.
    fn note_end(&mut self, outgoing: &Outgoing, end: impl FnOnce(u64) -> End) {
        if let Work::Send(frame) = &outgoing.work
            && let Some(producer) = frame.producer
        {
            let queue = Arc::clone(&frame.queue);
            self.session_ends.push((queue, end(producer.number)));
        }
    }

    /// Whether the callers of a frame may get frames of their own. Not with numbers when a try of
    /// the whole may be stored.
    fn can_split(&self, outgoing: &Outgoing) -> bool {
        let is_safe = outgoing.number().is_none() || !outgoing.repeated;
        is_safe && matches!(&outgoing.work, Work::Send(frame) if frame.unit_count() > 1)
    }

    /// Sends what the callers of one frame gave in a frame for each of them.
    fn split(&mut self, outgoing: Outgoing) {
        self.note_end(&outgoing, End::Hole);
        let Work::Send(frame) = outgoing.work else {
            return;
        };
        for part in frame.split() {
            let mut part = Outgoing::new(Work::Send(part), outgoing.created_at);
            part.repeated = outgoing.repeated;
            self.again.push(part);
        }
    }
}

/// What to do about a refusal. What was not done may go out again, for whoever waits for it; what
/// may have been done only when that is safe, as it is for sends with numbers, or allowed.
fn verdict(code: ErrorCode, applied: Applied, outgoing: &Outgoing, config: &Config) -> Verdict {
    let is_wanted = match &outgoing.work {
        Work::Send(_) | Work::Delete(_) => true,
        // What any server can answer is for operators, who hear at once how the cluster is.
        Work::Call(call) => !call.is_dropped() && call.queue().is_some(),
        Work::Ping | Work::Abandoned { .. } => false,
    };
    let is_safe = applied == Applied::No || outgoing.repeats(config.resend_unknown);
    if !is_wanted || !is_safe {
        return Verdict::Final;
    }
    match code {
        ErrorCode::NotLeader => Verdict::Elsewhere,
        ErrorCode::NoLeader
        | ErrorCode::LeaderChanged
        | ErrorCode::ShuttingDown
        | ErrorCode::OutcomeUnknown => Verdict::NotNow,
        ErrorCode::QueueBusy => Verdict::Busy,
        _ => Verdict::Final,
    }
}

/// Whether a send was refused for something that one of its messages has.
fn is_of_one_message(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::BodyEmpty
            | ErrorCode::MessageTooLarge
            | ErrorCode::ChecksumMismatch
            | ErrorCode::DelayOutOfRange
            | ErrorCode::DelayInGroup
            | ErrorCode::HeadersOutOfRange
            | ErrorCode::ReservedField
            | ErrorCode::TooManyDelayed
            | ErrorCode::TooManyKeys
    )
}
