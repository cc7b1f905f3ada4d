//! What each reply does to the frame that it answers. Refusals are a matter of their own: see
//! `refusals`.

use std::sync::Arc;

use sampan_protocol::{
    Applied, ErrorCode, Frame, HandleResults, ReceivedMessage, Reply, SentReply, kind,
};

use crate::connection::Connection;
use crate::delete_frame::DeleteFrame;
use crate::error::Error;
use crate::outgoing::{LaneKey, Outgoing, Work};
use crate::send_frame::SendFrame;
use crate::shared::Shared;
use crate::slot::Outcome;

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
            Reply::Peeked(messages) => {
                if let Work::Call(call) = &mut outgoing.work {
                    call.collect_peeked(messages)?;
                }
                if more {
                    return Ok(());
                }
                Reply::Peeked(Vec::new())
            }
            _ if more => return Err("a reply in several frames that can't have them".to_owned()),
            other => other,
        };
        let Some(outgoing) = self.in_flight.remove(&header.request_id) else {
            return Ok(());
        };
        let outgoing = *outgoing;
        let is_stored = matches!(reply, Reply::Sent(_));
        let landed = outgoing.lane_key();
        self.landed
            .extend(landed.map(|key| LaneKey { is_stored, ..key }));
        if let Reply::Error(refusal) = reply {
            self.on_refusal(outgoing, &refusal);
            return Ok(());
        }
        let repeated = outgoing.repeated;
        match (outgoing.work, reply) {
            (Work::Send(frame), Reply::Sent(reply)) => self.on_sent(frame, reply),
            (Work::Delete(frame), Reply::Deleted(results)) => {
                self.on_deleted(frame, &results, repeated);
                Ok(())
            }
            (Work::Call(call), reply) if header.kind == call.request.kind() | kind::REPLY => {
                call.resolve(&self.shared, reply, repeated);
                Ok(())
            }
            (Work::Ping, Reply::Pong) | (Work::Abandoned { .. }, _) => Ok(()),
            (work, _) => {
                let text = "the broker answered with a reply of another kind";
                let outgoing = Outgoing { work, ..outgoing };
                let applied = outgoing.applied_once_written();
                self.refuse_for_good(outgoing, Error::disconnected(text, applied));
                Err(text.to_owned())
            }
        }
    }

    fn on_sent(&mut self, frame: SendFrame, reply: SentReply) -> Result<(), String> {
        let count: u64 = reply
            .sent
            .runs
            .iter()
            .map(|(_, count)| u64::from(*count))
            .sum();
        self.freed.add_send(&frame);
        if usize::try_from(count) != Ok(frame.count()) {
            let text = "a send reply with a wrong number of ids";
            frame.resolve(Outcome::Failed(Error::disconnected(text, Applied::Unknown)));
            return Err(text.to_owned());
        }
        self.freed.buffers.push(frame.resolve(Outcome::Sent(reply)));
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
