//! One frame on its way to the broker and back: what it carries, since when, and how often.
//!
//! A frame is whole in one of four places: waiting in `State`, being written or awaiting its reply
//! in `Connection`, or waiting to be repeated in `State`. It never is in two.
//!
//! `repeated` is what the safety of numbers rests on: while it is not set, every try of the frame
//! was answered, or never written whole, and the broker has stored nothing of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use sampan_protocol::{Applied, Name, Request};
use tokio::time::Instant;

use crate::call::Call;
use crate::delete_frame::DeleteFrame;
use crate::error::Error;
use crate::gate::Cost;
use crate::send_frame::SendFrame;
use crate::slot::{Outcome, SlotOwner};

/// For how long a send that nobody waits for is left to one server, at least. Repeating it sooner
/// would load a broker more that is slow already.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(30);

/// What a frame carries.
#[derive(Debug)]
pub(crate) enum Work {
    Send(SendFrame),
    Delete(DeleteFrame),
    Call(Call),
    Ping,
    /// The caller was told that it timed out; the reply may still come. Messages that come for a
    /// receive go back to this queue.
    Abandoned {
        received_from: Option<Name>,
    },
}

/// A frame and its story.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) work: Work,
    /// When the first of its units was accepted; of an orphan, when it became one,
    /// or was taken last.
    pub(crate) created_at: Instant,
    /// An earlier try may have carried it out.
    pub(crate) repeated: bool,
    /// How often the broker refused it with a reason to try again.
    pub(crate) refused_count: u32,
    /// When it did so for the first time.
    pub(crate) refused_since: Option<Instant>,
    /// Header, and everything else that is not a piece of the work itself.
    pub(crate) head: BytesMut,
}

/// Names one of the counts of frames on their way: those of a queue's sends, or of its deletes.
#[derive(Debug)]
pub(crate) struct LaneKey {
    pub(crate) queue: Arc<str>,
    pub(crate) sends: bool,
    /// Of a send that has one.
    pub(crate) number: Option<u64>,
    /// The broker said that it has stored it.
    pub(crate) is_stored: bool,
}

/// What a finished frame leaves free.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    pub(crate) sends: Cost,
    /// Sends that nobody waits for any more, and that go on.
    pub(crate) orphaned_count: usize,
    /// How many of `sends` nobody waited for.
    pub(crate) orphan_count: usize,
    pub(crate) deletes: Cost,
    pub(crate) buffers: Vec<Vec<u8>>,
}

impl Freed {
    /// A send frame is done with.
    pub(crate) fn add_send(&mut self, frame: &SendFrame) {
        self.sends.add(frame.cost());
        if frame.is_orphan() {
            self.orphan_count += frame.count();
        }
    }
}

impl Outgoing {
    pub(crate) fn new(work: Work, created_at: Instant) -> Self {
        Outgoing {
            work,
            created_at,
            repeated: false,
            refused_count: 0,
            refused_since: None,
            head: BytesMut::new(),
        }
    }

    fn send(&self) -> Option<&SendFrame> {
        match &self.work {
            Work::Send(frame) => Some(frame),
            _ => None,
        }
    }

    /// The number that it is written under, when it is a send that has one.
    pub(crate) fn number(&self) -> Option<u64> {
        Some(self.send()?.producer?.number)
    }

    /// Nothing of it is stored nor will be: it is like new.
    pub(crate) fn forget_number(&mut self) {
        self.repeated = false;
        if let Work::Send(frame) = &mut self.work {
            frame.producer = None;
        }
    }

    /// How many messages a send has.
    pub(crate) fn send_count(&self) -> usize {
        self.send().map_or(0, SendFrame::count)
    }

    /// Whether it is a send that goes on although nobody waits for it.
    pub(crate) fn is_orphan(&self) -> bool {
        self.send().is_some_and(SendFrame::is_orphan)
    }

    /// Takes those away who wait for a send, which goes on without them.
    pub(crate) fn disown(&mut self) -> Option<SlotOwner> {
        match &mut self.work {
            Work::Send(frame) => frame.disown(),
            _ => None,
        }
    }

    /// Tells those who wait for a send, which goes on without them.
    pub(crate) fn orphan(&mut self, error: Error, freed: &mut Freed) {
        if let Some(slot) = self.disown() {
            freed.orphaned_count += self.send_count();
            slot.resolve(Outcome::Failed(error.with_applied(Applied::Unknown)));
        }
    }

    /// When its caller stops waiting; an orphan is then tried elsewhere.
    pub(crate) fn expires_at(&self, request_timeout: Duration) -> Instant {
        let wait_max = match &self.work {
            Work::Call(call) => call.wait_max(),
            Work::Send(frame) if frame.is_orphan() => {
                ORPHAN_PATIENCE.saturating_sub(request_timeout)
            }
            _ => Duration::ZERO,
        };
        self.created_at + request_timeout + wait_max
    }

    /// Lays out the frame under a new request id.
    pub(crate) fn encode(&mut self, request_id: u64) {
        self.head.clear();
        match &mut self.work {
            Work::Send(frame) => frame.encode_head(request_id, &mut self.head),
            Work::Delete(frame) => frame.encode(request_id, &mut self.head),
            Work::Call(call) => {
                call.begin();
                call.request.encode(request_id, &mut self.head);
            }
            Work::Ping => Request::Ping.encode(request_id, &mut self.head),
            Work::Abandoned { .. } => {}
        }
    }

    /// The encoded frame in pieces; some may be empty.
    pub(crate) fn pieces(&self) -> [&[u8]; 4] {
        let [a, b, c] = match &self.work {
            Work::Send(frame) => frame.pieces(),
            _ => [&[][..]; 3],
        };
        [&self.head, a, b, c]
    }

    pub(crate) fn encoded_len(&self) -> usize {
        self.pieces().iter().map(|piece| piece.len()).sum()
    }

    /// The queue that it is for: empty for the catalog, `None` for what any server can answer.
    pub(crate) fn queue(&self) -> Option<&str> {
        match &self.work {
            Work::Send(frame) => Some(&frame.queue),
            Work::Delete(frame) => Some(&frame.queue),
            Work::Call(call) => call.queue(),
            Work::Ping | Work::Abandoned { .. } => None,
        }
    }

    /// Whether it makes sense for one server only.
    pub(crate) fn is_pinned(&self) -> bool {
        match &self.work {
            Work::Call(call) => matches!(call.request, Request::Route(_)),
            Work::Ping | Work::Abandoned { .. } => true,
            Work::Send(_) | Work::Delete(_) => false,
        }
    }

    /// Whether nobody waits for it and nothing is lost when it never goes out.
    pub(crate) fn is_dropped(&self) -> bool {
        matches!(&self.work, Work::Call(call) if call.is_dropped())
    }

    /// Whether a caller waits for it.
    pub(crate) fn is_awaited(&self) -> bool {
        match &self.work {
            Work::Call(call) => call.is_awaited() && !self.is_pinned(),
            _ => self.matters(),
        }
    }

    /// Whether somebody, or the broker's state, depends on its getting through.
    pub(crate) fn matters(&self) -> bool {
        match &self.work {
            Work::Send(frame) => !frame.is_orphan(),
            Work::Delete(_) => true,
            Work::Call(call) => !call.is_dropped() && !self.is_pinned(),
            Work::Ping | Work::Abandoned { .. } => false,
        }
    }

    /// Whether it may go out again when nobody knows what became of it: sends have numbers then.
    pub(crate) fn repeats(&self, resend_unknown: bool) -> bool {
        match &self.work {
            Work::Send(_) => resend_unknown,
            Work::Delete(_) => true,
            Work::Call(call) => call.repeats() && !call.is_dropped() && !self.is_pinned(),
            Work::Ping | Work::Abandoned { .. } => false,
        }
    }

    /// Whether the frame changes something, once it was written.
    pub(crate) fn applied_once_written(&self) -> Applied {
        match &self.work {
            Work::Call(call) => match call.request {
                Request::QueueShow { .. }
                | Request::QueueList(_)
                | Request::Peek(_)
                | Request::Route(_)
                | Request::Ping => Applied::No,
                _ => Applied::Unknown,
            },
            Work::Send(_) | Work::Delete(_) => Applied::Unknown,
            Work::Ping | Work::Abandoned { .. } => Applied::No,
        }
    }

    /// Whether it has changed something, as far as known while it waits to be written.
    pub(crate) fn applied_unwritten(&self) -> Applied {
        if self.repeated {
            self.applied_once_written()
        } else {
            Applied::No
        }
    }

    /// Tells everybody who waits for it.
    pub(crate) fn fail(self, error: Error, freed: &mut Freed) {
        let error = if self.repeated && self.applied_once_written() == Applied::Unknown {
            error.with_applied(Applied::Unknown)
        } else {
            error
        };
        match self.work {
            Work::Send(frame) => {
                freed.add_send(&frame);
                freed.buffers.push(frame.resolve(Outcome::Failed(error)));
            }
            Work::Delete(frame) => {
                freed.deletes.add(frame.cost());
                frame.resolve(Outcome::Failed(error));
            }
            Work::Call(call) => call.fail(error),
            Work::Ping | Work::Abandoned { .. } => {}
        }
    }

    /// Where it counts as being on its way.
    pub(crate) fn lane_key(&self) -> Option<LaneKey> {
        match &self.work {
            Work::Send(frame) => Some(LaneKey {
                queue: Arc::clone(&frame.queue),
                sends: true,
                number: self.number(),
                is_stored: false,
            }),
            Work::Delete(frame) => Some(LaneKey {
                queue: Arc::clone(&frame.queue),
                sends: false,
                number: None,
                is_stored: false,
            }),
            _ => None,
        }
    }
}
