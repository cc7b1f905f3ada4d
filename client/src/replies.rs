//! What each reply does to the frame that it answers.
//!
//! A refusal that belongs to one message of a frame that several callers share splits the frame, so
//! that each caller gets the answer to its own messages. A refusal that comes from the state that
//! the cluster is in is repeated within the retry deadline, elsewhere when another server may do
//! better. Everything else goes to the callers.

use std::sync::Arc;
use std::time::Duration;

use sampan_protocol::{
    Applied, ErrorCode, ErrorReply, Frame, HandleResults, ReceivedMessage, Reply, Sent, kind,
};
use tokio::time::Instant;

use crate::backoff;
use crate::config::Config;
use crate::connection::Connection;
use crate::delete_frame::DeleteFrame;
use crate::error::Error;
use crate::outgoing::{Outgoing, Work};
use crate::send_frame::SendFrame;
use crate::shared::Shared;
use crate::slot::Outcome;
use crate::state::State;

/// Longest pause between two tries while the cluster chooses a leader: that takes about a second,
/// and what is added to it is what callers wait in vain.
const FAILOVER_PAUSE_MAX: Duration = Duration::from_millis(200);

/// A refused frame that goes out again.
#[derive(Debug)]
pub(crate) struct Repeat {
    outgoing: Outgoing,
    /// `None`: as soon as it is known where to.
    at: Option<Instant>,
    /// Whether to find out first who leads.
    finds_leader: bool,
}

impl Repeat {
    /// Hands the frame back after `slot` refused it.
    pub(crate) fn put(self, state: &mut State, slot: usize, now: Instant) {
        // With one server there is nobody else to ask.
        let is_worth_it = self.at.is_none() || state.servers.len() > 1;
        if self.finds_leader && is_worth_it {
            state.unroute(self.outgoing.queue(), slot, now);
        }
        match self.at {
            Some(at) => state.put_retry(at, self.outgoing),
            None => state.put_ready(self.outgoing),
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
    /// Resolves the request that `frame` answers. An error ends the connection.
    pub(crate) fn on_frame(&mut self, frame: Frame) -> Result<(), String> {
        let header = frame.header;
        let reply = Reply::decode(header.kind, frame.payload).map_err(|error| error.to_string())?;
        let more = header.has_more();
        let Some(outgoing) = self.in_flight.get_mut(&header.request_id) else {
            return Err(match reply {
                Reply::Error(error) => Error::from_reply(&error).to_string(),
                _ => "the broker answered a request that was not made".to_owned(),
            });
        };
        let reply = match reply {
            Reply::Received(messages) => {
                collect(&self.shared, outgoing, messages)?;
                if more {
                    return Ok(());
                }
                Reply::Received(Vec::new())
            }
            _ if more => return Err("a reply in several frames that can't have them".to_owned()),
            other => other,
        };
        let Some(outgoing) = self.in_flight.remove(&header.request_id) else {
            return Ok(());
        };
        self.landed.extend(outgoing.lane_key());
        if let Reply::Error(refusal) = reply {
            self.on_refusal(outgoing, &refusal);
            return Ok(());
        }
        let repeated = outgoing.repeated;
        match (outgoing.work, reply) {
            (Work::Send(frame), Reply::Sent(sent)) => self.on_sent(frame, sent),
            (Work::Delete(frame), Reply::Deleted(results)) => {
                self.on_deleted(frame, &results, repeated);
                Ok(())
            }
            (Work::Call(call), reply) if header.kind == call.request.kind() | kind::REPLY => {
                call.resolve(&self.shared, reply, repeated);
                Ok(())
            }
            (Work::Ping, Reply::Pong) | (Work::Abandoned { .. }, _) => Ok(()),
            _ => Err("the broker answered with a reply of another kind".to_owned()),
        }
    }

    fn on_sent(&mut self, frame: SendFrame, sent: Sent) -> Result<(), String> {
        let count: u64 = sent.runs.iter().map(|(_, count)| u64::from(*count)).sum();
        self.freed.sends.add(frame.cost());
        if usize::try_from(count) != Ok(frame.count()) {
            let text = "a send reply with a wrong number of ids";
            frame.resolve(Outcome::Failed(Error::disconnected(text, Applied::Unknown)));
            return Err(text.to_owned());
        }
        self.freed
            .buffers
            .push(frame.resolve(Outcome::Sent(sent.runs)));
        Ok(())
    }

    fn on_deleted(&mut self, frame: DeleteFrame, results: &HandleResults, repeated: bool) {
        self.freed.deletes.add(frame.cost());
        let mut failures: Vec<_> = results
            .failures
            .iter()
            .map(|(place, code)| (*place, handle_error(*code, repeated)))
            .collect();
        failures.sort_by_key(|(place, _)| *place);
        frame.resolve(Outcome::Handled(failures));
    }

    fn on_refusal(&mut self, mut outgoing: Outgoing, refusal: &ErrorReply) {
        let error = Error::from_reply(refusal);
        if matches!(&outgoing.work, Work::Call(call) if call.has_received()) {
            // Part of the messages came before the refusal; they are leased to this caller.
            if let Work::Call(call) = outgoing.work {
                call.resolve(&self.shared, Reply::Received(Vec::new()), outgoing.repeated);
            }
            return;
        }
        if let Some(code) = error.code() {
            let verdict = verdict(code, refusal.applied, &outgoing, &self.shared.config);
            if verdict != Verdict::Final
                && let Some(at) = self.repeat_at(&mut outgoing, refusal, verdict)
            {
                // Once the outcome of one try is open, that of the request is.
                outgoing.repeated |= refusal.applied != Applied::No;
                self.repeats.push(Repeat {
                    outgoing,
                    at: (verdict != Verdict::Elsewhere).then_some(at),
                    finds_leader: verdict != Verdict::Busy,
                });
                return;
            }
            if let Work::Send(frame) = outgoing.work {
                if frame.unit_count() > 1 && is_of_one_message(code) {
                    self.repeat_split(frame, outgoing.created_at, outgoing.repeated);
                    return;
                }
                outgoing.work = Work::Send(frame);
            }
        }
        outgoing.fail(error, &mut self.freed);
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
        if at >= until {
            return None;
        }
        outgoing.refused_count += 1;
        if let Work::Call(call) = &mut outgoing.work {
            call.shorten_wait(at);
        }
        Some(at)
    }

    /// Sends what the callers of one frame gave in a frame for each of them.
    fn repeat_split(&mut self, frame: SendFrame, created_at: Instant, repeated: bool) {
        for part in frame.split() {
            let mut outgoing = Outgoing::new(Work::Send(part), created_at);
            outgoing.repeated = repeated;
            self.again.push(outgoing);
        }
    }
}

/// Keeps the messages of a receive reply, or gives them back when their caller was told that it
/// timed out.
fn collect(
    shared: &Arc<Shared>,
    outgoing: &mut Outgoing,
    messages: Vec<ReceivedMessage>,
) -> Result<(), String> {
    match &mut outgoing.work {
        Work::Call(call) if call.receives_from().is_some() => {
            call.collect(messages).map_err(str::to_owned)
        }
        Work::Abandoned {
            received_from: Some(queue),
        } => {
            let handles: Vec<_> = messages.iter().map(|message| message.handle).collect();
            shared.release(queue, &handles);
            Ok(())
        }
        _ => Err("the broker answered something else with messages".to_owned()),
    }
}

/// What to do about a refusal. What was not done may go out again, for whoever waits for it; what
/// may have been done only when that is safe, or allowed.
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
            | ErrorCode::HeadersOutOfRange
            | ErrorCode::ReservedField
            | ErrorCode::TooManyDelayed
    )
}

/// Why a handle was not worked off.
///
/// A repeat may be refused because the first try, on a connection that broke, had done it. Success
/// is reported only when it is known, so such a refusal says that the outcome is unknown.
pub(crate) fn handle_error(code: ErrorCode, repeated: bool) -> Error {
    let error = Error::refused(code);
    if repeated {
        error.with_applied(Applied::Unknown)
    } else {
        error
    }
}
