//! A received message belongs to its receiver until its visibility ends.

use super::super::history::{Event, Kind, Outcome};
use super::index::{Index, Message};
use super::lives::lives;
use super::{Case, Doubt, EARLY_US, Found};

/// The rules, each with what was found.
struct Rules {
    twice: Found,
    order: Found,
    stamps: Found,
    real: Found,
    steps: Found,
}

pub(super) fn check(case: &Case<'_>, doubt: &Doubt, index: &Index<'_>) -> Vec<Found> {
    let mut rules = Rules {
        twice: Found::new("each hand-out has its own receive count"),
        order: Found::new("receive counts rise with time"),
        stamps: Found::new("no two valid receipts, by the set's time"),
        real: Found::new("no two valid receipts, by real time"),
        steps: Found::new("the receive count rises by one"),
    };
    for ((queue, _), whole) in &index.messages {
        for life in lives(index, *queue, whole) {
            if let Some(first) = life.deliveries.first() {
                check_first(case, index, first, &mut rules.steps);
            }
            for pair in life.deliveries.windows(2) {
                check_pair(case, doubt, &life, (pair[0], pair[1]), &mut rules);
            }
        }
    }
    vec![
        rules.twice,
        rules.order,
        rules.stamps,
        rules.real,
        rules.steps,
    ]
}

fn check_first(case: &Case<'_>, index: &Index<'_>, first: &Event, steps: &mut Found) {
    let since = index
        .sends
        .get(&first.number)
        .map_or(0, |send| send.start_us);
    if first.receive_count != 1 && !case.is_disturbed(since, first.end_us) {
        steps.add(|| format!("the first one is {first:?}"));
    }
}

fn check_pair(
    case: &Case<'_>,
    doubt: &Doubt,
    message: &Message<'_>,
    (earlier, later): (&Event, &Event),
    rules: &mut Rules,
) {
    let both = || format!("{earlier:?}, then {later:?}");
    if earlier.receive_count == later.receive_count {
        return rules.twice.add(both);
    }
    if later.handed_at_ms() < earlier.handed_at_ms() || later.end_us < earlier.start_us {
        rules.order.add(both);
    }
    // A hand-out whose reply was lost on its way counts, and nobody saw it.
    let is_next = later.receive_count == earlier.receive_count + 1;
    if !is_next && !case.is_disturbed(earlier.start_us, later.end_us) {
        rules.steps.add(both);
    }
    if doubt.may_be_robbed(earlier, later.end_us) {
        return;
    }
    let hold = Hold::new(earlier, &message.changes);
    if later.handed_at_ms() < hold.until_ms {
        rules
            .stamps
            .add(|| format!("{}: held until {}", both(), hold.until_ms));
    }
    if later.end_us < hold.until_us {
        rules
            .real
            .add(|| format!("{}: held until {} us", both(), hold.until_us));
    }
}

/// For how long a receiver holds a message at the least.
struct Hold {
    /// By the set's time; 0 once it may have been given back.
    until_ms: u64,
    /// By real time.
    until_us: u64,
}

impl Hold {
    fn new(delivery: &Event, changes: &[&Event]) -> Hold {
        let mut hold = Hold {
            until_ms: delivery.visible_at_ms,
            until_us: end_us(delivery),
        };
        let ours = |change: &&&Event| {
            change.receive_count == delivery.receive_count && change.outcome != Outcome::Refused
        };
        for change in changes.iter().filter(ours) {
            if change.kind == Kind::Release {
                hold.until_ms = 0;
                hold.until_us = hold.until_us.min(change.start_us);
                continue;
            }
            // It counts from when it was carried out: after the hand-out, and after its start.
            let (until_ms, until_us) = (
                delivery.handed_at_ms() + u64::from(change.timeout_ms),
                end_us(change),
            );
            if change.outcome == Outcome::Done {
                (hold.until_ms, hold.until_us) = (until_ms, until_us);
            } else {
                hold.until_ms = hold.until_ms.min(until_ms);
                hold.until_us = hold.until_us.min(until_us);
            }
        }
        hold
    }
}

fn end_us(event: &Event) -> u64 {
    let end_us = event.start_us + u64::from(event.timeout_ms) * 1_000;
    end_us.saturating_sub(EARLY_US)
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, SECOND, delete, handled, receive, unknown};
    use super::*;

    const STAMPS: &str = "no two valid receipts, by the set's time";
    const REAL: &str = "no two valid receipts, by real time";

    /// Message 6 was received at 6.1 s, not deleted, and again at `at_us`.
    fn received_again(at_us: u64) -> Example {
        let mut example = Example::new();
        example.remove(Kind::Delete, 6);
        example.events.push(receive(6, 2, at_us));
        example.events.push(delete(6, 2, at_us + 100_000));
        example
    }

    fn extended(mut example: Example, timeout_ms: u32) -> Example {
        example.events.push(Event {
            timeout_ms,
            ..handled(Kind::Extend, 6, 1, 7 * SECOND)
        });
        example
    }

    #[test]
    fn a_lapsed_message_may_come_again_and_one_that_is_held_may_not() {
        assert_eq!(received_again(11_200_000).violations(), []);
        assert_eq!(received_again(8 * SECOND).rules(), [STAMPS, REAL]);
    }

    #[test]
    fn a_set_whose_time_ran_ahead_is_found_by_real_time() {
        let mut example = received_again(8 * SECOND);
        for event in &mut example.events {
            if event.receive_count == 2 {
                event.visible_at_ms += 60_000;
            }
        }
        assert!(example.rules().contains(&REAL));
        assert!(!example.rules().contains(&STAMPS));
    }

    #[test]
    fn a_released_message_may_come_at_once_but_not_before_its_release() {
        let mut example = received_again(8 * SECOND);
        example
            .events
            .push(handled(Kind::Release, 6, 1, 7 * SECOND));
        assert_eq!(example.violations(), []);
        let mut example = received_again(6_500_000);
        example
            .events
            .push(unknown(handled(Kind::Release, 6, 1, 7 * SECOND)));
        assert!(example.rules().contains(&REAL));
    }

    #[test]
    fn an_extended_message_is_held_for_longer() {
        assert_eq!(
            extended(received_again(12 * SECOND), 8_000).rules(),
            [STAMPS, REAL]
        );
        assert_eq!(extended(received_again(15_100_000), 8_000).violations(), []);
    }

    #[test]
    fn a_shortened_hold_may_end_early() {
        assert_eq!(extended(received_again(9_100_000), 2_000).violations(), []);
        assert!(
            extended(received_again(7_500_000), 2_000)
                .rules()
                .contains(&STAMPS)
        );
    }

    #[test]
    fn one_receive_count_twice_is_found() {
        let mut example = Example::new();
        example.remove(Kind::Delete, 6);
        example.events.push(receive(6, 1, 12 * SECOND));
        assert_eq!(example.rules(), ["each hand-out has its own receive count"]);
    }

    #[test]
    fn a_receive_count_that_falls_is_found() {
        let mut example = received_again(12 * SECOND);
        example.event(Kind::Receive, 6).receive_count = 3;
        assert!(example.rules().contains(&"receive counts rise with time"));
    }

    #[test]
    fn a_receive_count_may_skip_one_only_during_a_fault() {
        let mut example = received_again(12 * SECOND);
        for event in &mut example.events {
            if event.receive_count == 2 {
                event.receive_count = 3;
            }
        }
        assert_eq!(example.rules(), ["the receive count rises by one"]);
        example.disturbed.push((9 * SECOND, 10 * SECOND));
        assert_eq!(example.violations(), []);
    }

    #[test]
    fn a_first_receive_that_is_not_the_first_is_found() {
        let mut example = Example::new();
        example.event(Kind::Receive, 6).receive_count = 2;
        example.event(Kind::Delete, 6).receive_count = 2;
        assert_eq!(example.rules(), ["the receive count rises by one"]);
    }
}
