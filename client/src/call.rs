//! A request with one answer for one caller: everything but sends and deletes.
//!
//! Owns what a receive or a peek collects while its reply comes in several frames. Received
//! messages that nobody takes, because the caller's future is gone, are released: they never wait
//! in silence for the end of their visibility timeout.
//!
//! Invariant: at most `BATCH_COUNT_MAX` messages are collected.

use std::sync::Arc;
use std::time::Duration;

use sampan_protocol::limits::{BATCH_COUNT_MAX, RECEIVE_WAIT_MAX_MS};
use sampan_protocol::{Applied, Name, PeekedMessage, ReceivedMessage, Reply, Request};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::Error;
use crate::lease::{Lease, Leases};
use crate::routes::CATALOG;
use crate::shared::Shared;
use crate::watch::Watch;

/// How long the broker counts at most, for a dry run of a redrive.
const DRY_RUN_MAX: Duration = Duration::from_secs(600);

/// What a caller gets.
#[derive(Debug)]
pub(crate) enum Answer {
    /// `repeated`: an earlier try may have carried the request out already.
    Reply {
        reply: Reply,
        repeated: bool,
    },
    Received(Unclaimed),
}

/// Received messages that nobody has taken yet; dropped, it releases them.
#[derive(Debug)]
pub(crate) struct Unclaimed {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Name,
    pub(crate) messages: Vec<ReceivedMessage>,
    /// For a stream with a heartbeat, in the order of the messages as they came.
    leases: Option<Arc<Leases>>,
}

impl Unclaimed {
    /// The messages, to be looked after by the caller from now on.
    pub(crate) fn claim(mut self) -> Vec<(ReceivedMessage, Option<Lease>)> {
        let leases = self.leases.take();
        let lease = |place| leases.as_ref().map(|leases| leases.hold(place));
        let messages = std::mem::take(&mut self.messages).into_iter();
        let with_leases = messages.enumerate();
        with_leases
            .map(|(place, message)| (message, lease(place)))
            .collect()
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        let handles: Vec<_> = self.messages.iter().map(|message| message.handle).collect();
        self.shared.release(&self.queue, &handles);
    }
}

/// Where the answer of a call goes.
pub(crate) type AnswerSender = oneshot::Sender<Result<Answer, Error>>;

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    /// `None`: nobody wants to know.
    answer: Option<AnswerSender>,
    /// What has come of a receive reply so far.
    received: Vec<ReceivedMessage>,
    /// What has come of a peek's reply so far.
    peeked: Vec<PeekedMessage>,
    /// When the wait of a receive that names one ends.
    wait_until: Option<Instant>,
    /// Where the messages of a receive are entered when they are here.
    watch: Option<Arc<Watch>>,
}

impl Call {
    pub(crate) fn new(request: Request, answer: Option<AnswerSender>, now: Instant) -> Self {
        let wait = match &request {
            Request::Receive(receive) => receive.wait_ms,
            _ => None,
        };
        let wait_until = wait.map(|wait| now + Duration::from_millis(wait.into()));
        Call {
            request,
            answer,
            received: Vec::new(),
            peeked: Vec::new(),
            wait_until,
            watch: None,
        }
    }

    /// The same receive for a stream with a heartbeat.
    pub(crate) fn watched(self, watch: Option<Arc<Watch>>) -> Self {
        Call { watch, ..self }
    }

    /// The queue of a receive.
    pub(crate) fn receives_from(&self) -> Option<&Name> {
        match &self.request {
            Request::Receive(receive) => Some(&receive.queue),
            _ => None,
        }
    }

    /// The queue that it is for: empty for the catalog, `None` for what any server can answer.
    pub(crate) fn queue(&self) -> Option<&str> {
        match &self.request {
            Request::Receive(receive) => Some(receive.queue.as_str()),
            Request::Delete(delete) => Some(delete.queue.as_str()),
            Request::ChangeVisibility(change) => Some(change.queue.as_str()),
            Request::QueueShow { name }
            | Request::QueuePurge { name }
            | Request::RedriveStatus { name }
            | Request::RedriveCancel { name } => Some(name.as_str()),
            Request::Redrive(redrive) => Some(redrive.queue.as_str()),
            Request::QueueRewind(rewind) => Some(rewind.name.as_str()),
            Request::Reschedule(reschedule) => Some(reschedule.queue.as_str()),
            Request::Peek(peek) => Some(peek.queue.as_str()),
            Request::Send(send) => Some(send.queue.as_str()),
            Request::QueueCreate(_)
            | Request::QueueSet(_)
            | Request::QueueDelete { .. }
            | Request::QueueList(_) => Some(CATALOG),
            Request::Hello(_)
            | Request::Authenticate(_)
            | Request::Ping
            | Request::Route(_)
            | Request::Admin(_) => None,
        }
    }

    /// How long the broker may take by itself, on top of the request timeout.
    pub(crate) fn wait_max(&self) -> Duration {
        match &self.request {
            Request::Receive(receive) => {
                let wait = receive.wait_ms.unwrap_or(RECEIVE_WAIT_MAX_MS);
                Duration::from_millis(wait.into())
            }
            Request::Redrive(redrive) if redrive.is_dry_run => DRY_RUN_MAX,
            _ => Duration::ZERO,
        }
    }

    /// Whether nobody ever wanted to hear of it.
    pub(crate) fn is_nobodys(&self) -> bool {
        self.answer.is_none()
    }

    /// Whether the caller has lost interest.
    pub(crate) fn is_dropped(&self) -> bool {
        self.answer.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Whether a caller waits for the answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|sender| !sender.is_closed())
    }

    /// Whether it may go out again when nobody knows what became of it.
    pub(crate) fn repeats(&self) -> bool {
        match self.request {
            Request::Receive(_)
            | Request::QueueCreate(_)
            | Request::QueueSet(_)
            | Request::QueueDelete { .. }
            | Request::QueueShow { .. }
            | Request::QueueList(_)
            | Request::Delete(_)
            | Request::ChangeVisibility(_)
            | Request::Reschedule(_)
            | Request::Peek(_)
            | Request::RedriveStatus { .. }
            | Request::RedriveCancel { .. }
            | Request::Route(_)
            | Request::Ping => true,
            Request::Redrive(ref redrive) => redrive.is_dry_run,
            // A repeated purge would take what was sent meanwhile, a repeated rewind bring back
            // what was deleted.
            Request::QueuePurge { .. }
            | Request::QueueRewind(_)
            | Request::Hello(_)
            | Request::Authenticate(_)
            | Request::Send(_)
            | Request::Admin(_) => false,
        }
    }

    /// Asks for no more than the rest of the wait.
    pub(crate) fn shorten_wait(&mut self, now: Instant) {
        if let (Request::Receive(receive), Some(until)) = (&mut self.request, self.wait_until) {
            let rest = until.saturating_duration_since(now).as_millis();
            receive.wait_ms = Some(u32::try_from(rest).unwrap_or(RECEIVE_WAIT_MAX_MS));
        }
    }

    /// Keeps the messages of one frame of the reply.
    pub(crate) fn collect(&mut self, messages: Vec<ReceivedMessage>) -> Result<(), &'static str> {
        if self.received.len() + messages.len() > BATCH_COUNT_MAX {
            return Err("a receive reply with too many messages");
        }
        self.received.extend(messages);
        Ok(())
    }

    /// Keeps the messages of one frame of a peek's reply.
    pub(crate) fn collect_peeked(
        &mut self,
        messages: Vec<PeekedMessage>,
    ) -> Result<(), &'static str> {
        let is_peek = matches!(self.request, Request::Peek(_));
        if !is_peek || self.peeked.len() + messages.len() > BATCH_COUNT_MAX {
            return Err("a peek reply that nobody asked for, or with too many messages");
        }
        self.peeked.extend(messages);
        Ok(())
    }

    /// It is asked once more: what came of an earlier reply would come again.
    pub(crate) fn begin(&mut self) {
        self.peeked.clear();
    }

    /// Whether part of the reply is here already.
    pub(crate) fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    pub(crate) fn resolve(mut self, shared: &Arc<Shared>, reply: Reply, repeated: bool) {
        let answer = match self.receives_from() {
            Some(queue) => {
                let queue = queue.clone();
                let messages = std::mem::take(&mut self.received);
                let watch = self.watch.as_ref().filter(|_| !messages.is_empty());
                Answer::Received(Unclaimed {
                    shared: Arc::clone(shared),
                    queue,
                    leases: watch.map(|watch| watch.enter(&messages)),
                    messages,
                })
            }
            None => {
                let reply = match reply {
                    Reply::Peeked(_) => Reply::Peeked(std::mem::take(&mut self.peeked)),
                    reply => reply,
                };
                Answer::Reply { reply, repeated }
            }
        };
        if let Some(sender) = self.answer {
            // A caller that is gone gives the answer back, and dropping it releases the messages.
            drop(sender.send(Ok(answer)));
        }
    }

    pub(crate) fn fail(self, error: Error) {
        if let Some(sender) = self.answer {
            // Nobody is left to hear of it.
            drop(sender.send(Err(error)));
        }
    }

    /// The error for a call whose connection, or runtime, went away without an answer.
    pub(crate) fn lost() -> Error {
        Error::Closed {
            applied: Applied::Unknown,
        }
    }
}
