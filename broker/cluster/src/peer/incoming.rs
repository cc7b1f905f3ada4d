//! What comes in on a connection that a peer opened: append streams and calls.
//!
//! Entries that the sets have not taken are bounded per connection: past the bound nothing more is
//! read from it. A bound per stream would have to be too small, or too large with a thousand sets.
//!
//! Invariant: a request reaches its set with all that came before it on the stream, or not at all.
//! Spec: spec/peer.md, "Append streams".

use std::collections::BTreeMap;
use std::sync::Arc;

use sampan_protocol::SetId;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ConnectionError;
use super::frame::{
    AppendBytes, CallError, FLAG_LAST, FLAG_OPEN, Frame, FrameHeader, FrameKind, get_call,
};
use super::limits::{
    APPEND_STREAM_COUNT_MAX, APPENDS_UNANSWERED_MAX, APPENDS_WAITING_LEN_MAX, CALLS_WAITING_MAX,
};
use super::outbox::{Lane, Outbox};
use super::service::{
    AppendAnswers, AppendRequest, CallReply, Caller, IncomingAppends, PeerService, set_of,
};

/// The serving side of one connection.
pub(crate) struct Incoming {
    caller: Caller,
    service: Arc<dyn PeerService>,
    outbox: Outbox,
    /// Open ones; `None`: the set no longer takes requests of it, but the leader does not know yet.
    streams: BTreeMap<u64, Option<mpsc::Sender<AppendRequest>>>,
    appends_room: Arc<Semaphore>,
    calls_room: Arc<Semaphore>,
}

impl Incoming {
    pub(crate) fn new(caller: Caller, service: Arc<dyn PeerService>, outbox: Outbox) -> Self {
        Incoming {
            caller,
            service,
            outbox,
            streams: BTreeMap::new(),
            appends_room: Arc::new(Semaphore::new(APPENDS_WAITING_LEN_MAX)),
            calls_room: Arc::new(Semaphore::new(CALLS_WAITING_MAX)),
        }
    }

    /// Takes a frame in.
    pub(crate) async fn on_frame(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        match frame.header.kind {
            FrameKind::Append => self.on_append(frame).await,
            FrameKind::AppendEnd => match self.streams.remove(&frame.header.id) {
                Some(_) => Ok(()),
                None => Err(ConnectionError::Unexpected("end of an unknown stream")),
            },
            FrameKind::Call => self.on_call(frame).await,
            _ => Err(ConnectionError::Unexpected("answer from a node that asks")),
        }
    }

    async fn on_call(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        let header = frame.header;
        let Ok(permit) = self.calls_room.clone().try_acquire_owned() else {
            let error = CallError::new(CallError::TOO_MANY, "too many unanswered calls");
            let refused = error.encode(FrameKind::CallFailed, header.set, header.id);
            let sent = self.outbox.send(Lane::Express, refused, None).await;
            return sent.map_err(|_| ConnectionError::Closed);
        };
        let (method, payload) = get_call(frame.payload)?;
        let reply = CallReply::new(self.outbox.clone(), &header, permit);
        self.service
            .call(self.caller, set_of(&header), method, payload, reply);
        Ok(())
    }

    async fn on_append(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        let header = frame.header;
        let (Some(set), true) = (set_of(&header), self.caller.is_member) else {
            return Err(ConnectionError::Unexpected("append"));
        };
        let bytes = AppendBytes::decode(&frame)?;
        let permit = Some(Arc::new(self.room_for(&header).await?));
        let request = AppendRequest { bytes, permit };
        if header.flags & FLAG_OPEN != 0 {
            return self.open(set, &header, request);
        }
        let Some(stream) = self.streams.get_mut(&header.id) else {
            return Err(ConnectionError::Unexpected("append of an unknown stream"));
        };
        if let Some(sender) = stream {
            match sender.try_send(request) {
                Ok(()) => {}
                Err(TrySendError::Closed(_)) => *stream = None,
                Err(TrySendError::Full(_)) => {
                    return Err(ConnectionError::Unexpected("flood of appends"));
                }
            }
        }
        if header.flags & FLAG_LAST != 0 {
            self.streams.remove(&header.id);
        }
        Ok(())
    }

    async fn room_for(
        &self,
        header: &FrameHeader,
    ) -> Result<OwnedSemaphorePermit, ConnectionError> {
        let room = self.appends_room.clone();
        let acquired = room.acquire_many_owned(header.payload_len).await;
        acquired.map_err(|_| ConnectionError::Closed)
    }

    fn open(
        &mut self,
        set: SetId,
        header: &FrameHeader,
        first: AppendRequest,
    ) -> Result<(), ConnectionError> {
        if self.streams.contains_key(&header.id) {
            return Err(ConnectionError::Unexpected("second opening of a stream"));
        }
        if self.streams.len() >= APPEND_STREAM_COUNT_MAX {
            return Err(ConnectionError::Unexpected("number of open streams"));
        }
        let rest = if header.flags & FLAG_LAST != 0 {
            None
        } else {
            let (sender, receiver) = mpsc::channel(APPENDS_UNANSWERED_MAX);
            self.streams.insert(header.id, Some(sender));
            Some(receiver)
        };
        let answers = AppendAnswers::new(self.outbox.clone(), header);
        let stream = IncomingAppends {
            first,
            rest,
            answers,
        };
        self.service.open_append(self.caller.node, set, stream);
        Ok(())
    }
}
