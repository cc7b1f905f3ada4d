//! One live connection to one server: what was written to it, what is being written, and what comes
//! back.
//!
//! One task polls it. Each round reads what has come, resolves it, takes what has become ready to
//! be written, and writes all of that with one vectored write. Nothing is taken while enough waits
//! for the socket, so frames keep growing when the broker is slow and memory stays bounded by the
//! gates in `State`.
//!
//! A frame counts as written once the socket took its last byte: before that the broker can't have
//! carried it out, and it is simply sent again on the next connection.
//!
//! Invariants: `writing` is in the order of the request ids, and only its first frame may be
//! written in part. `in_flight` holds at most as many frames as the broker allows.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use sampan_protocol::{ErrorCode, FrameDecoder, Reply};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::dial::{Dialed, Socket};
use crate::error::Error;
use crate::outgoing::{Freed, LaneKey, Outgoing, Work};
use crate::producer::End as SessionEnd;
use crate::refusals::Repeat;
use crate::shared::Shared;
use crate::state::{Phase, Room, State};
use crate::timing::Timing;

/// No more frames are taken while this many bytes wait for the socket.
const WRITE_AHEAD_LEN: usize = 512 * 1024;
/// Pieces handed to the socket with one write.
const PIECES_MAX: usize = 256;
/// Space offered to one read.
const READ_LEN: usize = 256 * 1024;
/// Less free space than this, and the read buffer is renewed.
const READ_LEN_MIN: usize = 32 * 1024;

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum End {
    /// It broke; what went wrong.
    Broken(String),
    /// The client closes, and everything was answered.
    Finished,
}

/// Request slots for anything but pings, one of which always has a place.
fn requests_max(in_flight_max: usize) -> usize {
    in_flight_max.saturating_sub(1).max(1)
}

/// Request slots from which on no receive is written, since those may be taken for long.
fn receives_max(in_flight_max: usize) -> usize {
    in_flight_max - in_flight_max / 4
}

/// See the head of the file.
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    /// The server's number.
    slot: usize,
    socket: Box<dyn Socket>,
    decoder: FrameDecoder,
    read_buffer: BytesMut,
    writing: VecDeque<(u64, Box<Outgoing>)>,
    writing_len: usize,
    /// Bytes of the first frame of `writing` that are written.
    written_len: usize,
    needs_flush: bool,
    /// Boxed, for a tree moves what it holds.
    pub(crate) in_flight: BTreeMap<u64, Box<Outgoing>>,
    request_id_next: u64,
    in_flight_max: usize,
    frame_len_max: usize,
    /// What came back and is still counted in the state as on its way.
    pub(crate) landed: Vec<LaneKey>,
    /// Queues whose sessions end, and where.
    pub(crate) session_ends: Vec<(Arc<str>, SessionEnd)>,
    /// Frames to be repeated, and how.
    pub(crate) repeats: Vec<Repeat>,
    /// Frames to be written as soon as there is room.
    pub(crate) again: Vec<Outgoing>,
    pub(crate) freed: Freed,
    taken: Vec<Outgoing>,
    pub(crate) now: Instant,
    timing: Timing,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, slot: usize, dialed: Dialed) -> Self {
        let now = Instant::now();
        let in_flight_max = usize::try_from(dialed.hello.requests_in_flight_max);
        let frame_len_max = usize::try_from(dialed.hello.frame_len_max);
        let timing = Timing::new(&shared.config, now);
        Connection {
            slot,
            socket: dialed.socket,
            decoder: dialed.decoder,
            read_buffer: dialed.buffer,
            writing: VecDeque::new(),
            writing_len: 0,
            written_len: 0,
            needs_flush: false,
            in_flight: BTreeMap::new(),
            request_id_next: 1,
            in_flight_max: in_flight_max.unwrap_or(usize::MAX).max(1),
            frame_len_max: frame_len_max.unwrap_or(usize::MAX),
            landed: Vec::new(),
            session_ends: Vec::new(),
            repeats: Vec::new(),
            again: Vec::new(),
            freed: Freed::default(),
            taken: Vec::new(),
            now,
            timer: Box::pin(sleep_until(timing.due())),
            timing,
            shared,
        }
    }

    /// Works until there is nothing to do; ready when the connection is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.now = Instant::now();
        loop {
            let read = match self.poll_read(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(broken)) => return Poll::Ready(End::Broken(broken)),
                Poll::Pending => false,
            };
            if let Err(broken) = self.on_time(cx) {
                return Poll::Ready(End::Broken(broken));
            }
            let (took, finished) = self.exchange(cx);
            let wrote = match self.poll_write(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(End::Broken(error.to_string())),
                Poll::Pending => false,
            };
            if finished && wrote {
                return Poll::Ready(End::Finished);
            }
            let progress = read || (took && wrote);
            if !progress {
                return self.rest(cx);
            }
        }
    }

    /// Arms the timer before the task sleeps.
    fn rest(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.timing.due() < self.timer.deadline() {
            self.timer.as_mut().reset(self.timing.due());
            if self.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        if self.read_buffer.capacity() - self.read_buffer.len() < READ_LEN_MIN {
            self.read_buffer.reserve(READ_LEN);
        }
        let read = ready!(pin!(self.socket.read_buf(&mut self.read_buffer)).poll(cx));
        match read {
            Ok(0) => return Poll::Ready(Err("the broker closed the connection".to_owned())),
            Ok(_) => self.timing.on_read(self.now),
            Err(error) => return Poll::Ready(Err(error.to_string())),
        }
        loop {
            match self.decoder.decode(&mut self.read_buffer) {
                Ok(Some(frame)) => {
                    if let Err(broken) = self.on_frame(frame) {
                        return Poll::Ready(Err(broken));
                    }
                }
                Ok(None) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error.to_string())),
            }
        }
    }

    /// Timeouts, keep-alive and repeats, when one of them is due.
    fn on_time(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        if self.timer.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        self.now = Instant::now();
        if self.timing.is_silent(self.now) {
            return Err("the broker does not answer".to_owned());
        }
        if self.timing.take_sweep(self.now) {
            self.shared.fail_expired(self.now);
            self.abandon_expired();
        }
        if self.timing.take_ping(self.now) {
            self.start_ping();
        }
        // A repeat that is due is taken by the exchange that follows, which sets its time anew.
        self.timing
            .on_exchange(self.now, !self.in_flight.is_empty(), None);
        self.timer.as_mut().reset(self.timing.due());
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Asks whether the broker is there: not through the state, where a ping would wait for a
    /// request slot behind the very requests that are not answered.
    fn start_ping(&mut self) {
        // With the slot taken, an earlier ping is unanswered, and does as well.
        if self.in_flight.len() + self.writing.len() < self.in_flight_max {
            self.taken.push(Outgoing::new(Work::Ping, self.now));
        }
    }

    /// Tells the callers whose time is over. The broker may still answer, so the slots stay taken.
    /// Sends with numbers go on without their callers: here, and when this server says nothing for
    /// long, at whoever leads by then.
    fn abandon_expired(&mut self) {
        let request_timeout = self.shared.config.request_timeout;
        for outgoing in self.in_flight.values_mut() {
            let under_way = matches!(&outgoing.work, Work::Call(call) if call.has_received());
            let abandoned = matches!(outgoing.work, Work::Abandoned { .. });
            if under_way || abandoned || outgoing.expires_at(request_timeout) > self.now {
                continue;
            }
            let applied = outgoing.applied_once_written();
            if outgoing.number().is_some() && !outgoing.is_orphan() {
                outgoing.orphan(Error::TimedOut { applied }, &mut self.freed);
                outgoing.created_at = self.now;
                continue;
            }
            let received_from = match &outgoing.work {
                Work::Call(call) => call.receives_from().cloned(),
                _ => None,
            };
            let left = Outgoing::new(Work::Abandoned { received_from }, outgoing.created_at);
            let mut expired = std::mem::replace(&mut **outgoing, left);
            self.landed.extend(expired.lane_key());
            if expired.number().is_some() {
                expired.repeated = true;
                self.repeats.push(Repeat::of_unknown(expired));
                continue;
            }
            expired.fail(Error::TimedOut { applied }, &mut self.freed);
        }
    }

    /// Gives back what came and takes what is to be written, under one lock. Returns whether
    /// anything was taken, and whether a closing client has nothing left to wait for.
    fn exchange(&mut self, cx: &mut Context<'_>) -> (bool, bool) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        self.hand_back(&mut state);
        for repeat in self.repeats.drain(..) {
            repeat.put(&mut state, self.slot, self.now);
        }
        for outgoing in self.again.drain(..) {
            match outgoing.is_pinned() {
                true => state.put_at(self.slot, outgoing),
                false => state.put_ready(outgoing),
            }
        }
        let moved = state.free(&mut self.freed);
        state.wake_retries(self.now);
        let used = self.in_flight.len() + self.writing.len() + self.taken.len();
        let slots = requests_max(self.in_flight_max).saturating_sub(used);
        let room = Room {
            slots,
            receive_slots: slots.min(receives_max(self.in_flight_max).saturating_sub(used)),
            len: WRITE_AHEAD_LEN.saturating_sub(self.writing_len),
        };
        state.take(self.slot, room, self.now, &mut self.taken);
        let failed = std::mem::take(&mut state.failed);
        let retry_at = state.retry_at();
        let closing = state.phase != Phase::Open && state.is_quiet() && self.taken.is_empty();
        state.sleep(self.slot, cx.waker());
        let wakers = state.wake();
        drop(state);
        shared.rouse(wakers);
        for (slot, outcome) in moved {
            slot.resolve(outcome);
        }
        if !failed.is_empty() {
            let error = Error::refused(ErrorCode::ProducerExpired);
            shared.fail_all(failed, |applied| error.clone().with_applied(applied));
        }
        let took = !self.taken.is_empty();
        self.start_writing();
        let matters = || {
            let written = self.in_flight.values();
            let mut all = written.chain(self.writing.iter().map(|(_, outgoing)| outgoing));
            all.any(|outgoing| outgoing.matters())
        };
        let finished = closing && !matters();
        let outstanding = !self.in_flight.is_empty() || !self.writing.is_empty();
        self.timing.on_exchange(self.now, outstanding, retry_at);
        (took, finished)
    }

    /// What has to be known before frames come back: which numbers are over, and which are free.
    fn hand_back(&mut self, state: &mut State) {
        for (queue, end) in self.session_ends.drain(..) {
            state.producers.note(&queue, end);
        }
        for key in self.landed.drain(..) {
            state.give_back(&key);
        }
    }

    fn start_writing(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        for mut outgoing in taken.drain(..) {
            let request_id = self.request_id_next;
            self.request_id_next += 1;
            outgoing.encode(request_id);
            let len = outgoing.encoded_len();
            if len > self.frame_len_max {
                self.landed.extend(outgoing.lane_key());
                self.refuse_for_good(outgoing, Error::refused(ErrorCode::FrameTooLarge));
                continue;
            }
            self.writing_len += len;
            self.writing.push_back((request_id, Box::new(outgoing)));
        }
        self.taken = taken;
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.writing.is_empty() {
            let mut len = ready!(self.poll_write_some(cx))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.needs_flush = true;
            self.writing_len -= len;
            len += self.written_len;
            while let Some((_, outgoing)) = self.writing.front() {
                let frame_len = outgoing.encoded_len();
                if len < frame_len {
                    break;
                }
                len -= frame_len;
                if let Some((request_id, outgoing)) = self.writing.pop_front() {
                    self.in_flight.insert(request_id, outgoing);
                }
            }
            self.written_len = len;
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let mut count = 0;
        let mut skip = self.written_len;
        let pieces = self
            .writing
            .iter()
            .flat_map(|(_, outgoing)| outgoing.pieces());
        for piece in pieces {
            if piece.len() <= skip {
                skip -= piece.len();
                continue;
            }
            slices[count] = IoSlice::new(&piece[skip..]);
            skip = 0;
            count += 1;
            if count == PIECES_MAX {
                break;
            }
        }
        Pin::new(&mut self.socket).poll_write_vectored(cx, &slices[..count])
    }

    /// Says goodbye: what was written is flushed, and the broker hears that no more comes.
    pub(crate) async fn shut_down(&mut self) {
        use tokio::io::AsyncWriteExt;
        let patience = self.shared.config.connect_timeout;
        // Everything was answered, so nothing depends on how this goes.
        drop(tokio::time::timeout(patience, self.socket.shutdown()).await);
    }

    /// Gives the server's slot back when everything was answered.
    pub(crate) fn close(&mut self) {
        let (slot, now) = (self.slot, Instant::now());
        self.shared.change(|state| state.close_slot(slot, now));
    }

    /// Drops the socket, and what the kernel would still send. First of all: once a frame goes out
    /// again, on another connection, this one must not deliver it any more.
    fn abort(&mut self) {
        let socket = std::mem::replace(&mut self.socket, Box::new(tokio::io::empty()));
        // A socket that cannot be set is one that the other side has reset already.
        drop(socket.give_up());
    }

    /// Settles everything that was with this connection: back to the state what goes out again,
    /// an answer to the caller for the rest.
    pub(crate) fn settle(&mut self, reason: &str) {
        self.abort();
        self.now = Instant::now();
        let mut again = Vec::new();
        for (_, outgoing) in std::mem::take(&mut self.in_flight) {
            self.landed.extend(outgoing.lane_key());
            again.extend(self.settle_written(*outgoing, reason));
        }
        for (_, outgoing) in std::mem::take(&mut self.writing) {
            self.landed.extend(outgoing.lane_key());
            again.push(*outgoing);
        }
        again.append(&mut self.again);
        let shared = Arc::clone(&self.shared);
        shared.change(|state| {
            self.hand_back(state);
            state.close_slot(self.slot, self.now);
            for outgoing in again.into_iter().rev() {
                // A ping asks about this connection only; so does a question for a route.
                if !outgoing.is_pinned() {
                    state.put_back(outgoing);
                }
            }
            for repeat in self.repeats.drain(..) {
                repeat.put(state, self.slot, self.now);
            }
        });
        self.shared.free(&mut self.freed);
    }

    /// What happens to a frame whose outcome nobody knows. Returns it when it goes out again.
    fn settle_written(&mut self, mut outgoing: Outgoing, reason: &str) -> Option<Outgoing> {
        if outgoing.repeats(self.shared.config.resend_unknown) {
            outgoing.repeated = true;
            if let Work::Call(call) = &mut outgoing.work {
                if call.has_received() {
                    // What has come is leased to this caller; the rest lapses at the broker.
                    return self.resolve_received(outgoing);
                }
                call.shorten_wait(self.now);
            }
            return Some(outgoing);
        }
        let applied = outgoing.applied_once_written();
        outgoing.fail(Error::disconnected(reason, applied), &mut self.freed);
        None
    }

    fn resolve_received(&mut self, outgoing: Outgoing) -> Option<Outgoing> {
        match outgoing.work {
            Work::Call(call) => {
                call.resolve(&self.shared, Reply::Received(Vec::new()), outgoing.repeated);
                None
            }
            _ => Some(outgoing),
        }
    }
}
