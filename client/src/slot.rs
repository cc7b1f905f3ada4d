//! The completion that all futures of one frame share.
//!
//! A frame carries up to 256 messages. One slot answers them all, and a future is a reference to
//! the slot and a place in it; a channel per message would cost two allocations and a wake-up each.
//!
//! Invariants: a slot gets exactly one outcome; it gets one at the latest when its [`SlotOwner`]
//! is dropped, so that no future waits for ever. Places of wakers are those of units, so a slot
//! holds at most `BATCH_COUNT_MAX` of them however often a future is polled.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use sampan_protocol::{Applied, Durability, MessageId, SentReply};

use crate::error::Error;

/// What became of a frame.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Its messages are stored; the ids are runs in the order of the places.
    Sent(SentReply),
    /// Its handles were worked off; the places that failed, ascending.
    Handled(Vec<(u16, Error)>),
    /// All of it failed.
    Failed(Error),
    /// Its units went into other frames: place here, then slot and place there, ascending.
    Moved(Vec<(u16, Ticket)>),
}

/// The shared completion.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    outcome: OnceLock<Outcome>,
    /// By place; only as long as the highest place that was polled.
    wakers: Mutex<Vec<Option<Waker>>>,
}

impl Slot {
    fn poll(&self, place: u16, cx: &mut Context<'_>) -> Poll<&Outcome> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let place = usize::from(place);
        if wakers.len() <= place {
            wakers.resize(place + 1, None);
        }
        match &mut wakers[place] {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn resolve(&self, outcome: Outcome) {
        if self.outcome.set(outcome).is_err() {
            return;
        }
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        let wakers = std::mem::take(&mut *wakers);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }
}

/// The side that owes the outcome.
#[derive(Debug, Default)]
pub(crate) struct SlotOwner(Arc<Slot>);

impl SlotOwner {
    pub(crate) fn ticket(&self, place: u16) -> Ticket {
        Ticket {
            slot: Arc::clone(&self.0),
            place,
        }
    }

    pub(crate) fn resolve(self, outcome: Outcome) {
        self.0.resolve(outcome);
    }
}

impl Drop for SlotOwner {
    fn drop(&mut self) {
        if self.0.outcome.get().is_none() {
            self.0.resolve(Outcome::Failed(Error::Closed {
                applied: Applied::Unknown,
            }));
        }
    }
}

/// The side that waits: a slot and a place in it.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    slot: Arc<Slot>,
    place: u16,
}

impl Ticket {
    /// Waits for the outcome, following the unit to other slots.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let outcome = match self.slot.poll(self.place, cx) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => return Poll::Pending,
            };
            let Outcome::Moved(units) = outcome else {
                return Poll::Ready(());
            };
            let at = units.partition_point(|(place, _)| *place < self.place);
            let (_, next) = units
                .get(at)
                .expect("a split frame lists every unit it had");
            let next = next.clone();
            *self = next;
        }
    }

    /// What the acknowledgement promises, once there is one.
    pub(crate) fn durability(&self) -> Option<Durability> {
        match self.slot.outcome.get()? {
            Outcome::Sent(reply) => Some(reply.durability),
            _ => None,
        }
    }

    /// Id of the `index`-th message of this unit, after [`Ticket::poll`] was ready.
    pub(crate) fn message_id(&self, index: u16) -> Result<MessageId, Error> {
        let missing = || Error::disconnected("the reply lacks a message", Applied::Unknown);
        match self.slot.outcome.get() {
            Some(Outcome::Sent(reply)) => {
                let mut place = u32::from(self.place) + u32::from(index);
                for (first, count) in &reply.sent.runs {
                    if place < *count {
                        return Ok(first.plus(place.into()));
                    }
                    place -= count;
                }
                Err(missing())
            }
            Some(Outcome::Failed(error)) => Err(error.clone()),
            _ => Err(missing()),
        }
    }

    /// Whether the handle at this place was worked off, after [`Ticket::poll`] was ready.
    pub(crate) fn handled(&self) -> Result<(), Error> {
        match self.slot.outcome.get() {
            Some(Outcome::Handled(failures)) => {
                match failures.binary_search_by_key(&self.place, |(place, _)| *place) {
                    Ok(at) => Err(failures[at].1.clone()),
                    Err(_) => Ok(()),
                }
            }
            Some(Outcome::Failed(error)) => Err(error.clone()),
            _ => Err(Error::disconnected(
                "the reply lacks a handle",
                Applied::Unknown,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_ticket_follows_its_unit_into_another_slot() {
        let mut cx = Context::from_waker(Waker::noop());
        let (first, second) = (SlotOwner::default(), SlotOwner::default());
        let mut ticket = first.ticket(2);
        assert_eq!(ticket.poll(&mut cx), Poll::Pending);
        first.resolve(Outcome::Moved(vec![
            (0, second.ticket(0)),
            (2, second.ticket(1)),
        ]));
        assert_eq!(ticket.poll(&mut cx), Poll::Pending);
        let runs = vec![(MessageId(7), 1), (MessageId(20), 4)];
        let sent = sampan_protocol::Sent { runs };
        assert_eq!(ticket.durability(), None);
        second.resolve(Outcome::Sent(sent.acknowledged(Durability::Async)));
        assert_eq!(ticket.durability(), Some(Durability::Async));
        assert_eq!(ticket.poll(&mut cx), Poll::Ready(()));
        assert_eq!(ticket.message_id(0).ok(), Some(MessageId(20)));
        assert_eq!(ticket.message_id(3).ok(), Some(MessageId(23)));
        assert!(ticket.message_id(4).is_err());
    }

    #[test]
    fn a_slot_without_an_answer_fails_when_its_owner_goes() {
        let mut cx = Context::from_waker(Waker::noop());
        let owner = SlotOwner::default();
        let mut ticket = owner.ticket(0);
        drop(owner);
        assert_eq!(ticket.poll(&mut cx), Poll::Ready(()));
        let error = ticket.message_id(0).expect_err("the owner is gone");
        assert_eq!(error.applied(), Applied::Unknown);
    }
}
