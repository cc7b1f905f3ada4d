//! The leader's end of an append stream on a link: requests in, answers out, in order.
//!
//! There is no handshake: the first request opens the stream, and one that is known to be the last
//! closes it too, so a heartbeat is one frame each way. Polled, not awaited: whoever owns it sends
//! and receives in one place without a task of its own.
//!
//! Spec: spec/peer.md, "Append streams".

use std::future::Future;
use std::task::{Context, Poll};

use sampan_protocol::SetId;
use tokio::sync::mpsc;

use super::error::PeerError;
use super::frame::{AppendHead, Appended, EntryPieces, FLAG_LAST, FLAG_OPEN, FrameKind, OutFrame};
use super::limits::APPENDS_UNANSWERED_MAX;
use super::outbox::{Lane, NotSent, Outbox, OutboxClosed, Outgoing};
use super::pending::{Pending, StreamAnswers};

/// See the head of the file.
pub(crate) struct AppendChannel {
    outbox: Outbox,
    set: SetId,
    id: u64,
    answers: mpsc::Receiver<Result<Appended, PeerError>>,
    /// Goes with the first request.
    opening: Option<StreamAnswers>,
    lane: Lane,
    is_ended: bool,
}

/// A request that found no room; [`AppendChannel::wait_for_room`] sends it.
#[derive(Debug)]
pub(crate) struct Unsent(Box<Outgoing>);

impl AppendChannel {
    pub(super) fn new(outbox: Outbox, set: SetId) -> Self {
        let id = outbox.next_id();
        // One more for an error behind the answers.
        let (opening, answers) = mpsc::channel(APPENDS_UNANSWERED_MAX + 1);
        AppendChannel {
            outbox,
            set,
            id,
            answers,
            opening: Some(opening),
            lane: Lane::Bulk,
            is_ended: false,
        }
    }

    /// Sends a request. At most [`APPENDS_UNANSWERED_MAX`] may be unanswered.
    ///
    /// # Errors
    ///
    /// `Ok(Some(_))`: it waits for room, and nothing else may be sent before it.
    pub(crate) fn send(
        &mut self,
        head: &AppendHead,
        entries: Vec<EntryPieces>,
        is_last: bool,
    ) -> Result<Option<Unsent>, PeerError> {
        let opening = self.opening.take();
        let mut flags = 0;
        if opening.is_some() {
            flags |= FLAG_OPEN;
        }
        if is_last {
            flags |= FLAG_LAST;
        }
        let is_heartbeat = opening.is_some() && is_last && entries.is_empty();
        if is_heartbeat {
            self.lane = Lane::Express;
        }
        self.is_ended |= is_last;
        let frame = head.encode(flags, (self.set.0, self.id), entries);
        let set = self.set.0;
        let pending = opening.map(|answers| Pending::Stream { set, answers });
        match self.outbox.try_send(self.lane, frame, pending) {
            Ok(()) => Ok(None),
            Err(NotSent::Full(outgoing)) => Ok(Some(Unsent(outgoing))),
            Err(NotSent::Closed) => Err(PeerError::Disconnected { was_written: false }),
        }
    }

    /// Sends what found no room, when there is some.
    pub(crate) fn wait_for_room(
        &self,
        unsent: Unsent,
    ) -> impl Future<Output = Result<(), PeerError>> + use<> {
        let (outbox, lane) = (self.outbox.clone(), self.lane);
        let Outgoing { frame, pending, .. } = *unsent.0;
        async move {
            let sent = outbox.send(lane, frame, pending).await;
            sent.map_err(|OutboxClosed| PeerError::Disconnected { was_written: false })
        }
    }

    /// No further request follows.
    pub(crate) fn end(&mut self) {
        if self.is_ended || self.opening.is_some() {
            return;
        }
        self.is_ended = true;
        let frame = OutFrame::new(FrameKind::AppendEnd, self.set.0, self.id, |_| {});
        // Without room the connection finds out by itself that nobody listens any more.
        drop(self.outbox.try_send(self.lane, frame, None));
    }

    /// The answer to the oldest unanswered request.
    pub(crate) fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Appended, PeerError>> {
        let disconnected = PeerError::Disconnected { was_written: true };
        let received = self.answers.poll_recv(context);
        received.map(|answer| answer.unwrap_or(Err(disconnected)))
    }
}

impl Drop for AppendChannel {
    fn drop(&mut self) {
        self.end();
    }
}
