//! A connection after its greeting: one future that reads and writes until either fails.
//!
//! Both directions run side by side, so that a peer that does not read never keeps this node from
//! reading: two nodes could otherwise wait for each other for ever.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::clocks::PeerClocks;
use super::error::ConnectionError;
use super::frame::{Frame, FrameDecoder, FrameKind, Hello, Pulse};
use super::incoming::Incoming;
use super::limits::{PEER_SILENCE_MAX, PULSE_LEN_MAX};
use super::outbox::Lanes;
use super::pending::PendingTable;
use super::service::{Gate, PulseSource};
use super::transport::PeerStream;
use super::writer;
use crate::clock::TimeSource;

/// Room for the next read, at least.
const READ_ROOM_MIN: usize = 4 * 1024;
/// Room that is made when there is less.
const READ_ROOM: usize = 64 * 1024;

/// A connection whose greeting is over.
pub(crate) struct Greeted {
    pub(crate) stream: PeerStream,
    pub(crate) decoder: FrameDecoder,
    /// What came behind the greeting already.
    pub(crate) buffer: BytesMut,
}

/// What all connections of a node share.
#[derive(Clone)]
pub(crate) struct Vitals {
    pub(crate) time: Arc<dyn TimeSource>,
    pub(crate) pulses: Arc<dyn PulseSource>,
    pub(crate) clocks: Arc<PeerClocks>,
}

impl Vitals {
    fn pulse(&self) -> Pulse {
        let mut content = self.pulses.pulse();
        if content.len() > PULSE_LEN_MAX {
            tracing::error!(len = content.len(), "a pulse is too long; it is left empty");
            content.clear();
        }
        let wall_ms = self.time.read().wall_ms;
        Pulse { wall_ms, content }
    }

    /// `node` says what time it is.
    pub(crate) fn on_wall_clock(&self, node: u64, wall_ms: u64) {
        let now = self.time.read().monotonic_ms;
        self.clocks.note(node, wall_ms, now);
    }
}

/// What a connection is for, by who opened it.
pub(crate) enum Role<'a> {
    /// This node: answers come.
    Asks,
    /// The peer: requests come.
    Serves(&'a mut Incoming),
}

/// Whose connection it is.
pub(crate) struct Remote {
    pub(crate) node: u64,
    /// Only a member's clock and pulses count. None: it is no member, or this is but one call.
    pub(crate) membership: Option<Membership>,
}

/// By what a member was let in, to be looked at again: it may be replaced or removed meanwhile.
pub(crate) struct Membership {
    gate: Arc<dyn Gate>,
    hello: Hello,
}

impl Remote {
    pub(crate) fn new(hello: Hello, gate: &Arc<dyn Gate>) -> Self {
        let node = hello.node;
        let membership = (hello.cluster != 0).then(|| Membership {
            gate: gate.clone(),
            hello,
        });
        Remote { node, membership }
    }

    /// One that is only asked something.
    pub(crate) fn stranger(node: u64) -> Self {
        let membership = None;
        Remote { node, membership }
    }
}

/// Runs a connection; returns why it ended.
pub(crate) async fn run(
    greeted: Greeted,
    remote: Remote,
    vitals: &Vitals,
    mut lanes: Lanes,
    role: Role<'_>,
) -> ConnectionError {
    let pending = RefCell::new(PendingTable::default());
    let (mut read_half, mut write_half) = tokio::io::split(greeted.stream);
    let mut reader = Reader {
        decoder: greeted.decoder,
        buffer: greeted.buffer,
        remote,
        vitals,
        pending: &pending,
        role,
    };
    let error = {
        let writing = writer::run(&mut write_half, &mut lanes, &pending, || vitals.pulse());
        tokio::select! {
            read = reader.run(&mut read_half) => match read {
                Ok(never) => match never {},
                Err(error) => error,
            },
            error = writing => error.into(),
        }
    };
    lanes.close();
    pending.into_inner().close();
    error
}

struct Reader<'a> {
    decoder: FrameDecoder,
    buffer: BytesMut,
    remote: Remote,
    vitals: &'a Vitals,
    pending: &'a RefCell<PendingTable>,
    role: Role<'a>,
}

impl Reader<'_> {
    async fn run<R: AsyncRead + Unpin>(
        &mut self,
        stream: &mut R,
    ) -> Result<Infallible, ConnectionError> {
        loop {
            while let Some(frame) = self.decoder.decode(&mut self.buffer)? {
                self.on_frame(frame).await?;
            }
            read_some(stream, &mut self.buffer).await?;
        }
    }

    async fn on_frame(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        if frame.header.kind == FrameKind::Pulse {
            let pulse = Pulse::decode(frame.payload)?;
            if let Some(Membership { gate, hello }) = &self.remote.membership {
                let still = gate.check_open(hello);
                still.map_err(ConnectionError::Refused)?;
                self.vitals.on_wall_clock(self.remote.node, pulse.wall_ms);
                self.vitals.pulses.on_pulse(self.remote.node, pulse.content);
            }
            return Ok(());
        }
        match &mut self.role {
            Role::Asks => self.pending.borrow_mut().on_frame(frame),
            Role::Serves(incoming) => incoming.on_frame(frame).await,
        }
    }
}

/// Waits for bytes, but not for ever.
async fn read_some<R: AsyncRead + Unpin>(
    stream: &mut R,
    buffer: &mut BytesMut,
) -> Result<(), ConnectionError> {
    if buffer.capacity() - buffer.len() < READ_ROOM_MIN {
        buffer.reserve(READ_ROOM);
    }
    match timeout(PEER_SILENCE_MAX, stream.read_buf(buffer)).await {
        Ok(Ok(0)) => Err(ConnectionError::Closed),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(ConnectionError::Silent(PEER_SILENCE_MAX)),
    }
}
