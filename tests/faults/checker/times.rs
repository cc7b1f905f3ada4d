//! Time passes in every set as it does outside, whatever a clock says.

use super::super::history::{Event, Kind};
use super::index::Index;
use super::{Case, EARLY_US, Found};

/// Receives this far apart show how fast a set's time runs.
const APART_MIN_US: u64 = 1_000_000;
const APART_MAX_US: u64 = 10_000_000;
/// How much a set's time may be slewed, and how far it may jump when the leader changes.
const SLEW_PERCENT: u64 = 10;
const JUMP_MS: u64 = 1_000;

pub(super) fn check(case: &Case<'_>, index: &Index<'_>) -> Vec<Found> {
    let (ahead, still) = check_pace(case);
    vec![check_delays(index), ahead, still]
}

fn check_delays(index: &Index<'_>) -> Found {
    let mut found = Found::new("a delayed message is not early");
    let deliveries = index
        .messages
        .values()
        .flat_map(|message| &message.deliveries);
    for delivery in deliveries {
        let Some(send) = index
            .sends
            .get(&delivery.number)
            .filter(|send| send.timeout_ms > 0)
        else {
            continue;
        };
        let delay_ms = u64::from(send.timeout_ms);
        let by_stamps = delivery.handed_at_ms() < delivery.sent_at_ms + delay_ms;
        let by_clock = delivery.end_us + EARLY_US < send.start_us + delay_ms * 1_000;
        if by_stamps || by_clock {
            found.add(|| format!("{send:?} came as {delivery:?}"));
        }
    }
    found
}

/// Compares the time between receives of one queue with how far apart their stamps are.
fn check_pace(case: &Case<'_>) -> (Found, Found) {
    let mut ahead = Found::new("a set's time does not run ahead");
    let mut still = Found::new("a set's time does not stand still");
    for queue in 0..case.queue_count {
        let ours = |event: &&Event| event.is_done(Kind::Receive) && event.queue == queue;
        let mut receives: Vec<&Event> = case.events.iter().filter(ours).collect();
        receives.sort_by_key(|event| event.end_us);
        let mut next = 0;
        let mut reference = receives.first().copied();
        for receive in &receives {
            let Some(earlier) = reference else { break };
            if receive.end_us < earlier.end_us + APART_MIN_US {
                continue;
            }
            if receive.end_us < earlier.end_us + APART_MAX_US {
                compare(earlier, receive, &mut ahead, &mut still);
            }
            // The next reference: about half of the shortest distance back.
            while receives[next].end_us + APART_MIN_US / 2 < receive.end_us {
                next += 1;
            }
            reference = Some(receives[next]);
        }
    }
    (ahead, still)
}

fn compare(earlier: &Event, later: &Event, ahead: &mut Found, still: &mut Found) {
    let both = || format!("{earlier:?} and {later:?}");
    let (from_ms, to_ms) = (earlier.handed_at_ms(), later.handed_at_ms());
    let longest_ms = later.end_us.saturating_sub(earlier.start_us) / 1_000;
    let shortest_ms = later.start_us.saturating_sub(earlier.end_us) / 1_000;
    if to_ms > from_ms + longest_ms * (100 + SLEW_PERCENT) / 100 + JUMP_MS {
        ahead.add(both);
    }
    if to_ms + JUMP_MS < from_ms + shortest_ms * (100 - SLEW_PERCENT) / 100 {
        still.add(both);
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, SECOND};
    use super::*;

    fn moved(from_us: u64, change: impl Fn(u64) -> u64) -> Example {
        let mut example = Example::new();
        for event in &mut example.events {
            if event.start_us > from_us && event.kind == Kind::Receive {
                event.visible_at_ms = change(event.visible_at_ms);
                event.sent_at_ms = change(event.sent_at_ms);
            }
        }
        example
    }

    #[test]
    fn a_jump_ahead_and_a_jump_back_are_found() {
        let ahead = moved(5 * SECOND, |at| at + 3_600_000);
        assert_eq!(ahead.rules(), ["a set's time does not run ahead"]);
        let back = moved(5 * SECOND, |at| at - 3_600_000);
        assert_eq!(back.rules(), ["a set's time does not stand still"]);
    }

    #[test]
    fn a_small_jump_is_allowed() {
        assert_eq!(moved(5 * SECOND, |at| at + 900).violations(), []);
    }

    #[test]
    fn a_delayed_message_that_is_early_by_the_stamps_is_found() {
        let mut example = Example::new();
        example.event(Kind::Send, 3).timeout_ms = 500;
        assert_eq!(example.rules(), ["a delayed message is not early"]);
        example.event(Kind::Send, 3).timeout_ms = 50;
        assert_eq!(example.violations(), []);
    }

    #[test]
    fn a_delayed_message_that_is_early_by_the_clock_is_found() {
        let mut example = Example::new();
        example.event(Kind::Send, 3).timeout_ms = 2_000;
        example.event(Kind::Receive, 3).sent_at_ms -= 5_000;
        assert_eq!(example.rules(), ["a delayed message is not early"]);
    }
}
