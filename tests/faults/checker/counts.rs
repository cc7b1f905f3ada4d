//! What a queue says it holds is what the history says.

use std::collections::BTreeSet;

use super::super::history::{Event, Kind, Outcome};
use super::{Case, Found};

/// What the queues said while no call was under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Still {
    /// How many events the history had.
    pub(crate) event_count: usize,
    /// Messages in each queue, in whatever state.
    pub(crate) present: Vec<u64>,
}

pub(super) fn check(case: &Case<'_>) -> Vec<Found> {
    let mut counts = Found::new("counts equal the history");
    for (queue, left) in case.left.iter().enumerate().filter(|(_, left)| **left > 0) {
        counts.add(|| format!("queue {queue} has {left} messages, and none came any more"));
    }
    if let Some(still) = &case.still {
        let events = &case.events[..still.event_count.min(case.events.len())];
        for (queue, present) in (0u16..).zip(&still.present) {
            let bounds = Bounds::new(events, queue);
            if !(bounds.least..=bounds.most).contains(present) {
                let Bounds { least, most } = bounds;
                counts.add(|| format!("queue {queue} has {present} of {least} to {most}"));
            }
        }
    }
    vec![counts]
}

/// How many messages there can be.
struct Bounds {
    least: u64,
    most: u64,
}

impl Bounds {
    fn new(events: &[Event], queue: u16) -> Bounds {
        let (mut known, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        let (mut perhaps_deleted, mut received) = (BTreeSet::new(), BTreeSet::new());
        let mut perhaps_sent = BTreeSet::new();
        for event in events.iter().filter(|event| event.queue == queue) {
            match (event.kind, event.outcome) {
                (Kind::Receive, Outcome::Done) => {
                    known.insert(event.message);
                    received.insert((event.number, event.message));
                }
                (Kind::Delete, Outcome::Done) => drop(deleted.insert(event.message)),
                (Kind::Delete, Outcome::Unknown) => drop(perhaps_deleted.insert(event.message)),
                (Kind::Send, Outcome::Done) => drop(known.insert(event.message)),
                _ => {}
            }
            if event.kind == Kind::Send && event.outcome == Outcome::Unknown {
                perhaps_sent.insert(event.number);
            }
        }
        let present = known.difference(&deleted).count() as u64;
        let gone = perhaps_deleted.difference(&deleted).count() as u64;
        Bounds {
            least: present - gone,
            most: present + perhaps_sent.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, unknown};
    use super::*;

    const RULE: &str = "counts equal the history";

    fn still(example: &mut Example, present: u64) {
        // Up to the receive of message 10: message 10 is there.
        example.still = Some(Still {
            event_count: 29,
            present: vec![present],
        });
    }

    #[test]
    fn a_count_that_is_right_is_right() {
        let mut example = Example::new();
        still(&mut example, 1);
        assert_eq!(example.violations(), []);
    }

    #[test]
    fn a_count_that_is_too_large_or_too_small_is_found() {
        for present in [0, 2] {
            let mut example = Example::new();
            still(&mut example, present);
            assert_eq!(example.rules(), [RULE]);
        }
    }

    #[test]
    fn what_is_unknown_may_count_or_not() {
        let mut example = Example::new();
        let delete = example.event(Kind::Delete, 4);
        *delete = unknown(*delete);
        for (present, is_good) in [(0, false), (1, true), (2, true), (3, false)] {
            still(&mut example, present);
            assert_eq!(!example.rules().contains(&RULE), is_good, "{present}");
        }
    }

    #[test]
    fn a_queue_that_is_not_empty_in_the_end_is_found() {
        let mut example = Example::new();
        example.left = vec![1];
        assert_eq!(example.rules(), [RULE]);
    }
}
