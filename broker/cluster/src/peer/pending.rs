//! Who waits for answers on a connection that this node opened.
//!
//! An entry comes with the frame that asks, and goes with the answer. Whoever loses interest drops
//! its receiver; [`PendingTable::sweep`] finds that out, so nobody need say so.
//!
//! Invariant: a frame of a stream is written only between its first and its end.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::error::{ConnectionError, PeerError};
use super::frame::{Appended, CallError, FLAG_LAST, Frame, FrameKind, OutFrame};

/// Where the answer to a call goes.
pub(crate) type CallAnswer = oneshot::Sender<Result<Bytes, PeerError>>;
/// Where the answers of an append stream go.
pub(crate) type StreamAnswers = mpsc::Sender<Result<Appended, PeerError>>;

/// One that waits.
#[derive(Debug)]
pub(crate) enum Pending {
    Call {
        answer: CallAnswer,
        /// Counts it among the unanswered calls.
        permit: OwnedSemaphorePermit,
    },
    Stream {
        set: u32,
        answers: StreamAnswers,
    },
}

impl Pending {
    /// The connection is gone. A stream sees its channel end.
    pub(crate) fn on_disconnected(self, was_written: bool) {
        if let Pending::Call { answer, .. } = self {
            // A caller that went away no longer wants to know.
            drop(answer.send(Err(PeerError::Disconnected { was_written })));
        }
    }
}

#[derive(Debug)]
struct Call {
    answer: CallAnswer,
    /// Given back when the entry goes.
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct AppendStream {
    set: u32,
    answers: StreamAnswers,
    unanswered: usize,
    /// Nothing more is sent on it.
    is_ended: bool,
}

/// All that wait on one connection.
#[derive(Debug, Default)]
pub(crate) struct PendingTable {
    calls: BTreeMap<u64, Call>,
    streams: BTreeMap<u64, AppendStream>,
}

impl PendingTable {
    /// A frame is about to be written. `false`: it must not be, for its stream has ended.
    pub(crate) fn on_write(&mut self, frame: &OutFrame, pending: Option<Pending>) -> bool {
        match pending {
            Some(Pending::Call { answer, permit }) => {
                let call = Call {
                    answer,
                    _permit: permit,
                };
                self.calls.insert(frame.id, call);
            }
            Some(Pending::Stream { set, answers }) => {
                let stream = AppendStream {
                    set,
                    answers,
                    unanswered: 0,
                    is_ended: false,
                };
                self.streams.insert(frame.id, stream);
            }
            None => {}
        }
        match frame.kind {
            FrameKind::Append => self.on_append(frame),
            FrameKind::AppendEnd => self.streams.remove(&frame.id).is_some(),
            _ => true,
        }
    }

    fn on_append(&mut self, frame: &OutFrame) -> bool {
        let Some(stream) = self.streams.get_mut(&frame.id) else {
            return false;
        };
        stream.unanswered += 1;
        stream.is_ended |= frame.flags & FLAG_LAST != 0;
        true
    }

    /// An answer came. One that nobody waits for is nothing special: see the head of the file.
    pub(crate) fn on_frame(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        let id = frame.header.id;
        match frame.header.kind {
            FrameKind::Appended => self.on_appended(id, Appended::decode(frame.payload)?),
            FrameKind::AppendFailed => {
                let error = CallError::decode(frame.payload)?;
                if let Some(stream) = self.streams.get(&id) {
                    // A full channel ends as well once what is in it was read: nobody waits.
                    drop(stream.answers.try_send(Err(PeerError::Failed(error))));
                }
                Ok(())
            }
            FrameKind::CallReply => {
                self.on_answer(id, Ok(frame.payload));
                Ok(())
            }
            FrameKind::CallFailed => {
                let error = CallError::decode(frame.payload)?;
                self.on_answer(id, Err(PeerError::Failed(error)));
                Ok(())
            }
            _ => Err(ConnectionError::Unexpected(
                "request from a node that accepted",
            )),
        }
    }

    fn on_answer(&mut self, id: u64, answer: Result<Bytes, PeerError>) {
        if let Some(call) = self.calls.remove(&id) {
            // A caller that went away no longer wants to know.
            drop(call.answer.send(answer));
        }
    }

    fn on_appended(&mut self, id: u64, appended: Appended) -> Result<(), ConnectionError> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if stream.unanswered == 0 {
            return Err(ConnectionError::Unexpected("answer without a request"));
        }
        stream.unanswered -= 1;
        let sent = stream.answers.try_send(Ok(appended));
        if matches!(sent, Err(mpsc::error::TrySendError::Full(_))) {
            return Err(ConnectionError::Unexpected("flood of answers"));
        }
        if stream.is_ended && stream.unanswered == 0 {
            self.streams.remove(&id);
        }
        Ok(())
    }

    /// Forgets those who went away; returns what the other end must be told.
    pub(crate) fn sweep(&mut self) -> Vec<OutFrame> {
        self.calls.retain(|_, call| !call.answer.is_closed());
        let closed = |stream: &&AppendStream| stream.answers.is_closed();
        let gone = self.streams.iter().filter(|(_, stream)| closed(stream));
        let gone: Vec<_> = gone
            .map(|(id, stream)| (*id, stream.set, stream.is_ended))
            .collect();
        gone.iter()
            .for_each(|(id, ..)| drop(self.streams.remove(id)));
        let told = gone.into_iter().filter(|(.., is_ended)| !is_ended);
        told.map(|(id, set, _)| OutFrame::new(FrameKind::AppendEnd, set, id, |_| {}))
            .collect()
    }

    /// The connection is gone.
    pub(crate) fn close(self) {
        for call in self.calls.into_values() {
            let was_written = true;
            // A caller that went away no longer wants to know.
            drop(
                call.answer
                    .send(Err(PeerError::Disconnected { was_written })),
            );
        }
    }
}
