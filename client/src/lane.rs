//! The frames of one queue: those under construction, the line of those that wait, and how many are
//! on their way.
//!
//! Invariants: a lane counts its frames between `take` and `give_back`; `place` is a server with a
//! live connection, or nothing while nobody knows where the queue is led. Nothing is in `line` of a
//! client that does not number its sends.

use sampan_protocol::ReceiptHandle;
use std::sync::Arc;
use tokio::time::Instant;

use crate::delete_frame::DeleteFrame;
use crate::line::Line;
use crate::outgoing::{LaneKey, Outgoing, Work};
use crate::send_frame::{SendFrame, SendUnit};
use crate::slot::Ticket;

/// Unanswered frames of one queue and kind from which on only full ones follow.
const FRAMES_AHEAD_MAX: usize = 4;

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The server that its frames go to.
    pub(crate) place: Option<usize>,
    send: Option<(SendFrame, Instant)>,
    delete: Option<(DeleteFrame, Instant)>,
    /// Complete frames of sends, which go before the one under construction.
    pub(crate) line: Line,
    /// Frames taken by a connection and not given back.
    sends_ahead: usize,
    deletes_ahead: usize,
}

impl Lane {
    pub(crate) fn new(place: Option<usize>) -> Self {
        Lane {
            place,
            send: None,
            delete: None,
            line: Line::default(),
            sends_ahead: 0,
            deletes_ahead: 0,
        }
    }

    pub(crate) fn has_open(&self) -> bool {
        self.send.is_some() || self.delete.is_some()
    }

    /// Whether there are sends to be written.
    pub(crate) fn has_sends(&self) -> bool {
        self.send.is_some() || !self.line.is_empty()
    }

    /// Whether the connection is to look here for something to write.
    pub(crate) fn is_listed(&self) -> bool {
        self.delete.is_some() || (self.has_sends() && self.line.rests_until().is_none())
    }

    /// Whether something waits to be written.
    pub(crate) fn has_frames(&self) -> bool {
        self.delete.is_some() || self.has_sends()
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.has_frames() && self.sends_ahead == 0 && self.deletes_ahead == 0
    }

    /// How many frames of a kind are on their way.
    pub(crate) fn ahead(&mut self, key: &LaneKey) -> &mut usize {
        if key.sends {
            &mut self.sends_ahead
        } else {
            &mut self.deletes_ahead
        }
    }

    /// Adds messages to the open frame, or begins one in a buffer; frames that are complete by that
    /// go to `complete`.
    pub(crate) fn push_send(
        &mut self,
        queue: &Arc<str>,
        unit: SendUnit,
        buffers: &mut Vec<Vec<u8>>,
        mut complete: impl FnMut(Outgoing),
    ) -> Ticket {
        let fits = |frame: &SendFrame| frame.has_room_for(&unit, unit.cost());
        if let Some((frame, at)) = self.send.take_if(|(frame, _)| !fits(frame)) {
            complete(Outgoing::new(Work::Send(frame), at));
        }
        let new = || {
            let buffer = buffers.pop().unwrap_or_default();
            (SendFrame::new(Arc::clone(queue), buffer), Instant::now())
        };
        let (frame, _) = self.send.get_or_insert_with(new);
        let ticket = frame.push(unit);
        if let Some((frame, at)) = self.send.take_if(|(frame, _)| frame.is_full()) {
            complete(Outgoing::new(Work::Send(frame), at));
        }
        ticket
    }

    /// Adds a handle to the open frame, or begins one; a frame that is complete by that goes to
    /// `complete`.
    pub(crate) fn push_delete(
        &mut self,
        queue: &Arc<str>,
        handle: ReceiptHandle,
        complete: impl FnOnce(Outgoing),
    ) -> Ticket {
        let new = || (DeleteFrame::new(Arc::clone(queue)), Instant::now());
        let (frame, _) = self.delete.get_or_insert_with(new);
        let ticket = frame.push(handle);
        if let Some((frame, at)) = self.delete.take_if(|(frame, _)| frame.is_full()) {
            complete(Outgoing::new(Work::Delete(frame), at));
        }
        ticket
    }

    /// Closes the open frame of deletes, when it may go.
    pub(crate) fn close_delete(&mut self) -> Option<Outgoing> {
        if self.deletes_ahead >= FRAMES_AHEAD_MAX {
            return None;
        }
        let (frame, at) = self.delete.take()?;
        Some(Outgoing::new(Work::Delete(frame), at))
    }

    /// Closes the open frame of sends, when it may go.
    pub(crate) fn close_send(&mut self) -> Option<Outgoing> {
        if self.sends_ahead >= FRAMES_AHEAD_MAX {
            return None;
        }
        let (frame, at) = self.send.take()?;
        Some(Outgoing::new(Work::Send(frame), at))
    }

    /// Takes the open frames for which `wanted` holds.
    pub(crate) fn take_open_if(
        &mut self,
        wanted: &mut impl FnMut(&Outgoing) -> bool,
        taken: &mut Vec<Outgoing>,
    ) {
        if let Some((frame, at)) = self.send.take() {
            match Outgoing::new(Work::Send(frame), at) {
                outgoing if wanted(&outgoing) => taken.push(outgoing),
                Outgoing {
                    work: Work::Send(frame),
                    ..
                } => self.send = Some((frame, at)),
                _ => {}
            }
        }
        if let Some((frame, at)) = self.delete.take() {
            match Outgoing::new(Work::Delete(frame), at) {
                outgoing if wanted(&outgoing) => taken.push(outgoing),
                Outgoing {
                    work: Work::Delete(frame),
                    ..
                } => self.delete = Some((frame, at)),
                _ => {}
            }
        }
    }
}
