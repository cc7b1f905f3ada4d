//! What the heartbeat knows of the messages of one receive: which of them still need it.
//!
//! All messages of a reply share one [`Leases`], with a word of state for each; a delivery refers
//! to its word by a [`Lease`]. So a message that is handled quickly costs no allocation, no lock
//! and no look at the clock: it changes its word when it is handed out, deleted and dropped, and
//! nobody ever looks at it. When it was handed out is learned at the looks that the heartbeat takes
//! anyway, and counts from the look before.
//!
//! Invariants: a message at hand is handed out or given back, never both: who changes its word
//! first decides. What is left alone or lost is never extended again. A message whose deliveries
//! are all dropped is not extended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sampan_protocol::ReceiptHandle;

use crate::watch::Watch;

/// The application has it.
const HANDED_OUT: u32 = 1 << 29;
/// The application deleted it, released it or changed its visibility, or its ceiling is reached.
const LEFT: u32 = 1 << 30;
/// The broker does not know the handle any more, or the message was given back.
const LOST: u32 = 1 << 31;
/// The deliveries that refer to it: what is left of the word. Nobody has memory for more.
const HOLDERS: u32 = HANDED_OUT - 1;
/// In place of a time: no look has found it handed out.
const UNSEEN: u32 = u32::MAX;

/// One message.
struct Word {
    handle: ReceiptHandle,
    state: AtomicU32,
    /// The latest time, in milliseconds from the arrival, at which it was surely not handed out
    /// yet. Only the heartbeat uses it.
    not_before_ms: AtomicU32,
}

/// The messages of one reply; see the head of the file.
pub(crate) struct Leases {
    watch: Arc<Watch>,
    words: Box<[Word]>,
}

/// When the heartbeat looks at the messages of a reply, counted from their arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The look before this one.
    pub(crate) before: Duration,
    pub(crate) now: Duration,
    /// How long a message may be kept after it was handed out, or at hand.
    pub(crate) ceiling: Duration,
}

/// What a message needs at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing, now or later.
    Nothing,
    Extend,
    /// It was at hand for too long.
    GiveBack,
}

impl Leases {
    /// Each message has one holder: whoever has the reply.
    pub(crate) fn new(watch: Arc<Watch>, handles: impl Iterator<Item = ReceiptHandle>) -> Self {
        let word = |handle| Word {
            handle,
            state: AtomicU32::new(1),
            not_before_ms: AtomicU32::new(UNSEEN),
        };
        Leases {
            watch,
            words: handles.map(word).collect(),
        }
    }

    /// Who keeps them.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn handle(&self, place: usize) -> ReceiptHandle {
        self.words[place].handle
    }

    /// The places of all messages.
    pub(crate) fn places(&self) -> std::ops::Range<usize> {
        0..self.words.len()
    }

    /// Makes the holder of the reply the holder of one message. At most once for each.
    pub(crate) fn hold(self: &Arc<Self>, place: usize) -> Lease {
        Lease {
            leases: Arc::clone(self),
            place,
        }
    }

    /// What a message needs.
    pub(crate) fn need(&self, place: usize, look: &Look) -> Need {
        let word = &self.words[place];
        let state = word.state.load(Ordering::Acquire);
        if state & (LEFT | LOST) != 0 || state & HOLDERS == 0 {
            return Need::Nothing;
        }
        if state & HANDED_OUT == 0 {
            return match look.now >= look.ceiling {
                true => Need::GiveBack,
                false => Need::Extend,
            };
        }
        let not_before = match word.not_before_ms.load(Ordering::Relaxed) {
            UNSEEN => {
                let before_ms = u32::try_from(look.before.as_millis()).unwrap_or(UNSEEN - 1);
                word.not_before_ms.store(before_ms, Ordering::Relaxed);
                look.before
            }
            seen => Duration::from_millis(seen.into()),
        };
        if look.now.saturating_sub(not_before) >= look.ceiling {
            word.state.fetch_or(LEFT, Ordering::Relaxed);
            return Need::Nothing;
        }
        Need::Extend
    }

    /// Takes a message at hand back, unless it was handed out in this very moment.
    pub(crate) fn give_back(&self, place: usize) -> bool {
        self.lose_unless(place, HANDED_OUT | LOST)
    }

    /// The broker does not know the handle; says nothing of one that the application took care of.
    pub(crate) fn lose(&self, place: usize) -> bool {
        self.lose_unless(place, LEFT)
    }

    fn lose_unless(&self, place: usize, bits: u32) -> bool {
        let lost = |state: u32| (state & bits == 0).then_some(state | LOST);
        let state = &self.words[place].state;
        state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, lost)
            .is_ok()
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases")
            .field("count", &self.words.len())
            .finish_non_exhaustive()
    }
}

/// One delivery's part in the heartbeat; dropped, it needs none.
pub(crate) struct Lease {
    leases: Arc<Leases>,
    place: usize,
}

impl Lease {
    /// The message goes to the application; false when it was given back, or is lost.
    pub(crate) fn hand_out(&self) -> bool {
        self.state().fetch_or(HANDED_OUT, Ordering::AcqRel) & LOST == 0
    }

    /// The application looks after it from now on.
    pub(crate) fn leave(&self) {
        self.state().fetch_or(LEFT, Ordering::AcqRel);
    }

    /// Like [`Lease::leave`]; when this returns, no extension is under way that could overtake what
    /// the application does next.
    pub(crate) async fn leave_in_order(&self) {
        self.leave();
        self.leases.watch().settled().await;
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.state().load(Ordering::Acquire) & LOST != 0
    }

    fn state(&self) -> &AtomicU32 {
        &self.leases.words[self.place].state
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        self.state().fetch_add(1, Ordering::Relaxed);
        Lease {
            leases: Arc::clone(&self.leases),
            place: self.place,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state().fetch_sub(1, Ordering::Release);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: Duration = Duration::from_secs(100);

    fn look(before: u64, now: u64) -> Look {
        Look {
            before: Duration::from_secs(before),
            now: Duration::from_secs(now),
            ceiling: CEILING,
        }
    }

    fn leases() -> Arc<Leases> {
        let watch = Arc::new(Watch::new(None));
        Arc::new(Leases::new(watch, (7..9).map(ReceiptHandle)))
    }

    #[test]
    fn a_message_is_extended_while_somebody_holds_it_and_takes_no_care_of_it() {
        let leases = leases();
        let (one, two) = (leases.hold(0), leases.hold(1));
        let clone = one.clone();
        assert!(one.hand_out() && two.hand_out());
        drop(one);
        assert_eq!(leases.need(0, &look(0, 10)), Need::Extend);
        drop(clone);
        assert_eq!(leases.need(0, &look(0, 10)), Need::Nothing);
        two.leave();
        assert_eq!(leases.need(1, &look(0, 10)), Need::Nothing);
        assert!(!leases.lose(1) && !two.is_lost(), "it was deleted");
    }

    #[test]
    fn the_ceiling_counts_from_the_last_look_at_which_the_message_was_at_hand() {
        let leases = leases();
        let lease = leases.hold(0);
        assert_eq!(leases.need(0, &look(0, 40)), Need::Extend);
        assert_eq!(leases.need(0, &look(40, 80)), Need::Extend);
        assert!(lease.hand_out());
        for now in [120, 160, 179] {
            assert_eq!(leases.need(0, &look(80, now)), Need::Extend, "{now}");
        }
        for now in [180, 181] {
            assert_eq!(leases.need(0, &look(179, now)), Need::Nothing, "{now}");
        }
    }

    #[test]
    fn a_message_at_hand_for_too_long_is_handed_out_or_given_back_and_never_both() {
        let leases = leases();
        let (one, two) = (leases.hold(0), leases.hold(1));
        for place in leases.places() {
            assert_eq!(leases.need(place, &look(99, 100)), Need::GiveBack);
        }
        assert!(one.hand_out() && !leases.give_back(0));
        assert_eq!(leases.need(0, &look(99, 100)), Need::Extend);
        assert!(leases.give_back(1) && !two.hand_out());
        assert!(two.is_lost() && !leases.give_back(1));
        assert_eq!(leases.need(1, &look(100, 150)), Need::Nothing);
    }

    #[test]
    fn what_is_visible_for_twice_the_ceiling_anyway_is_not_extended() {
        let leases = leases();
        assert!(leases.hold(0).clone().hand_out());
        let lease = leases.hold(1);
        assert!(lease.hand_out());
        assert_eq!(leases.need(1, &look(0, 100)), Need::Nothing);
    }
}
