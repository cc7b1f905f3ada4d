//! Numbered sends on their way through `State`: which frame of a queue goes next, under which
//! number, and what becomes of those that come back.
//!
//! A frame is numbered when a connection takes it for the first time, and keeps its number until
//! its outcome is known. While frames of a queue wait to be repeated, the queue sends nothing
//! newer; all other queues go on.
//!
//! A frame whose callers were told that they waited too long, and that may be stored all the same,
//! is an **orphan**: it goes on until the broker has answered it, so that the numbers behind it can
//! be stored. It keeps its room in the gate, and a client that closes does not wait for it.
//!
//! Invariant: a line rests exactly while `resting` names it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::lane::Lane;
use crate::line::When;
use crate::outgoing::{Outgoing, Work};
use crate::producer::End;
use crate::send_frame::Order;
use crate::slot::SlotOwner;
use crate::state::State;

/// What had waited too long, to be told once the lock is gone.
#[derive(Debug, Default)]
pub(crate) struct Expired {
    /// Out of the line for good.
    pub(crate) gone: Vec<Outgoing>,
    /// The callers of frames that go on without them.
    pub(crate) told: Vec<SlotOwner>,
}

impl State {
    /// Changes a queue's lane, and keeps account of who has something to write, and when.
    pub(crate) fn change_lane<T>(
        &mut self,
        queue: &Arc<str>,
        change: impl FnOnce(&mut Lane) -> T,
    ) -> T {
        if !self.lanes.contains_key(queue) {
            let place = self.place_of(Some(queue));
            self.lanes.insert(Arc::clone(queue), Lane::new(place));
        }
        let lane = self.lanes.get_mut(queue);
        let lane = lane.expect("it was inserted when it was missing");
        let (was_listed, rested_until) = (lane.is_listed(), lane.line.rests_until());
        let changed = change(lane);
        let (is_listed, rests_until) = (lane.is_listed(), lane.line.rests_until());
        if rested_until != rests_until {
            let entry = |at| (at, Arc::clone(queue));
            rested_until.map(|at| self.resting.remove(&entry(at)));
            rests_until.map(|at| self.resting.insert(entry(at)));
        }
        match lane.place {
            Some(slot) => {
                let outbox = self.servers.outbox(slot);
                match (was_listed, is_listed) {
                    (false, true) => outbox.open.push_back(Arc::clone(queue)),
                    (true, false) => outbox.forget_open(queue),
                    _ => {}
                }
                self.dirty |= 1 << slot;
            }
            None => self.needs_attention = true,
        }
        changed
    }

    /// Puts a complete send frame into the line of its queue.
    pub(crate) fn put_line(&mut self, mut outgoing: Outgoing, when: When) {
        // The supervisor looks after what waits here when no connection does.
        self.needs_attention |= outgoing.number().is_some();
        let Work::Send(frame) = &mut outgoing.work else {
            return self.put_ready(outgoing);
        };
        let order = *frame.order.get_or_insert_with(|| self.orders.next());
        let queue = Arc::clone(&frame.queue);
        self.change_lane(&queue, |lane| lane.line.put(order, outgoing, when));
    }

    /// Lets the lines move whose time has come.
    pub(crate) fn wake_lines(&mut self, now: Instant) {
        while let Some((at, queue)) = self.resting.pop_first() {
            if at > now {
                self.resting.insert((at, queue));
                return;
            }
            self.change_lane(&queue, |lane| lane.line.wake());
        }
    }

    /// The next send frame of a queue that may go, with its number.
    pub(crate) fn next_send(&mut self, queue: &Arc<str>, now: Instant) -> Option<Outgoing> {
        let lane = self.lanes.get_mut(queue)?;
        if !self.producers.is_on {
            return lane.close_send();
        }
        if !lane.has_sends() || lane.line.rests_until().is_some() {
            return None;
        }
        let lanes = &self.lanes;
        let is_idle = |queue: &Arc<str>| !lanes.contains_key(queue);
        self.producers.prepare(queue, now, is_idle);
        self.finish_session(queue, now);
        let clock = self.producers.clock();
        let (lane, producer) = (self.lanes.get_mut(queue)?, self.producers.find(queue)?);
        let mut outgoing = match lane.line.first_number() {
            Some(number) => {
                let waits = lane.line.waits_for_earlier() && producer.is_behind(number);
                if waits || !producer.goes_on(number) {
                    return None;
                }
                lane.line.pop()?
            }
            None => {
                producer.freshen(now, || clock.draw(now));
                if !producer.may_number() {
                    return None;
                }
                lane.line.pop().or_else(|| lane.close_send())?
            }
        };
        if let Work::Send(frame) = &mut outgoing.work {
            frame.order.get_or_insert_with(|| self.orders.next());
            let producer_number = frame.producer.get_or_insert_with(|| producer.number());
            frame.follows_stored = producer.depart(producer_number.number, now);
            if frame.is_orphan() {
                // Its tries are timed one by one.
                outgoing.created_at = now;
            }
        }
        Some(outgoing)
    }

    /// Begins a new session, or the rest of one, when the old one is over. What waits is numbered
    /// anew, or fails when nobody can know what became of it.
    fn finish_session(&mut self, queue: &Arc<str>, now: Instant) {
        let clock = self.producers.clock();
        let Some(lane) = self.lanes.get_mut(queue) else {
            return;
        };
        let Some(producer) = self.producers.find(queue) else {
            return;
        };
        if !producer.is_finished(lane.line.first_number()) {
            return;
        }
        let failed = &mut self.failed;
        lane.line.retain(|mut outgoing| {
            let Some(number) = outgoing.number() else {
                return Some(outgoing);
            };
            if !producer.is_above_hole(number) && outgoing.repeated {
                failed.push(outgoing);
                return None;
            }
            if outgoing.repeated {
                producer.note_copy();
            }
            outgoing.forget_number();
            if outgoing.is_orphan() {
                // Not stored, as far as anybody waits for that.
                failed.push(outgoing);
                return None;
            }
            Some(outgoing)
        });
        lane.line.wake();
        producer.renew(|| clock.draw(now));
    }

    /// Takes out of the lines what has waited too long. What may be stored goes on without its
    /// callers.
    pub(crate) fn expire_lines(&mut self, now: Instant, timeout: Duration) -> Expired {
        let is_expired =
            |outgoing: &Outgoing| !outgoing.is_orphan() && outgoing.expires_at(timeout) <= now;
        let lanes = self.lanes.iter();
        let queues: Vec<_> = lanes
            .filter(|(_, lane)| lane.line.iter().any(is_expired))
            .map(|(queue, _)| Arc::clone(queue))
            .collect();
        let mut expired = Expired::default();
        for queue in queues {
            let mut line = self.change_lane(&queue, |lane| std::mem::take(&mut lane.line));
            line.retain(|outgoing| match is_expired(&outgoing) {
                true => self.expire(&queue, outgoing, &mut expired),
                false => Some(outgoing),
            });
            self.change_lane(&queue, |lane| lane.line = line);
            self.drop_lane_if_empty(&queue);
        }
        expired
    }

    /// Returns the frame when it goes on.
    fn expire(
        &mut self,
        queue: &Arc<str>,
        mut outgoing: Outgoing,
        expired: &mut Expired,
    ) -> Option<Outgoing> {
        if let Some(number) = outgoing.number()
            && let Some(producer) = self.producers.find(queue)
        {
            if producer.is_above_hole(number) {
                if outgoing.repeated {
                    producer.note_copy();
                }
                outgoing.forget_number();
            } else if !outgoing.repeated {
                producer.note(End::Hole(number));
            } else if !producer.is_in_doubt(number) {
                self.sends.orphan(outgoing.send_count());
                expired.told.extend(outgoing.disown());
                return Some(outgoing);
            }
        }
        expired.gone.push(outgoing);
        None
    }

    /// Takes everything out of the lines, for good.
    pub(crate) fn take_lines(&mut self, taken: &mut Vec<Outgoing>) {
        let lanes = self.lanes.iter();
        let queues: Vec<_> = lanes
            .filter(|(_, lane)| !lane.line.is_empty())
            .map(|(queue, _)| Arc::clone(queue))
            .collect();
        for queue in queues {
            self.change_lane(&queue, |lane| {
                while let Some(outgoing) = lane.line.pop() {
                    taken.push(outgoing);
                }
            });
            // Some may be stored, and nobody will ask the broker any more.
            self.producers.note(&queue, End::Doubt(0));
            self.drop_lane_if_empty(&queue);
        }
    }

    pub(crate) fn drop_lane_if_empty(&mut self, queue: &Arc<str>) {
        if self.lanes.get(queue).is_some_and(Lane::is_empty) {
            self.lanes.remove(queue);
        }
    }
}

/// Hands out the places of frames in the order of the calls.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    next: u64,
}

impl Orders {
    pub(crate) fn next(&mut self) -> Order {
        self.next += 1;
        Order {
            frame: self.next,
            part: 0,
        }
    }
}
