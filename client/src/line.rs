//! The complete send frames of one queue, in the order of the calls: those that wait to be
//! repeated, and behind them those that were not written yet.
//!
//! The first of them decides when the line moves. What is behind it would only be refused as out of
//! order, so it goes when the first one goes, and not before: one time for all of them.
//!
//! Invariants: frames with a number come before those without one, and their numbers rise.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::outgoing::Outgoing;
use crate::send_frame::Order;

/// When a frame is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// As soon as it is known where to.
    Now,
    At(Instant),
    /// Once those before it that are under way are back: it was refused because of them.
    AfterEarlier,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Line {
    frames: BTreeMap<Order, Outgoing>,
    /// Nothing goes out before.
    rests_until: Option<Instant>,
    /// Nothing goes out while a lower number than the first one's is under way.
    waits_for_earlier: bool,
}

impl Line {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    pub(crate) fn waits_for_earlier(&self) -> bool {
        self.waits_for_earlier
    }

    /// The number of the first frame, when that has one: the lowest here.
    pub(crate) fn first_number(&self) -> Option<u64> {
        self.frames.first_key_value()?.1.number()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Outgoing> {
        self.frames.values()
    }

    /// Puts a frame into its place; the first one decides when the line moves.
    pub(crate) fn put(&mut self, order: Order, outgoing: Outgoing, when: When) {
        let first = self.frames.first_key_value();
        if first.is_none_or(|(first, _)| order < *first) {
            self.rests_until = match when {
                When::At(at) => Some(at),
                When::Now | When::AfterEarlier => None,
            };
            self.waits_for_earlier = when == When::AfterEarlier;
        }
        self.frames.insert(order, outgoing);
    }

    /// Takes the first frame; the others may follow at once.
    pub(crate) fn pop(&mut self) -> Option<Outgoing> {
        self.wake();
        self.frames.pop_first().map(|(_, outgoing)| outgoing)
    }

    /// Lets the line move.
    pub(crate) fn wake(&mut self) {
        self.rests_until = None;
        self.waits_for_earlier = false;
    }

    /// Keeps the frames for which `keep` says so, in their order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Outgoing) -> Option<Outgoing>) {
        let first = self.frames.first_key_value().map(|(order, _)| *order);
        for (order, outgoing) in std::mem::take(&mut self.frames) {
            if let Some(outgoing) = keep(outgoing) {
                self.frames.insert(order, outgoing);
            }
        }
        if first != self.frames.first_key_value().map(|(order, _)| *order) {
            // What the line waited for concerned a frame that is gone.
            self.wake();
        }
    }
}
