//! What a power cut of a majority may take back of the queue that is async, and what it may not.
//!
//! It takes the newest entries of a set and leaves the others, in order, and what was written
//! earlier than about 100 ms before is synced. So what was answered within [`UNSYNCED_US`] before
//! the first node died is **in doubt**, but for what the queue acknowledged as sync, and for what
//! was answered before such a send began. A history with a cut makes two, and each of them must be
//! good by itself: the one before the cut, and the one after, in which what is in doubt may never
//! have been: the outcome of calls is unknown, receives have given nothing.
//!
//! Handles of receives in doubt may be given again. Who uses his after the cut goes **astray**: he
//! may delete, release or hide what somebody else received then. Until the last such call has
//! ended, holds of this queue prove nothing, and each such delete may be a message's that nobody
//! saw. Spec: spec/semantics.md, "Durability".

use std::collections::BTreeSet;

use super::super::history::{Event, Kind, Outcome};
use super::Case;

/// `LAZY_SYNC_MS` and time for the sync itself, on a machine that has much else to do.
const UNSYNCED_US: u64 = 1_000_000;

/// A majority lost its power, by the history's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Before the first node was killed.
    pub(crate) from_us: u64,
    /// After the last one was, and before any was started again: who was answered later was
    /// answered by what was left.
    pub(crate) until_us: u64,
}

/// What is in doubt of which queue.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    queue: u16,
    since_us: u64,
    until_us: u64,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    stretch: Option<Stretch>,
    /// Receives in doubt, as what is done with their handles says of which one it is.
    receives: BTreeSet<(u64, u64, u32)>,
    /// Deletes that went astray, and when the last call that did had ended.
    astray_deletes: u64,
    astray_until_us: u64,
}

impl Doubt {
    pub(super) fn of(case: &Case<'_>) -> Doubt {
        let (Some(queue), Some(cut)) = (case.lazy, case.cut) else {
            return Doubt::default();
        };
        let synced = case.events.iter().filter(|event| {
            let is_firm = event.is_done(Kind::Send) && !event.is_async;
            is_firm && event.queue == queue && event.end_us <= cut.until_us
        });
        let synced_us = synced.map(|event| event.start_us).max().unwrap_or(0);
        let mut doubt = Doubt {
            stretch: Some(Stretch {
                queue,
                since_us: synced_us.max(cut.from_us.saturating_sub(UNSYNCED_US)),
                until_us: cut.until_us,
            }),
            ..Doubt::default()
        };
        let receives = case
            .events
            .iter()
            .filter(|event| event.is_done(Kind::Receive) && doubt.covers(event));
        doubt.receives = receives.map(receive_of).collect();
        for event in case.events {
            if doubt.is_astray(event) {
                doubt.astray_deletes += u64::from(event.kind == Kind::Delete);
                doubt.astray_until_us = doubt.astray_until_us.max(event.end_us);
            }
        }
        doubt
    }

    /// What happened to the queue before the cut.
    pub(super) fn before(&self, case: &Case<'_>) -> Vec<Event> {
        let Some(stretch) = self.stretch else {
            return Vec::new();
        };
        let ours =
            |event: &&Event| event.queue == stretch.queue && event.end_us <= stretch.until_us;
        case.events.iter().filter(ours).copied().collect()
    }

    /// What happened in all queues, as far as it lasts; each event in its place.
    pub(super) fn after(&self, case: &Case<'_>) -> Vec<Event> {
        let lasting = |event: &Event| {
            let mut event = *event;
            if event.outcome != Outcome::Done {
                return event;
            }
            if self.covers(&event) {
                event.outcome = Outcome::Unknown;
                if event.kind == Kind::Receive {
                    event.message = 0;
                }
            } else if self.is_astray(&event) {
                event.outcome = Outcome::Unknown;
            }
            event
        };
        case.events.iter().map(lasting).collect()
    }

    /// Whether what was answered here may be taken back.
    fn covers(&self, event: &Event) -> bool {
        let is_firm = event.is_done(Kind::Send) && !event.is_async;
        let is_within = |stretch: Stretch| {
            let times = stretch.since_us + 1..=stretch.until_us;
            event.queue == stretch.queue && times.contains(&event.end_us)
        };
        !is_firm && self.stretch.is_some_and(is_within)
    }

    /// Whether a handle is used after the cut that may have become somebody else's.
    fn is_astray(&self, event: &Event) -> bool {
        let is_use = matches!(event.kind, Kind::Delete | Kind::Extend | Kind::Release);
        let is_later = self
            .stretch
            .is_some_and(|stretch| event.queue == stretch.queue && event.end_us > stretch.until_us);
        is_use
            && is_later
            && event.outcome != Outcome::Refused
            && self.receives.contains(&receive_of(event))
    }

    /// Whether somebody else may have ended or changed what this receiver held at `end_us`.
    pub(super) fn may_be_robbed(&self, received: &Event, end_us: u64) -> bool {
        self.stretch.is_some_and(|stretch| {
            received.queue == stretch.queue
                && received.start_us <= self.astray_until_us
                && end_us > stretch.until_us
        })
    }

    /// Messages of a queue that may have been deleted for others.
    pub(super) fn mistaken_deletes(&self, queue: u16) -> u64 {
        let is_it = self.stretch.is_some_and(|stretch| stretch.queue == queue);
        u64::from(is_it) * self.astray_deletes
    }

    /// Whether a message of this send was there when one was deleted for another.
    pub(super) fn may_be_mistaken(&self, send: &Event) -> bool {
        send.start_us <= self.astray_until_us && self.mistaken_deletes(send.queue) > 0
    }
}

fn receive_of(event: &Event) -> (u64, u64, u32) {
    (event.message, event.number, event.receive_count)
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, SECOND, delete, receive, refused, send};
    use super::super::{Past, Still};
    use super::*;

    const LOST: &str = "an acknowledged send is delivered or still there";
    const STAYS: &str = "an acknowledged delete stays deleted";
    const ONE: &str = "an id stands for one message";
    const TWICE: &str = "each hand-out has its own receive count";
    const ONCE: &str = "no send is stored twice";
    const COUNTS: &str = "counts equal the history";
    const EXPIRED: &str = "a receipt is valid as long as its visibility lasts";

    /// The queue is async, and all lose their power at 6.9 s until 7.5 s. Message 6 was sent,
    /// received and deleted within the second before; message 7 is sent and received later.
    fn cut() -> Example {
        let mut example = Example::new();
        example.lazy = Some(0);
        example.cut = Some(Cut {
            from_us: 6_900_000,
            until_us: 7_500_000,
        });
        example.disturbed = vec![(6_900_000, 7_900_000)];
        for event in &mut example.events {
            event.is_async = event.kind == Kind::Send;
            if event.number == 7 {
                event.start_us += 600_000;
                event.end_us += 600_000;
                event.visible_at_ms += 600 * u64::from(event.visible_at_ms > 0);
            }
        }
        example
    }

    fn without(mut example: Example, kinds: &[Kind], number: u64) -> Example {
        kinds.iter().for_each(|kind| example.remove(*kind, number));
        example
    }

    #[test]
    fn what_a_cut_left_alone_is_good() {
        assert_eq!(cut().violations(), []);
    }

    #[test]
    fn the_newest_async_sends_before_a_cut_may_be_lost() {
        let lost = |number| without(cut(), &[Kind::Receive, Kind::Delete], number);
        assert_eq!(lost(6).violations(), []);
        assert_eq!(lost(5).rules(), [LOST], "older than a second");
        assert_eq!(lost(7).rules(), [LOST], "acknowledged after the cut");
    }

    #[test]
    fn nothing_is_lost_without_a_cut_or_of_another_queue_or_that_was_synced() {
        let mut example = without(cut(), &[Kind::Receive, Kind::Delete], 6);
        example.event(Kind::Send, 6).is_async = false;
        assert_eq!(example.rules(), [LOST], "its acknowledgement said sync");
        let mut example = without(cut(), &[Kind::Receive, Kind::Delete], 6);
        example.events.push(send(20, 6_500_000));
        example.events.push(receive(20, 1, 6_600_000));
        example.event(Kind::Receive, 20).sent_at_ms -= 13_500;
        assert_eq!(example.rules(), [LOST], "one that came later was synced");
        let mut example = without(cut(), &[Kind::Receive, Kind::Delete], 6);
        example.cut = None;
        assert_eq!(example.rules(), [LOST]);
        let mut example = without(cut(), &[Kind::Receive, Kind::Delete], 6);
        example.lazy = Some(1);
        assert!(example.rules().contains(&LOST));
    }

    #[test]
    fn a_delete_may_be_undone_and_the_same_receive_count_come_again() {
        let mut example = cut();
        example.events.push(receive(6, 1, 8 * SECOND));
        example.events.push(delete(6, 1, 8_100_000));
        assert_eq!(example.violations(), []);
        let mut example = cut();
        example.events.push(receive(5, 2, 8 * SECOND));
        assert!(example.rules().contains(&STAYS), "older than a second");
        let mut example = cut();
        example.events.push(receive(7, 1, 9 * SECOND));
        assert_eq!(example.rules(), [STAYS, TWICE], "after the cut");
    }

    #[test]
    fn what_is_in_doubt_must_be_good_until_the_cut() {
        let mut example = cut();
        example.events.push(receive(6, 2, 6_400_000));
        assert!(example.rules().contains(&STAYS));
    }

    /// Message 6 is lost, and its id is given to message 30 after the cut.
    fn given_again(number: u64) -> Example {
        let mut example = cut();
        for event in [
            send(30, 8 * SECOND),
            receive(30, 1, 8_100_000),
            delete(30, 1, 8_200_000),
        ] {
            let (message, is_async) = (number, event.kind == Kind::Send);
            let mut event = Event {
                message,
                is_async,
                ..event
            };
            if event.sent_at_ms > 0 {
                event.sent_at_ms -= 22_000;
            }
            example.events.push(event);
        }
        example
    }

    #[test]
    fn an_id_may_be_given_again_when_its_message_is_in_doubt() {
        assert_eq!(given_again(6).violations(), []);
        assert!(given_again(5).rules().contains(&ONE), "older than a second");
        assert!(given_again(7).rules().contains(&ONE), "after the cut");
    }

    #[test]
    fn a_repeated_send_may_be_stored_again_when_what_was_received_of_it_is_in_doubt() {
        let again = |number| {
            let mut example = cut();
            let send = example.event(Kind::Send, number);
            (send.message, send.end_us) = (40, 8 * SECOND);
            for mut event in [receive(number, 1, 8_100_000), delete(number, 1, 8_200_000)] {
                event.message = 40;
                example.events.push(event);
            }
            example
        };
        assert_eq!(again(6).violations(), []);
        assert_eq!(again(5).rules(), [ONCE], "it was received before");
    }

    #[test]
    fn a_handle_in_doubt_may_delete_what_somebody_else_has() {
        // Message 6 is received before the cut and deleted after it; meanwhile, message 7 has
        // its handle.
        let mut example = without(cut(), &[Kind::Delete], 6);
        example.events.push(delete(6, 1, 7_750_000));
        let of_seven = example.event(Kind::Delete, 7);
        *of_seven = refused(*of_seven, 401);
        assert_eq!(example.violations(), []);
        let of_six = example.event(Kind::Delete, 6);
        (of_six.start_us, of_six.end_us) = (6_200_000, 6_210_000);
        assert_eq!(example.rules(), [EXPIRED], "nobody went astray");
    }

    #[test]
    fn as_many_may_be_deleted_unseen_as_deletes_went_astray() {
        let mut example = without(cut(), &[Kind::Delete], 6);
        example.events.push(delete(6, 1, 7_750_000));
        let mut example = without(example, &[Kind::Receive, Kind::Delete], 7);
        assert_eq!(example.violations(), []);
        let mut another = send(50, 7_620_000);
        another.is_async = true;
        example.events.push(another);
        assert_eq!(example.rules(), [LOST], "two, and one delete");
    }

    #[test]
    fn counts_may_be_off_by_what_is_in_doubt_and_no_more() {
        for (present, is_good) in [(0, false), (1, true), (2, true), (3, false)] {
            let mut example = cut();
            // Up to the receive of message 10: it is there, and perhaps message 6 again.
            example.still = Some(Still {
                event_count: 29,
                present: vec![present],
            });
            assert_eq!(!example.rules().contains(&COUNTS), is_good, "{present}");
        }
    }

    #[test]
    fn an_id_in_doubt_may_come_in_a_later_round_and_others_may_not() {
        let example = cut();
        let mut past = Past::default();
        example.with_case(|case| past.add(&Doubt::of(case).after(case)));
        assert!(!past.is_gone(0, 6));
        assert!(past.is_gone(0, 5) && past.is_gone(0, 7));
    }
}
