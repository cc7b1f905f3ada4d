//! What a queue says it holds is what the history says.

use std::collections::BTreeSet;

use super::super::history::{Event, Kind, Outcome};
use super::{Case, Doubt, Found};

/// What the queues said while no call was under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Still {
    /// How many events the history had.
    pub(crate) event_count: usize,
    /// Messages in each queue, in whatever state.
    pub(crate) present: Vec<u64>,
}

/// `lasting`: the events, without what may have been taken back.
pub(super) fn check(case: &Case<'_>, doubt: &Doubt, lasting: &[Event]) -> Vec<Found> {
    let mut counts = Found::new("counts equal the history");
    for (queue, left) in case.left.iter().enumerate().filter(|(_, left)| **left > 0) {
        counts.add(|| format!("queue {queue} has {left} messages, and none came any more"));
    }
    if let Some(still) = &case.still {
        let events = &lasting[..still.event_count.min(lasting.len())];
        for queue in 0..case.queue_count {
            if case.moves.iter().any(|(_, target)| *target == queue) {
                continue;
            }
            // What was deleted may be there again.
            let is_rewound = |event: &Event| event.kind == Kind::Rewind && event.queue == queue;
            if events.iter().any(is_rewound) {
                continue;
            }
            // What moves counts in the one queue or in the other.
            let queues: Vec<u16> = case.targets_of(queue).chain([queue]).collect();
            let in_one = |queue: &u16| still.present.get(usize::from(*queue));
            let present: u64 = queues.iter().filter_map(in_one).sum();
            let Bounds { least, most } = Bounds::new(events, &queues);
            let least = least.saturating_sub(doubt.mistaken_deletes(queue));
            if !(least..=most).contains(&present) {
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
    /// Of some queues together. Messages are told apart by their numbers, which they keep.
    fn new(events: &[Event], queues: &[u16]) -> Bounds {
        let (mut known, mut perhaps_sent) = (BTreeSet::new(), BTreeSet::new());
        let (mut deleted, mut perhaps_deleted) = (BTreeSet::new(), BTreeSet::new());
        let is_here = |event: &&Event| queues.contains(&event.queue);
        for event in events.iter().filter(is_here) {
            let set = match (event.kind, event.outcome) {
                (Kind::Receive | Kind::Send, Outcome::Done) => &mut known,
                (Kind::Send, Outcome::Unknown) => &mut perhaps_sent,
                (Kind::Delete, Outcome::Done) => &mut deleted,
                (Kind::Delete, Outcome::Unknown) => &mut perhaps_deleted,
                _ => continue,
            };
            set.insert(event.number);
        }
        let present = known.difference(&deleted).count() as u64;
        let is_gone = |number: &&u64| !deleted.contains(number) && known.contains(number);
        let gone = perhaps_deleted.iter().filter(is_gone).count() as u64;
        Bounds {
            least: present - gone,
            most: present + perhaps_sent.difference(&known).count() as u64,
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
