//! What callers of the SDK have to hear of, and how soon after a fault all is well.

use super::super::history::{Event, Kind, Outcome};
use super::{Case, Found};

const RECEIPT_EXPIRED: u16 = 401;
/// What is rewound before is still coming back.
const QUEUE_BUSY: u16 = 205;
const REDRIVE_RUNNING: u16 = 209;
const REWIND_OUT_OF_RANGE: u16 = 408;
/// A send must get through that long after the last fault.
const PROGRESS_US: u64 = 10_000_000;

pub(super) fn check(case: &Case<'_>) -> Vec<Found> {
    vec![check_surfaced(case), check_progress(case)]
}

fn check_surfaced(case: &Case<'_>) -> Found {
    let mut found = Found::new("no error surfaces but documented refusals");
    for event in case
        .events
        .iter()
        .filter(|event| event.outcome != Outcome::Done)
    {
        if !is_expected(case, event) {
            found.add(|| format!("{event:?}"));
        }
    }
    found
}

fn is_expected(case: &Case<'_>, event: &Event) -> bool {
    match event.kind {
        // What a fault may refuse are sends: whoever receives or deletes takes no room.
        Kind::Send if event.outcome == Outcome::Refused && case.allowed.contains(&event.code) => {
            true
        }
        Kind::Delete | Kind::Extend | Kind::Release => event.code == RECEIPT_EXPIRED,
        // Whoever does not want his sends repeated hears of those that may have been carried out.
        Kind::Send => {
            let is_unknown = event.outcome == Outcome::Unknown && !event.is_numbered;
            is_unknown && case.is_disturbed(event.start_us, event.end_us)
        }
        // Of what is never repeated by itself the caller hears.
        Kind::Rewind | Kind::Redrive if event.outcome == Outcome::Unknown => {
            case.is_disturbed(event.start_us, event.end_us)
        }
        Kind::Rewind => [REWIND_OUT_OF_RANGE, QUEUE_BUSY].contains(&event.code),
        Kind::Redrive => event.code == REDRIVE_RUNNING,
        Kind::Receive => false,
    }
}

fn check_progress(case: &Case<'_>) -> Found {
    let mut found = Found::new("a send succeeds within 10 s after the fault");
    if case.stopped_at_us < case.healed_at_us + PROGRESS_US / 2 {
        found.add(|| "the load did not go on for long enough to tell".to_owned());
    }
    let until_us = case.healed_at_us + PROGRESS_US;
    // Nobody sends to a queue that takes what others give up.
    let is_target = |queue: &u16| case.moves.iter().any(|(_, target)| target == queue);
    for queue in (0..case.queue_count).filter(|queue| !is_target(queue)) {
        let mut sends = case.events.iter().filter(|event| event.is_done(Kind::Send));
        let in_time = |event: &Event| {
            event.queue == queue && (case.healed_at_us..until_us).contains(&event.end_us)
        };
        if !sends.any(in_time) {
            found.add(|| format!("none in queue {queue}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::history::code;
    use super::super::example::{Example, SECOND, refused, unknown};
    use super::*;

    const SURFACED: &str = "no error surfaces but documented refusals";

    #[test]
    fn a_refusal_is_fine_only_when_the_fault_explains_it() {
        let mut example = Example::new();
        let mut refusal = refused(*example.event(Kind::Send, 4), 501);
        refusal.number = 50;
        example.events.push(refusal);
        assert_eq!(example.rules(), [SURFACED]);
        example.allowed.push(501);
        assert_eq!(example.violations(), []);
    }

    #[test]
    fn a_broken_connection_surfaces_only_for_sends_that_are_not_to_be_repeated() {
        let mut example = Example::new();
        let mut lost = unknown(*example.event(Kind::Send, 4));
        (lost.number, lost.code, lost.end_us) = (50, code::DISCONNECTED, 5 * SECOND);
        example.events.push(lost);
        assert_eq!(example.violations(), []);
        example.event(Kind::Send, 50).is_numbered = true;
        assert_eq!(example.rules(), [SURFACED]);
    }

    #[test]
    fn a_failed_receive_is_found() {
        let mut example = Example::new();
        let event = Event::new(Kind::Receive, 0, SECOND, 2 * SECOND);
        example.events.push(unknown(event));
        assert_eq!(example.rules(), [SURFACED]);
    }

    #[test]
    fn a_cluster_that_does_not_come_back_within_10_s_is_found() {
        let mut example = Example::new();
        let late = 16 * SECOND;
        example
            .events
            .retain(|event| event.end_us < 4_400_000 || event.end_us > late);
        assert_eq!(
            example.rules(),
            ["a send succeeds within 10 s after the fault"]
        );
    }
}
