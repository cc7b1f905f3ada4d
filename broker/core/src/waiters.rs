//! Receives that found nothing and wait: of one node, in memory, first come, first served.
//!
//! Not replicated: when the leader is lost, every waiter is told so and asks again. A waiter costs
//! some 200 bytes and no timer; one ordered list of deadlines serves all.
//!
//! A waiter has a place, the number of its arrival, and keeps it until it is answered:
//!
//! ```text
//!            take_for                answered, found something
//!   parked ------------> proposed ------------------------------> gone
//!     ^  |                   |  |
//!     |  | expire, cancel    |  +-- nothing, wait over or client gone --> gone
//!     |  +----> gone         |
//!     +----------------------+  nothing, wait not over: old place, old deadline
//! ```
//!
//! Invariants: `parked` has exactly the parked waiters; `deadlines` those whose wait has not ended;
//! `places` every waiter. Spec: spec/semantics.md, "Waiting".

mod waiter;

use std::collections::{BTreeMap, BTreeSet};

use sampan_protocol::{ErrorCode, QueueId};

pub use waiter::{Answer, Ended, Proposal, WaiterId, WaiterRequest};

use crate::limits::WAITER_COUNT_MAX;
use waiter::{State, Waiter};

/// The waiting receives of a node. Instants are milliseconds of the caller's monotonic clock.
#[derive(Debug)]
pub struct Waiters {
    waiters: BTreeMap<u64, Waiter>,
    places: BTreeMap<WaiterId, u64>,
    parked: BTreeSet<(QueueId, u64)>,
    deadlines: BTreeSet<(u64, u64)>,
    next_place: u64,
    count_max: usize,
}

impl Default for Waiters {
    fn default() -> Self {
        Waiters::new(WAITER_COUNT_MAX)
    }
}

impl Waiters {
    /// Room for `count_max` waiters, at most [`WAITER_COUNT_MAX`].
    pub fn new(count_max: usize) -> Self {
        Waiters {
            waiters: BTreeMap::new(),
            places: BTreeMap::new(),
            parked: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            next_place: 0,
            count_max: count_max.min(WAITER_COUNT_MAX),
        }
    }

    /// Lets a receive wait behind all that wait already.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::TooManyWaiting`] when the node is full; [`ErrorCode::Internal`] when this very
    /// receive waits already.
    pub fn park(
        &mut self,
        id: WaiterId,
        queue: QueueId,
        request: WaiterRequest,
        deadline_ms: u64,
    ) -> Result<(), ErrorCode> {
        if self.waiters.len() >= self.count_max {
            return Err(ErrorCode::TooManyWaiting);
        }
        if self.places.contains_key(&id) {
            return Err(ErrorCode::Internal);
        }
        let place = self.next_place;
        self.next_place += 1;
        let waiter = Waiter {
            id,
            queue,
            request,
            deadline_ms,
            state: State::Parked,
        };
        self.waiters.insert(place, waiter);
        self.places.insert(id, place);
        self.parked.insert((queue, place));
        self.deadlines.insert((deadline_ms, place));
        Ok(())
    }

    /// The waiters to propose now, because `ready_count` messages are ready that no proposed
    /// waiter was counted for. They are proposed from now on, and not named again.
    pub fn take_for(&mut self, queue: QueueId, ready_count: u64) -> Vec<Proposal> {
        let mut left = ready_count;
        let mut proposals = Vec::new();
        while left > 0
            && let Some(&(_, place)) = self.parked.range((queue, 0)..=(queue, u64::MAX)).next()
        {
            self.parked.remove(&(queue, place));
            if let Some(waiter) = self.waiters.get_mut(&place) {
                waiter.state = State::Proposed {
                    is_ended: false,
                    is_cancelled: false,
                };
                left = left.saturating_sub(u64::from(waiter.request.count_max));
                proposals.push(Proposal {
                    id: waiter.id,
                    request: waiter.request,
                });
            }
        }
        proposals
    }

    /// A proposed receive was applied and handed out `found` messages.
    pub fn answered(&mut self, id: WaiterId, found: usize) -> Answer {
        let place = self.places.get(&id).copied();
        let waiter = place.and_then(|place| Some((place, self.waiters.get_mut(&place)?)));
        let is_cancelled = match waiter {
            Some((place, waiter)) => match waiter.state {
                State::Proposed {
                    is_ended: false,
                    is_cancelled: false,
                } if found == 0 => {
                    waiter.state = State::Parked;
                    self.parked.insert((waiter.queue, place));
                    return Answer::ParkedAgain;
                }
                State::Proposed { is_cancelled, .. } => is_cancelled,
                // Not proposed by this list: it waits on, and what was found belongs to nobody.
                State::Parked if found == 0 => return Answer::ParkedAgain,
                State::Parked => return Answer::Release,
            },
            // Its waiting ended when leadership did; what was found belongs to nobody.
            None => true,
        };
        self.remove(id);
        match (found > 0, is_cancelled) {
            (true, true) => Answer::Release,
            (true, false) => Answer::Deliver,
            (false, true) => Answer::Forget,
            (false, false) => Answer::Empty,
        }
    }

    /// A proposed receive was refused, or its entry lost. True when its client is to be told.
    pub fn refused(&mut self, id: WaiterId) -> bool {
        self.remove(id).is_some_and(|waiter| !waiter.is_cancelled())
    }

    /// Ends the waits whose deadline has come. Returns the parked ones, to be answered with
    /// nothing; of the proposed ones the result decides.
    pub fn expire(&mut self, now_ms: u64) -> Vec<WaiterId> {
        let mut ended = Vec::new();
        while let Some((_, place)) = self
            .deadlines
            .first()
            .copied()
            .filter(|(at, _)| *at <= now_ms)
        {
            self.deadlines.pop_first();
            let Some(waiter) = self.waiters.get_mut(&place) else {
                continue;
            };
            match &mut waiter.state {
                State::Proposed { is_ended, .. } => *is_ended = true,
                State::Parked => {
                    let id = waiter.id;
                    ended.push(id);
                    self.remove(id);
                }
            }
        }
        ended
    }

    /// The client takes one receive back. Proposed, its messages will have to be released.
    pub fn cancel(&mut self, id: WaiterId) {
        let Some(waiter) = self
            .places
            .get(&id)
            .and_then(|place| self.waiters.get_mut(place))
        else {
            return;
        };
        match &mut waiter.state {
            State::Proposed { is_cancelled, .. } => *is_cancelled = true,
            State::Parked => {
                self.remove(id);
            }
        }
    }

    /// A connection is gone: [`Waiters::cancel`] for each of its receives.
    pub fn cancel_client(&mut self, client: u64) {
        let all = WaiterId { client, request: 0 }..=WaiterId {
            client,
            request: u64::MAX,
        };
        let ids: Vec<WaiterId> = self.places.range(all).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.cancel(id));
    }

    /// Ends every wait at once, and returns those who are to be told why. What comes of the
    /// proposed ones is open: they may yet be handed messages, which then belong to nobody.
    pub fn end_all(&mut self) -> Vec<Ended> {
        let ended = self
            .waiters
            .values()
            .filter(|waiter| !waiter.is_cancelled());
        let ended = ended
            .map(|waiter| Ended {
                id: waiter.id,
                is_proposed: !matches!(waiter.state, State::Parked),
            })
            .collect();
        self.waiters.clear();
        self.places.clear();
        self.parked.clear();
        self.deadlines.clear();
        ended
    }

    /// Ends the waits of parked receives of a queue that is gone.
    pub fn end_queue(&mut self, queue: QueueId) -> Vec<WaiterId> {
        let parked = self.parked.range((queue, 0)..=(queue, u64::MAX));
        let waiters = parked.filter_map(|(_, place)| self.waiters.get(place));
        let ended: Vec<WaiterId> = waiters.map(|waiter| waiter.id).collect();
        ended.iter().for_each(|id| {
            self.remove(*id);
        });
        ended
    }

    /// When the next wait ends.
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Whether some receive of the queue is parked.
    pub fn has_parked(&self, queue: QueueId) -> bool {
        self.parked
            .range((queue, 0)..=(queue, u64::MAX))
            .next()
            .is_some()
    }

    /// How many there are, parked and proposed.
    pub fn count(&self) -> usize {
        self.waiters.len()
    }

    fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let place = self.places.remove(&id)?;
        let waiter = self.waiters.remove(&place)?;
        self.parked.remove(&(waiter.queue, place));
        self.deadlines.remove(&(waiter.deadline_ms, place));
        Some(waiter)
    }
}

impl Waiter {
    fn is_cancelled(&self) -> bool {
        matches!(
            self.state,
            State::Proposed {
                is_cancelled: true,
                ..
            }
        )
    }
}

#[cfg(test)]
mod tests;
