//! What a client has accepted and not yet written: the half that callers and the connection share.
//!
//! Owns the frames under construction, one per queue and kind; the frames ready to be written; the
//! ones that wait to be repeated; and the gates that bound all of it. It knows no socket and no
//! clock. Frames that were written belong to `connection::Connection`.
//!
//! Sends of one queue join the queue's open frame. The connection closes an open frame when it has
//! room to write, so frames grow by themselves while it is busy and hold one message when it is
//! idle. While `FRAMES_AHEAD_MAX` frames of a queue are unanswered, only full ones follow: more
//! small frames would cost the broker more and be answered no sooner.
//!
//! Invariants: `open` names each queue with an open frame once; a lane counts its frames between
//! `take` and `give_back`; a lane with nothing in it is gone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use sampan_protocol::ReceiptHandle;
use tokio::time::Instant;

use crate::delete_frame::DeleteFrame;
use crate::error::Error;
use crate::gate::{Cost, Gate, Waiting};
use crate::outgoing::{Freed, LaneKey, Outgoing, Work};
use crate::send_frame::{SEND_FRAME_LEN, SendFrame, SendUnit};
use crate::slot::{Outcome, SlotOwner, Ticket};

/// Unanswered frames of one queue and kind from which on only full ones follow.
const FRAMES_AHEAD_MAX: usize = 4;
/// Receipt handles of deletes that may be unanswered at one time; more wait in a line.
pub(crate) const DELETES_IN_FLIGHT_MAX: usize = 65_536;
/// Buffers of send frames that are kept for the next ones.
const BUFFERS_KEPT_MAX: usize = 16;
/// Buffers larger than this are not kept.
const BUFFER_KEPT_LEN_MAX: usize = 2 * SEND_FRAME_LEN;

/// Whether new calls are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// What was accepted is finished, nothing more is taken.
    Closing,
    /// Nothing goes out any more.
    Closed,
}

/// The frames of one queue.
#[derive(Debug, Default)]
struct Lane {
    send: Option<(SendFrame, Instant)>,
    delete: Option<(DeleteFrame, Instant)>,
    /// Frames taken by the connection and not given back.
    sends_ahead: usize,
    deletes_ahead: usize,
}

impl Lane {
    fn has_open(&self) -> bool {
        self.send.is_some() || self.delete.is_some()
    }

    fn ahead(&mut self, key: &LaneKey) -> &mut usize {
        if key.sends {
            &mut self.sends_ahead
        } else {
            &mut self.deletes_ahead
        }
    }

    fn is_empty(&self) -> bool {
        !self.has_open() && self.sends_ahead == 0 && self.deletes_ahead == 0
    }
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    lanes: BTreeMap<Arc<str>, Lane>,
    /// Queues with an open frame, the one that has waited longest first.
    open: VecDeque<Arc<str>>,
    ready: VecDeque<Outgoing>,
    /// Receives that are ready; apart, because they may wait at the broker for long and so get
    /// only part of the connection's request slots.
    receives: VecDeque<Outgoing>,
    retries: BTreeMap<(Instant, u64), Outgoing>,
    retry_number_next: u64,
    pub(crate) sends: Gate<SendUnit>,
    pub(crate) deletes: Gate<ReceiptHandle>,
    buffers: Vec<Vec<u8>>,
    /// The connection's task, when it sleeps.
    sleeper: Option<Waker>,
}

/// How much the connection can take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Request slots left for anything.
    pub(crate) slots: usize,
    /// Request slots left for receives; at most `slots`.
    pub(crate) receive_slots: usize,
    /// Bytes until enough is waiting for the socket.
    pub(crate) len: usize,
}

impl State {
    pub(crate) fn new(sends_max: Cost) -> Self {
        State {
            phase: Phase::Open,
            lanes: BTreeMap::new(),
            open: VecDeque::new(),
            ready: VecDeque::new(),
            receives: VecDeque::new(),
            retries: BTreeMap::new(),
            retry_number_next: 0,
            sends: Gate::new(sends_max),
            deletes: Gate::new(Cost {
                count: DELETES_IN_FLIGHT_MAX,
                len: 0,
            }),
            buffers: Vec::new(),
            sleeper: None,
        }
    }

    /// Lets messages join the open frame of their queue. Their cost is taken already.
    pub(crate) fn put_send(&mut self, queue: &Arc<str>, unit: SendUnit) -> Ticket {
        let buffers = &mut self.buffers;
        let lane = lane_of(&mut self.lanes, queue);
        if !lane.has_open() {
            self.open.push_back(Arc::clone(queue));
        }
        let fits = |frame: &SendFrame| frame.has_room_for(&unit, unit.cost());
        if let Some((frame, at)) = lane.send.take_if(|(frame, _)| !fits(frame)) {
            self.ready.push_back(Outgoing::new(Work::Send(frame), at));
        }
        let new = || {
            let buffer = buffers.pop().unwrap_or_default();
            (SendFrame::new(Arc::clone(queue), buffer), Instant::now())
        };
        let (frame, _) = lane.send.get_or_insert_with(new);
        let ticket = frame.push(unit);
        if let Some((frame, at)) = lane.send.take_if(|(frame, _)| frame.is_full()) {
            self.ready.push_back(Outgoing::new(Work::Send(frame), at));
            self.forget_open_when_closed(queue);
        }
        ticket
    }

    /// Lets a handle join the open delete frame of its queue. Its cost is taken already.
    pub(crate) fn put_delete(&mut self, queue: &Arc<str>, handle: ReceiptHandle) -> Ticket {
        let lane = lane_of(&mut self.lanes, queue);
        if !lane.has_open() {
            self.open.push_back(Arc::clone(queue));
        }
        let new = || (DeleteFrame::new(Arc::clone(queue)), Instant::now());
        let (frame, _) = lane.delete.get_or_insert_with(new);
        let ticket = frame.push(handle);
        if let Some((frame, at)) = lane.delete.take_if(|(frame, _)| frame.is_full()) {
            self.ready.push_back(Outgoing::new(Work::Delete(frame), at));
            self.forget_open_when_closed(queue);
        }
        ticket
    }

    fn forget_open_when_closed(&mut self, queue: &Arc<str>) {
        if self.lanes.get(queue).is_some_and(|lane| !lane.has_open()) {
            // The queue was used a moment ago, so it is near the end.
            if let Some(at) = self.open.iter().rposition(|open| open == queue) {
                self.open.remove(at);
            }
        }
    }

    /// Queues a frame that is complete.
    pub(crate) fn put_ready(&mut self, outgoing: Outgoing) {
        self.lists(&outgoing).push_back(outgoing);
    }

    /// Queues a frame that was taken before, in front of all others.
    pub(crate) fn put_back(&mut self, outgoing: Outgoing) {
        self.lists(&outgoing).push_front(outgoing);
    }

    fn lists(&mut self, outgoing: &Outgoing) -> &mut VecDeque<Outgoing> {
        match &outgoing.work {
            Work::Call(call) if call.receives_from().is_some() => &mut self.receives,
            _ => &mut self.ready,
        }
    }

    /// Keeps a frame until `at`, then queues it again.
    pub(crate) fn put_retry(&mut self, at: Instant, outgoing: Outgoing) {
        self.retries.insert((at, self.retry_number_next), outgoing);
        self.retry_number_next += 1;
    }

    /// When the next frame is to be repeated.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retries.first_key_value().map(|((at, _), _)| *at)
    }

    /// Queues the frames whose time to be repeated has come.
    pub(crate) fn wake_retries(&mut self, now: Instant) {
        while let Some(entry) = self.retries.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let outgoing = entry.remove();
            self.put_ready(outgoing);
        }
    }

    /// Takes what is to be written next, oldest first. At least one frame when a slot is free.
    pub(crate) fn take(&mut self, mut room: Room, out: &mut Vec<Outgoing>) {
        while room.slots > 0 && room.len > 0 {
            let Some(outgoing) = self.next(&room) else {
                return;
            };
            if outgoing.is_dropped() {
                continue;
            }
            room.slots -= 1;
            room.receive_slots = room.receive_slots.saturating_sub(1);
            room.len = room.len.saturating_sub(outgoing.encoded_len());
            if let Some(key) = outgoing.lane_key() {
                *lane_of(&mut self.lanes, &key.queue).ahead(&key) += 1;
            }
            out.push(outgoing);
        }
    }

    fn next(&mut self, room: &Room) -> Option<Outgoing> {
        if let Some(outgoing) = self.ready.pop_front() {
            return Some(outgoing);
        }
        if room.receive_slots > 0
            && let Some(outgoing) = self.receives.pop_front()
        {
            return Some(outgoing);
        }
        self.close_open()
    }

    /// Closes the open frame that may go and has waited longest.
    fn close_open(&mut self) -> Option<Outgoing> {
        for at in 0..self.open.len() {
            let lane = self.lanes.get_mut(&self.open[at])?;
            let closed = if lane.deletes_ahead < FRAMES_AHEAD_MAX && lane.delete.is_some() {
                lane.delete
                    .take()
                    .map(|(frame, at)| Outgoing::new(Work::Delete(frame), at))
            } else if lane.sends_ahead < FRAMES_AHEAD_MAX {
                lane.send
                    .take()
                    .map(|(frame, at)| Outgoing::new(Work::Send(frame), at))
            } else {
                None
            };
            if closed.is_some() {
                if !lane.has_open() {
                    self.open.remove(at);
                }
                return closed;
            }
        }
        None
    }

    /// The connection is done with a frame that it had taken.
    pub(crate) fn give_back(&mut self, key: &LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key.queue) else {
            return;
        };
        *lane.ahead(key) -= 1;
        if lane.is_empty() {
            self.lanes.remove(&key.queue);
        }
    }

    /// Takes every frame that is not with the connection and for which `wanted` holds.
    pub(crate) fn take_if(&mut self, mut wanted: impl FnMut(&Outgoing) -> bool) -> Vec<Outgoing> {
        let mut taken = Vec::new();
        for list in [&mut self.ready, &mut self.receives] {
            let all = std::mem::take(list);
            for outgoing in all {
                if wanted(&outgoing) {
                    taken.push(outgoing)
                } else {
                    list.push_back(outgoing)
                }
            }
        }
        for (key, outgoing) in std::mem::take(&mut self.retries) {
            if wanted(&outgoing) {
                taken.push(outgoing);
            } else {
                self.retries.insert(key, outgoing);
            }
        }
        taken.extend(self.take_open_if(wanted));
        taken
    }

    fn take_open_if(&mut self, mut wanted: impl FnMut(&Outgoing) -> bool) -> Vec<Outgoing> {
        let mut taken = Vec::new();
        for lane in self.lanes.values_mut() {
            if let Some((frame, at)) = lane.send.take() {
                match Outgoing::new(Work::Send(frame), at) {
                    outgoing if wanted(&outgoing) => taken.push(outgoing),
                    Outgoing {
                        work: Work::Send(frame),
                        ..
                    } => lane.send = Some((frame, at)),
                    _ => {}
                }
            }
            if let Some((frame, at)) = lane.delete.take() {
                match Outgoing::new(Work::Delete(frame), at) {
                    outgoing if wanted(&outgoing) => taken.push(outgoing),
                    Outgoing {
                        work: Work::Delete(frame),
                        ..
                    } => lane.delete = Some((frame, at)),
                    _ => {}
                }
            }
        }
        let lanes = &mut self.lanes;
        self.open
            .retain(|queue| lanes.get(queue).is_some_and(Lane::has_open));
        lanes.retain(|_, lane| !lane.is_empty());
        taken
    }

    /// Gives room back and admits who waits for it. What is returned is to be resolved once the
    /// lock is gone.
    pub(crate) fn free(&mut self, freed: &mut Freed) -> Vec<(SlotOwner, Outcome)> {
        self.sends.leave(std::mem::take(&mut freed.sends));
        self.deletes.leave(std::mem::take(&mut freed.deletes));
        for mut buffer in freed.buffers.drain(..) {
            let capacity = buffer.capacity();
            if capacity <= BUFFER_KEPT_LEN_MAX && self.buffers.len() < BUFFERS_KEPT_MAX {
                buffer.clear();
                self.buffers.push(buffer);
            }
        }
        let mut moved = Vec::new();
        while let Some(Waiting {
            queue, unit, slot, ..
        }) = self.sends.admit_next()
        {
            let ticket = self.put_send(&queue, unit);
            moved.push((slot, Outcome::Moved(vec![(0, ticket)])));
        }
        while let Some(Waiting {
            queue, unit, slot, ..
        }) = self.deletes.admit_next()
        {
            let ticket = self.put_delete(&queue, unit);
            moved.push((slot, Outcome::Moved(vec![(0, ticket)])));
        }
        moved
    }

    /// Empties the lines before the gates.
    pub(crate) fn refuse_waiting(&mut self, error: &Error) -> Vec<(SlotOwner, Outcome)> {
        let sends = self
            .sends
            .drain_waiting()
            .into_iter()
            .map(|waiting| waiting.slot);
        let deletes = self
            .deletes
            .drain_waiting()
            .into_iter()
            .map(|waiting| waiting.slot);
        sends
            .chain(deletes)
            .map(|slot| (slot, Outcome::Failed(error.clone())))
            .collect()
    }

    /// Whether anything waits to be written, now or later.
    pub(crate) fn has_work(&self) -> bool {
        let waiting = self
            .ready
            .iter()
            .chain(&self.receives)
            .chain(self.retries.values());
        !self.open.is_empty() || waiting.into_iter().any(Outgoing::matters)
    }

    /// Whether sends and deletes are all answered and nothing else waits to be written.
    pub(crate) fn is_quiet(&self) -> bool {
        self.sends.is_unused() && self.deletes.is_unused() && !self.has_work()
    }

    /// Whether nobody waits for an answer to anything that is here.
    pub(crate) fn is_unawaited(&self) -> bool {
        let waiting = self
            .ready
            .iter()
            .chain(&self.receives)
            .chain(self.retries.values());
        self.open.is_empty() && !waiting.into_iter().any(Outgoing::is_awaited)
    }

    /// The connection's task goes to sleep until there is work.
    pub(crate) fn sleep(&mut self, waker: &Waker) {
        match &mut self.sleeper {
            Some(sleeper) => sleeper.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    /// The waker of the connection's task, when it sleeps.
    pub(crate) fn wake(&mut self) -> Option<Waker> {
        self.sleeper.take()
    }
}

fn lane_of<'a>(lanes: &'a mut BTreeMap<Arc<str>, Lane>, queue: &Arc<str>) -> &'a mut Lane {
    if !lanes.contains_key(queue) {
        lanes.insert(Arc::clone(queue), Lane::default());
    }
    lanes
        .get_mut(queue)
        .expect("it was inserted when it was missing")
}
