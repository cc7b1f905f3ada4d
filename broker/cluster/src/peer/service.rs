//! What the node does for its peers, as the peer network asks it.
//!
//! All of it is called on the peers' thread and must not block: whoever has work for a set hands it
//! to the set's core.

use std::sync::Arc;

use bytes::Bytes;
use sampan_protocol::SetId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::frame::{AppendBytes, Appended, CallError, FrameHeader, FrameKind, NODE, OutFrame};
use super::frame::{Hello, PeerRefusal};
use super::limits::PEER_PAYLOAD_LEN_MAX;
use super::outbox::{Lane, Outbox};

/// Who may connect.
pub(crate) trait Gate: Send + Sync {
    /// Asked for every node that connects here, and for every node that was connected to.
    ///
    /// The network itself has compared clusters, versions, the node that was to be reached, and the
    /// node that the certificate names. With `hello.cluster == 0` the node belongs to none yet:
    /// admitted, it may only call, as no member.
    fn admit(&self, hello: &Hello, certificate_node: Option<u64>) -> Result<(), PeerRefusal>;

    /// Asked at every pulse of a member whose greeting is over, for as long as the connection is
    /// open: whether it has lost its place since.
    fn check_open(&self, hello: &Hello) -> Result<(), PeerRefusal> {
        self.admit(hello, None)
    }
}

/// What this node tells its peers all the time.
pub(crate) trait PulseSource: Send + Sync {
    /// At most [`PULSE_LEN_MAX`](super::limits::PULSE_LEN_MAX) bytes; asked for often.
    fn pulse(&self) -> Bytes;
    /// A peer's.
    fn on_pulse(&self, from: u64, content: Bytes);
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) node: u64,
    /// It belongs to this cluster. Others may ask to join, and nothing else.
    pub(crate) is_member: bool,
}

impl Caller {
    pub(super) fn new(hello: &Hello) -> Self {
        Caller {
            node: hello.node,
            is_member: hello.cluster != 0,
        }
    }
}

/// Does what peers ask for.
pub(crate) trait PeerService: Send + Sync {
    /// A call. `set`: `None` for the node itself.
    fn call(&self, from: Caller, set: Option<SetId>, method: u16, payload: Bytes, reply: CallReply);

    /// A leader's append stream: to be handed to the set's core, which serves it, or refused.
    fn open_append(&self, from: u64, set: SetId, stream: IncomingAppends);
}

/// The number of a set in a header.
pub(crate) fn set_number(set: Option<SetId>) -> u32 {
    set.map_or(NODE, |set| set.0)
}

/// The way back of [`set_number`].
pub(crate) fn set_of(header: &FrameHeader) -> Option<SetId> {
    (header.set != NODE).then_some(SetId(header.set))
}

/// The duty to answer a call. Dropped, it answers that nobody answered.
#[derive(Debug)]
pub(crate) struct CallReply {
    outbox: Outbox,
    set: u32,
    id: u64,
    /// Taken by the answer.
    permit: Option<OwnedSemaphorePermit>,
}

impl CallReply {
    pub(super) fn new(
        outbox: Outbox,
        header: &FrameHeader,
        permit: OwnedSemaphorePermit,
    ) -> CallReply {
        CallReply {
            outbox,
            set: header.set,
            id: header.id,
            permit: Some(permit),
        }
    }

    /// Answers, from any thread, without waiting.
    pub(crate) fn answer(mut self, answer: Result<Bytes, CallError>) {
        self.send(answer);
    }

    fn send(&mut self, answer: Result<Bytes, CallError>) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let answer = answer.and_then(|payload| match payload.len() {
            len if len <= PEER_PAYLOAD_LEN_MAX => Ok(payload),
            len => {
                let text = format!("answer of {len} bytes");
                Err(CallError::new(CallError::TOO_LONG, text))
            }
        });
        let at = (self.set, self.id);
        let frame = match answer {
            Ok(payload) => {
                OutFrame::with_rest(FrameKind::CallReply, 0, at, |_| {}, vec![payload], true)
            }
            Err(error) => error.encode(FrameKind::CallFailed, self.set, self.id),
        };
        self.outbox.reply(frame, permit);
    }
}

impl Drop for CallReply {
    fn drop(&mut self) {
        self.send(Err(CallError::new(
            CallError::NOT_ANSWERED,
            "the node dropped the call",
        )));
    }
}

/// A request of an append stream. Its room in the connection's bound is given back when it is
/// dropped: hold it until the request is in the hands of the consensus.
#[derive(Debug)]
pub(crate) struct AppendRequest {
    pub(crate) bytes: AppendBytes,
    pub(crate) permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// An append stream that a leader opened: its requests, and the way back for the answers.
#[derive(Debug)]
pub(crate) struct IncomingAppends {
    pub(crate) first: AppendRequest,
    /// `None`: the first request is the only one.
    pub(crate) rest: Option<mpsc::Receiver<AppendRequest>>,
    pub(crate) answers: AppendAnswers,
}

impl IncomingAppends {
    /// Tells the leader why the stream is not served, without waiting.
    pub(crate) fn refuse(mut self, error: &CallError) {
        self.answers.fail_now(error);
    }
}

/// The way back of an append stream. Dropped before [`AppendAnswers::finish`] or an answer that
/// ends the stream, it tells the leader that nobody answers.
#[derive(Debug)]
pub(crate) struct AppendAnswers {
    outbox: Outbox,
    set: u32,
    stream: u64,
    is_finished: bool,
}

impl AppendAnswers {
    pub(super) fn new(outbox: Outbox, header: &FrameHeader) -> Self {
        AppendAnswers {
            outbox,
            set: header.set,
            stream: header.id,
            is_finished: false,
        }
    }

    /// The answer to the next request. `false`: the connection is gone.
    pub(crate) async fn send(&mut self, appended: Appended) -> bool {
        self.is_finished |= appended.ends_stream();
        let frame = appended.encode(self.set, self.stream);
        self.outbox.send(Lane::Express, frame, None).await.is_ok()
    }

    /// The stream cannot be served any further.
    pub(crate) async fn fail(mut self, error: &CallError) {
        self.is_finished = true;
        let frame = error.encode(FrameKind::AppendFailed, self.set, self.stream);
        // A connection that is gone has told the leader already.
        drop(self.outbox.send(Lane::Express, frame, None).await);
    }

    fn fail_now(&mut self, error: &CallError) {
        if self.is_finished || self.outbox.is_closed() {
            return;
        }
        self.is_finished = true;
        let frame = error.encode(FrameKind::AppendFailed, self.set, self.stream);
        // Without room the leader finds out by its own bound on the time of an answer.
        drop(self.outbox.try_send(Lane::Express, frame, None));
    }

    /// Every request has its answer.
    pub(crate) fn finish(mut self) {
        self.is_finished = true;
    }
}

impl Drop for AppendAnswers {
    fn drop(&mut self) {
        let text = "the set dropped the stream";
        self.fail_now(&CallError::new(CallError::NOT_ANSWERED, text));
    }
}
