//! The reading half of a connection: bytes to frames to requests.
//!
//! Invariant: nothing is read while the client has [`REQUEST_LEN_MAX`] bytes of requests
//! unanswered or [`OUTBOX_LEN_MAX`] bytes of answers unread.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use sampan_protocol::limits::{FRAME_LEN_MAX, REQUESTS_IN_FLIGHT_MAX};
use sampan_protocol::{ErrorCode, ErrorReply, Frame, FrameDecoder, Reply};
use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf};
use tokio::sync::watch;

use super::ConnectionError;
use super::outbox::{OUTBOX_LEN_MAX, Outbox};
use super::requests::Requests;
use super::session::{Session, Step};
use crate::serve::{Phase, Shared};

/// Requests of one client that may be unanswered, in bytes. More than a client has on its way by
/// default, so that its pings are read however slow the sets are.
const REQUEST_LEN_MAX: usize = 40 * 1024 * 1024;
/// What the first read of a connection may bring.
const READ_LEN_MIN: usize = 8 * 1024;
/// What one read may bring once the client has filled shorter ones. The end of a frame that does
/// not fit is moved into the next buffer, so this is several of the longest usual frames.
const READ_LEN_MAX: usize = 1024 * 1024;
/// Payloads of this length and less are copied out of the read buffer, so that a message that stays
/// does not keep the whole buffer.
const COPY_LEN_MAX: usize = 16 * 1024;
/// Longest payload of a frame before authentication.
const GREETING_LEN_MAX: usize = 4 * 1024;
/// A client must have authenticated by then.
const AUTHENTICATION_TIME_MAX: Duration = Duration::from_secs(10);

/// How a connection ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client closed it.
    ByClient,
    /// The broker is stopping.
    ByBroker,
}

/// See the module's documentation.
pub(super) struct Reader<S> {
    stream: ReadHalf<S>,
    buffer: BytesMut,
    read_len: usize,
    outbox: Arc<Outbox>,
    shared: Arc<Shared>,
    requests: Requests,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    pub(super) fn new(stream: ReadHalf<S>, outbox: Arc<Outbox>, shared: Arc<Shared>) -> Self {
        let requests = Requests::new(outbox.clone(), shared.clone());
        Reader {
            stream,
            buffer: BytesMut::new(),
            read_len: READ_LEN_MIN,
            outbox,
            shared,
            requests,
        }
    }

    /// Reads until the client closes, breaks the protocol, or the broker stops.
    pub(super) async fn run(
        mut self,
        mut phases: watch::Receiver<Phase>,
    ) -> Result<Ended, ConnectionError> {
        let shared = self.shared.clone();
        let accounts = shared.security.accounts();
        let mut session = Session::new(&accounts, rand::random(), shared.node.time());
        let greeting = self.greet(&mut session, &mut phases);
        let greeted = tokio::time::timeout(AUTHENTICATION_TIME_MAX, greeting).await;
        match greeted.map_err(|_| ConnectionError::NotAuthenticatedInTime)?? {
            Some(ended) => Ok(ended),
            None => self.take_requests(&mut session, &mut phases).await,
        }
    }

    /// Until the session is open.
    async fn greet(
        &mut self,
        session: &mut Session<'_>,
        phases: &mut watch::Receiver<Phase>,
    ) -> Result<Option<Ended>, ConnectionError> {
        let mut decoder = FrameDecoder::new(GREETING_LEN_MAX);
        while !session.is_open() {
            match self.next_frame(&mut decoder)? {
                Some(frame) => self.on_frame(session, frame).await?,
                None => {
                    if let Some(ended) = self.read(phases).await? {
                        return Ok(Some(ended));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn take_requests(
        &mut self,
        session: &mut Session<'_>,
        phases: &mut watch::Receiver<Phase>,
    ) -> Result<Ended, ConnectionError> {
        let mut decoder = FrameDecoder::new(FRAME_LEN_MAX);
        loop {
            while let Some(frame) = self.next_frame(&mut decoder)? {
                self.on_frame(session, frame).await?;
            }
            while self.outbox.request_len() > REQUEST_LEN_MAX
                || self.outbox.unwritten_len() > OUTBOX_LEN_MAX
            {
                self.outbox.drained().await;
            }
            if let Some(ended) = self.read(phases).await? {
                return Ok(ended);
            }
        }
    }

    async fn read(
        &mut self,
        phases: &mut watch::Receiver<Phase>,
    ) -> Result<Option<Ended>, ConnectionError> {
        // Less room than a part of a read is not worth a system call.
        if self.buffer.capacity() - self.buffer.len() < self.read_len / 4 {
            self.buffer.reserve(self.read_len);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        tokio::select! {
            biased;
            _ = phases.wait_for(|phase| *phase == Phase::Stopping) => Ok(Some(Ended::ByBroker)),
            read = self.stream.read_buf(&mut self.buffer) => match read {
                Ok(0) if self.buffer.is_empty() => Ok(Some(Ended::ByClient)),
                Ok(0) => Err(ConnectionError::Protocol("a truncated frame".to_owned())),
                Ok(len) => {
                    if len == room {
                        self.read_len = READ_LEN_MAX.min(self.read_len * 2);
                    }
                    Ok(None)
                }
                Err(error) => Err(ConnectionError::Socket(error)),
            },
        }
    }

    fn next_frame(&mut self, decoder: &mut FrameDecoder) -> Result<Option<Frame>, ConnectionError> {
        match decoder.decode(&mut self.buffer) {
            Ok(Some(mut frame)) => {
                if frame.payload.len() <= COPY_LEN_MAX {
                    frame.payload = bytes::Bytes::copy_from_slice(&frame.payload);
                }
                Ok(Some(frame))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                let reply = ErrorReply::new(error.code(), &error.to_string());
                // The request id is not known: there may be none.
                self.outbox.on_request(0);
                self.outbox.push(0, 0, &Reply::Error(reply));
                Err(ConnectionError::Protocol(error.to_string()))
            }
        }
    }

    async fn on_frame(
        &mut self,
        session: &mut Session<'_>,
        frame: Frame,
    ) -> Result<(), ConnectionError> {
        let request_id = frame.header.request_id;
        let len = frame.payload.len();
        self.outbox.has_place().await;
        let step = session.on_frame(frame);
        let has_room = self.outbox.request_count() < REQUESTS_IN_FLIGHT_MAX;
        self.outbox.on_request(len);
        match step {
            Step::Answer(reply) => self.outbox.push(request_id, len, &reply),
            Step::Close(error) => {
                let text = error.text.clone();
                self.outbox.push(request_id, len, &Reply::Error(error));
                return Err(ConnectionError::Protocol(text));
            }
            Step::Ask(_) if !has_room => {
                let code = ErrorCode::TooManyRequests;
                let text = format!("{code}: at most {REQUESTS_IN_FLIGHT_MAX}");
                self.outbox
                    .push(request_id, len, &Reply::Error(ErrorReply::new(code, &text)));
            }
            Step::Ask(request) => self.requests.ask(request_id, len, request).await,
        }
        Ok(())
    }
}
