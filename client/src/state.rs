//! What a client has accepted and not yet written: the half that callers and connections share.
//!
//! Owns the frames under construction, one per queue and kind; the lines of sends that have
//! numbers, or get them (see `numbering`); the other frames ready to be written, each with the
//! server it goes to; those for which no server is known; the ones that wait to be repeated; and
//! the gates that bound all of it, over all connections together. It knows no socket and no clock.
//! Frames that were written belong to `connection::Connection`.
//!
//! Sends of one queue join the queue's open frame. The connection closes an open frame when it has
//! room to write, so frames grow by themselves while it is busy and hold one message when it is
//! idle. While a few frames of a queue are unanswered, only full ones follow: more small frames
//! would cost the broker more and be answered no sooner.
//!
//! One lock for all connections keeps a message's way to one lock, and its limits exact. Locks per
//! connection would need the gates elsewhere and a second lock on that way.
//!
//! Invariants: a queue whose lane is listed is in `open` of the server that its lane names, once,
//! and nowhere while the lane names none; a lane with nothing in it is gone. What is `held` has no
//! server with a connection; where it goes is being found out, or there is no connection at all.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use sampan_protocol::ReceiptHandle;
use tokio::time::Instant;

use crate::address::Address;
use crate::error::Error;
use crate::gate::{Cost, Gate, Waiting};
use crate::lane::Lane;
use crate::line::When;
use crate::numbering::Orders;
use crate::outbox;
use crate::outgoing::{Freed, LaneKey, Outgoing, Work};
use crate::producer::Producers;
use crate::routes::Routes;
use crate::send_frame::{SEND_FRAME_LEN, SendUnit};
use crate::servers::{CONNECTIONS_MAX, Servers};
use crate::slot::{Outcome, SlotOwner, Ticket};

const _: () = assert!(CONNECTIONS_MAX <= 64, "slots are the bits of a u64");

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

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) lanes: HashMap<Arc<str>, Lane>,
    pub(crate) servers: Servers,
    pub(crate) routes: Routes,
    /// Complete frames that no server is known for.
    pub(crate) held: VecDeque<Outgoing>,
    pub(crate) producers: Producers,
    pub(crate) orders: Orders,
    /// Lines that nothing goes out of before a time.
    pub(crate) resting: BTreeSet<(Instant, Arc<str>)>,
    /// Sends of which nobody can know what became of them, to be told once the lock is gone.
    pub(crate) failed: Vec<Outgoing>,
    retries: BTreeMap<(Instant, u64), Outgoing>,
    retry_number_next: u64,
    pub(crate) sends: Gate<SendUnit>,
    pub(crate) deletes: Gate<ReceiptHandle>,
    buffers: Vec<Vec<u8>>,
    /// Servers whose connection's task has something to do, a bit for each slot.
    pub(crate) dirty: u64,
    /// The supervisor has something to do.
    pub(crate) needs_attention: bool,
}

/// Who is to be woken once the lock is gone.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    /// Nearly always there is one at most, and that costs no allocation.
    first: Option<Waker>,
    others: Vec<Waker>,
    pub(crate) supervisor: bool,
}

impl Wakers {
    pub(crate) fn wake(self) {
        for waker in self.first.into_iter().chain(self.others) {
            waker.wake();
        }
    }
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
    pub(crate) fn new(sends_max: Cost, servers: &[Address], numbers_sends: bool) -> Self {
        State {
            phase: Phase::Open,
            lanes: HashMap::new(),
            servers: Servers::new(servers),
            routes: Routes::default(),
            held: VecDeque::new(),
            producers: Producers::new(numbers_sends),
            orders: Orders::default(),
            resting: BTreeSet::new(),
            failed: Vec::new(),
            retries: BTreeMap::new(),
            retry_number_next: 0,
            sends: Gate::new(sends_max),
            deletes: Gate::new(Cost {
                count: DELETES_IN_FLIGHT_MAX,
                len: 0,
            }),
            buffers: Vec::new(),
            dirty: 0,
            needs_attention: false,
        }
    }

    /// Lets messages join the open frame of their queue. Their cost is taken already.
    pub(crate) fn put_send(&mut self, queue: &Arc<str>, unit: SendUnit) -> Ticket {
        self.with_lane(queue, |lane, buffers, complete| {
            lane.push_send(queue, unit, buffers, complete)
        })
    }

    /// Lets a handle join the open delete frame of its queue. Its cost is taken already.
    pub(crate) fn put_delete(&mut self, queue: &Arc<str>, handle: ReceiptHandle) -> Ticket {
        self.with_lane(queue, |lane, _, complete| {
            lane.push_delete(queue, handle, complete)
        })
    }

    /// Lets something join a frame of a queue's lane, and keeps account of the open frames.
    fn with_lane(
        &mut self,
        queue: &Arc<str>,
        join: impl FnOnce(&mut Lane, &mut Vec<Vec<u8>>, &mut dyn FnMut(Outgoing)) -> Ticket,
    ) -> Ticket {
        let mut buffers = std::mem::take(&mut self.buffers);
        let mut completed = Vec::new();
        let (ticket, place) = self.change_lane(queue, |lane| {
            let ticket = join(lane, &mut buffers, &mut |complete| completed.push(complete));
            (ticket, lane.place)
        });
        self.buffers = buffers;
        for complete in completed {
            match place {
                _ if self.is_for_line(&complete) => self.put_line(complete, When::Now),
                Some(slot) => self.servers.outbox(slot).push_back(complete),
                None => self.held.push_back(complete),
            }
        }
        ticket
    }

    fn is_for_line(&self, outgoing: &Outgoing) -> bool {
        self.producers.is_on && matches!(outgoing.work, Work::Send(_))
    }

    /// Queues a frame that is complete.
    pub(crate) fn put_ready(&mut self, outgoing: Outgoing) {
        if self.is_for_line(&outgoing) {
            return self.put_line(outgoing, When::Now);
        }
        match self.place_of(outgoing.queue()) {
            Some(slot) => self.put_at(slot, outgoing),
            None => {
                self.held.push_back(outgoing);
                self.needs_attention = true;
            }
        }
    }

    /// Queues a frame that was taken before, in front of all others.
    pub(crate) fn put_back(&mut self, outgoing: Outgoing) {
        if self.is_for_line(&outgoing) {
            // Its order is its place.
            return self.put_line(outgoing, When::Now);
        }
        match self.place_of(outgoing.queue()) {
            Some(slot) => {
                self.servers.outbox(slot).push_front(outgoing);
                self.dirty |= 1 << slot;
            }
            None => {
                self.held.push_front(outgoing);
                self.needs_attention = true;
            }
        }
    }

    /// Queues a frame for one server, which must have a connection.
    pub(crate) fn put_at(&mut self, slot: usize, outgoing: Outgoing) {
        self.servers.outbox(slot).push_back(outgoing);
        self.dirty |= 1 << slot;
    }

    /// Keeps a frame until `at`, then queues it again.
    pub(crate) fn put_retry(&mut self, at: Instant, outgoing: Outgoing) {
        if self.is_for_line(&outgoing) {
            return self.put_line(outgoing, When::At(at));
        }
        self.retries.insert((at, self.retry_number_next), outgoing);
        self.retry_number_next += 1;
    }

    /// When the next frame is to be repeated.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        let retry = self.retries.first_key_value().map(|((at, _), _)| *at);
        let line = self.resting.first().map(|(at, _)| *at);
        [retry, line].into_iter().flatten().min()
    }

    /// Queues the frames whose time to be repeated has come.
    pub(crate) fn wake_retries(&mut self, now: Instant) {
        self.wake_lines(now);
        while let Some(entry) = self.retries.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let outgoing = entry.remove();
            self.put_ready(outgoing);
        }
    }

    /// Takes what is to be written next to a server. At least one frame when there is a request
    /// slot free. Of a queue the oldest comes first, and queues take turns.
    pub(crate) fn take(
        &mut self,
        slot: usize,
        mut room: Room,
        now: Instant,
        out: &mut Vec<Outgoing>,
    ) {
        let mut open_at = 0;
        while room.slots > 0 && room.len > 0 {
            let Some(outgoing) = self.next(slot, &room, now, &mut open_at) else {
                return;
            };
            if outgoing.is_dropped() {
                continue;
            }
            room.slots -= 1;
            room.receive_slots = room.receive_slots.saturating_sub(1);
            room.len = room.len.saturating_sub(outgoing.encoded_len());
            if let Some(key) = outgoing.lane_key() {
                let lane = self.lanes.entry(Arc::clone(&key.queue));
                *lane.or_insert_with(|| Lane::new(Some(slot))).ahead(&key) += 1;
            }
            out.push(outgoing);
        }
    }

    /// Of the open frames, those before `open_at` may not go now, as was seen before.
    fn next(
        &mut self,
        slot: usize,
        room: &Room,
        now: Instant,
        open_at: &mut usize,
    ) -> Option<Outgoing> {
        let outbox = self.servers.outbox(slot);
        if let Some(outgoing) = outbox.pop_ready() {
            return Some(outgoing);
        }
        if room.receive_slots > 0
            && let Some(outgoing) = outbox.pop_receive()
        {
            return Some(outgoing);
        }
        while let Some(queue) = self.servers.outbox(slot).open.get(*open_at).cloned() {
            // Deletes first, for they make room.
            let lane = self.lanes.get_mut(&queue);
            let outgoing = lane.and_then(Lane::close_delete);
            let outgoing = outgoing.or_else(|| self.next_send(&queue, now));
            let is_listed = self.lanes.get(&queue).is_some_and(Lane::is_listed);
            let open = &mut self.servers.outbox(slot).open;
            match (&outgoing, is_listed) {
                (None, true) => *open_at += 1,
                (Some(_), true) => {
                    open.remove(*open_at);
                    open.push_back(queue);
                }
                (_, false) => {
                    open.remove(*open_at);
                    if outgoing.is_none() {
                        self.drop_lane_if_empty(&queue);
                    }
                }
            }
            if outgoing.is_some() {
                return outgoing;
            }
        }
        None
    }

    /// The connection is done with a frame that it had taken.
    pub(crate) fn give_back(&mut self, key: &LaneKey) {
        if let Some(number) = key.number {
            self.producers.land(&key.queue, number, key.is_stored);
        }
        let Some(lane) = self.lanes.get_mut(&key.queue) else {
            return;
        };
        *lane.ahead(key) -= 1;
        if lane.is_empty() {
            self.lanes.remove(&key.queue);
        } else if let Some(slot) = lane.place
            && lane.is_listed()
        {
            // What waits there may go now, though it may be another connection's.
            self.dirty |= 1 << slot;
        }
    }

    /// Takes every frame that is not with a connection, nor in a line, and for which `wanted`
    /// holds.
    pub(crate) fn take_if(&mut self, mut wanted: impl FnMut(&Outgoing) -> bool) -> Vec<Outgoing> {
        let mut taken = Vec::new();
        for outbox in self.servers.outboxes_mut() {
            outbox.take_if(&mut wanted, &mut taken);
        }
        outbox::take_if(&mut self.held, &mut wanted, &mut taken);
        for (key, outgoing) in std::mem::take(&mut self.retries) {
            if wanted(&outgoing) {
                taken.push(outgoing);
            } else {
                self.retries.insert(key, outgoing);
            }
        }
        for lane in self.lanes.values_mut() {
            lane.take_open_if(&mut wanted, &mut taken);
        }
        let lanes = &mut self.lanes;
        for outbox in self.servers.outboxes_mut() {
            outbox
                .open
                .retain(|queue| lanes.get(queue).is_some_and(Lane::is_listed));
        }
        lanes.retain(|_, lane| !lane.is_empty());
        taken
    }

    /// Gives room back and admits who waits for it. What is returned is to be resolved once the
    /// lock is gone.
    pub(crate) fn free(&mut self, freed: &mut Freed) -> Vec<(SlotOwner, Outcome)> {
        let frees = freed.sends.count + freed.deletes.count + freed.orphaned_count > 0;
        if frees && self.phase != Phase::Open {
            // It may have been the last that a closing client waits for.
            self.stir();
        }
        self.sends.orphan(std::mem::take(&mut freed.orphaned_count));
        self.sends
            .leave_orphans(std::mem::take(&mut freed.orphan_count));
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
        self.has_open() || self.complete().any(Outgoing::matters)
    }

    fn has_open(&self) -> bool {
        self.lanes.values().any(Lane::has_open)
    }

    fn complete(&self) -> impl Iterator<Item = &Outgoing> {
        let placed = self.servers.outboxes().flat_map(outbox::Outbox::iter);
        let lines = self.lanes.values().flat_map(|lane| lane.line.iter());
        placed
            .chain(&self.held)
            .chain(self.retries.values())
            .chain(lines)
    }

    /// Whether sends and deletes are all answered and nothing else waits to be written.
    pub(crate) fn is_quiet(&self) -> bool {
        self.sends.is_unawaited() && self.deletes.is_unawaited() && !self.has_work()
    }

    /// Whether nobody waits for an answer to anything that is here.
    pub(crate) fn is_unawaited(&self) -> bool {
        !self.has_open() && !self.complete().any(Outgoing::is_awaited)
    }

    /// Whether something waits until a server is known for it.
    pub(crate) fn is_holding(&self) -> bool {
        let is_held = |lane: &Lane| lane.place.is_none() && lane.has_frames();
        !self.held.is_empty() || self.lanes.values().any(is_held)
    }

    /// Whether something waits to be repeated.
    pub(crate) fn is_repeating(&self) -> bool {
        !self.retries.is_empty() || self.lanes.values().any(|lane| !lane.line.is_empty())
    }

    /// A connection's task goes to sleep until there is work.
    pub(crate) fn sleep(&mut self, slot: usize, waker: &Waker) {
        self.dirty &= !(1 << slot);
        match &mut self.servers.outbox(slot).sleeper {
            Some(sleeper) => sleeper.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    /// All connections' tasks are to look again.
    pub(crate) fn stir(&mut self) {
        for slot in self.servers.live_slots() {
            self.dirty |= 1 << slot;
        }
        self.needs_attention = true;
    }

    /// Who sleeps and has something to do.
    pub(crate) fn wake(&mut self) -> Wakers {
        let mut wakers = Wakers {
            supervisor: std::mem::take(&mut self.needs_attention),
            ..Wakers::default()
        };
        while self.dirty != 0 {
            let slot = self.dirty.trailing_zeros();
            self.dirty &= self.dirty - 1;
            let Some(waker) = self.servers.outbox(slot as usize).sleeper.take() else {
                continue;
            };
            match wakers.first {
                None => wakers.first = Some(waker),
                Some(_) => wakers.others.push(waker),
            }
        }
        wakers
    }
}
