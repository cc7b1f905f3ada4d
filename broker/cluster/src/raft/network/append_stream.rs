//! The leader's end of a replication stream, as openraft wants to see it.
//!
//! Requests go out as openraft makes them, without waiting for answers, up to a bound of requests
//! and bytes; answers come out in the order of the requests. One look ahead at the input tells
//! whether a request is the last, so that a heartbeat closes its own stream. All of it happens when
//! openraft polls: there is no task.
//!
//! openraft makes a request without entries of each commit that no entry could carry. Sent at once
//! it would wake the follower and then the leader for nothing that anybody waits for, so it waits a
//! little ([`COMMIT_WAIT`]) for the next request, which says the same and more, and whose result is
//! its own: commits do not go back, and openraft counts results by log id.
//!
//! Invariant: the result of a request that was sent is given out once, after those before it; a
//! conflict, a higher vote or an error is the last.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::catch_up::CatchUp;
use super::codec::{from_wire_id, from_wire_vote, to_wire_id, to_wire_vote};
use super::pieces::pieces_of;
use super::{RpcError, to_rpc_error};
use crate::peer::{
    APPENDS_UNANSWERED_LEN_MAX, APPENDS_UNANSWERED_MAX, AppendChannel, AppendHead, Appended,
    PEER_PAYLOAD_LEN_MAX, PeerError,
};
use crate::raft::types::SetConfig;

/// A follower that answers nothing for so long, while its connection is alive, is given up.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest time that a follower hears of a commit later because nothing goes with it.
const COMMIT_WAIT: Duration = Duration::from_millis(5);

type Request = AppendEntriesRequest<SetConfig>;
type Sending = LocalBoxFuture<'static, Result<(), PeerError>>;

/// See the head of the file.
pub(super) struct AppendStream<S> {
    channel: AppendChannel,
    /// `None`: nothing more is taken from it.
    input: Option<S>,
    /// Taken from the input to see whether there is another.
    next: Option<Request>,
    /// Only tells of a commit, and waits for one to go with. There is an input then.
    held: Option<Request>,
    /// Ends the wait of what is held.
    hold: Option<Pin<Box<Sleep>>>,
    /// A request that waits for room on the connection.
    sending: Option<Sending>,
    /// Length of each request without an answer.
    unanswered: VecDeque<usize>,
    unanswered_len: usize,
    /// Runs while answers are missing.
    patience: Option<Pin<Box<Sleep>>>,
    /// After old entries, so that others have room.
    pause: Option<Pin<Box<Sleep>>>,
    catch_up: CatchUp,
    is_over: bool,
}

impl<S: Stream<Item = Request> + Unpin> AppendStream<S> {
    pub(super) fn new(channel: AppendChannel, input: S, catch_up: CatchUp) -> Self {
        AppendStream {
            channel,
            input: Some(input),
            next: None,
            held: None,
            hold: None,
            sending: None,
            unanswered: VecDeque::new(),
            unanswered_len: 0,
            patience: None,
            pause: None,
            catch_up,
            is_over: false,
        }
    }

    /// Sends what there is to send and room for.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Result<(), PeerError> {
        loop {
            if let Some(sending) = &mut self.sending {
                match sending.poll_unpin(context) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(sent) => sent?,
                }
                self.sending = None;
            }
            if let Some(pause) = &mut self.pause {
                if pause.poll_unpin(context).is_pending() {
                    return Ok(());
                }
                self.pause = None;
            }
            if self.unanswered.len() >= APPENDS_UNANSWERED_MAX
                || self.unanswered_len >= APPENDS_UNANSWERED_LEN_MAX
            {
                return Ok(());
            }
            let Some(request) = self.take_next(context) else {
                return Ok(());
            };
            self.send(request)?;
        }
    }

    /// The request that is to be sent now.
    fn take_next(&mut self, context: &mut Context<'_>) -> Option<Request> {
        if self.held.is_none() {
            self.look_ahead(context);
        }
        let mut request = self.held.take().or_else(|| self.next.take())?;
        self.look_ahead(context);
        while only_tells_of_a_commit(&request)
            && let Some(next) = self.next.take()
        {
            request = next;
            self.look_ahead(context);
        }
        if self.input.is_some() && only_tells_of_a_commit(&request) {
            let new = || Box::pin(sleep(COMMIT_WAIT));
            let hold = self.hold.get_or_insert_with(new);
            if hold.poll_unpin(context).is_pending() {
                self.held = Some(request);
                return None;
            }
        }
        self.hold = None;
        Some(request)
    }

    /// Makes sure that `next` is there if it is ready, and that the input is gone if it has ended.
    fn look_ahead(&mut self, context: &mut Context<'_>) {
        let Some(input) = self.input.as_mut().filter(|_| self.next.is_none()) else {
            return;
        };
        match input.poll_next_unpin(context) {
            Poll::Ready(Some(request)) => self.next = Some(request),
            Poll::Ready(None) => {
                self.input = None;
            }
            Poll::Pending => {}
        }
    }

    fn send(&mut self, request: Request) -> Result<(), PeerError> {
        let last = request.entries.last().map(|entry| entry.log_id.index);
        let committed = request.leader_commit.map(|id| id.index);
        let head = AppendHead {
            vote: to_wire_vote(&request.vote),
            prev: request.prev_log_id.as_ref().map(to_wire_id),
            commit: request.leader_commit.as_ref().map(to_wire_id),
        };
        let count = request.entries.len();
        let mut entries = Vec::with_capacity(count);
        let mut len = AppendHead::LEN;
        for entry in request.entries {
            let pieces = pieces_of(entry);
            if len + pieces.len() > PEER_PAYLOAD_LEN_MAX {
                break;
            }
            len += pieces.len();
            entries.push(pieces);
        }
        if entries.len() < count {
            if entries.is_empty() {
                return Err(PeerError::TooLong(PEER_PAYLOAD_LEN_MAX + 1));
            }
            // The rest does not fit into a frame. This becomes the stream's last request: openraft
            // sees from its answer how far it came, and goes on from there.
            (self.input, self.next) = (None, None);
        }
        let is_last = self.input.is_none() && self.next.is_none();
        if let Some(unsent) = self.channel.send(&head, entries, is_last)? {
            self.sending = Some(self.channel.wait_for_room(unsent).boxed_local());
        }
        if let (Some(last), Some(committed)) = (last, committed) {
            let size = (count, len);
            let pause = self.catch_up.pause(Instant::now(), size, last, committed);
            self.pause = pause.map(|until| Box::pin(sleep_until(until)));
        }
        self.unanswered.push_back(len);
        self.unanswered_len += len;
        Ok(())
    }

    fn poll_result(&mut self, context: &mut Context<'_>) -> Poll<Result<Appended, PeerError>> {
        match self.channel.poll_answer(context) {
            Poll::Ready(answer) => {
                let answered_len = self.unanswered.pop_front().unwrap_or(0);
                self.unanswered_len -= answered_len;
                if let Some(patience) = &mut self.patience {
                    patience.as_mut().reset(Instant::now() + ANSWER_TIME_MAX);
                }
                Poll::Ready(answer)
            }
            Poll::Pending => {
                let new = || Box::pin(sleep(ANSWER_TIME_MAX));
                let patience = self.patience.get_or_insert_with(new);
                let is_over = patience.poll_unpin(context);
                is_over.map(|()| Err(PeerError::TimedOut(ANSWER_TIME_MAX)))
            }
        }
    }

    fn fail(&mut self, error: PeerError) -> Poll<Option<StreamItem>> {
        self.is_over = true;
        Poll::Ready(Some(Err(to_rpc_error(error))))
    }
}

fn only_tells_of_a_commit(request: &Request) -> bool {
    request.entries.is_empty() && request.leader_commit.is_some()
}

type StreamItem = Result<StreamAppendResult<SetConfig>, RpcError>;

impl<S: Stream<Item = Request> + Unpin> Stream for AppendStream<S> {
    type Item = StreamItem;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<StreamItem>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        if let Err(error) = this.poll_send(context) {
            return this.fail(error);
        }
        if this.unanswered.is_empty() {
            // Nothing can wait for room then: what waits is unanswered. But it may pause.
            if this.input.is_some() || this.next.is_some() {
                return Poll::Pending;
            }
            this.is_over = true;
            this.channel.end();
            return Poll::Ready(None);
        }
        match this.poll_result(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => this.fail(error),
            Poll::Ready(Ok(appended)) => {
                this.is_over |= appended.ends_stream();
                Poll::Ready(Some(Ok(to_result(appended))))
            }
        }
    }
}

fn to_result(appended: Appended) -> StreamAppendResult<SetConfig> {
    match appended {
        Appended::Matching(id) => Ok(id.map(from_wire_id)),
        Appended::Conflict(id) => Err(StreamAppendError::Conflict(from_wire_id(id))),
        Appended::HigherVote(vote) => Err(StreamAppendError::HigherVote(from_wire_vote(vote))),
    }
}
