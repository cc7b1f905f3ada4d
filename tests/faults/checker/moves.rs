//! A message that a queue gives up goes to the other queue, once, and is in one of them at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::{Event, Kind, Outcome};
use super::index::Index;
use super::{Case, Found};

/// What arrived: the queue that gave it up, and its number.
pub(super) fn arrived(case: &Case<'_>, index: &Index<'_>) -> BTreeSet<(u16, u64)> {
    let first = first_arrivals(case, index);
    first.keys().copied().collect()
}

/// The first delivery of each message that arrived.
fn first_arrivals<'a>(case: &Case<'_>, index: &Index<'a>) -> BTreeMap<(u16, u64), &'a Event> {
    let mut first: BTreeMap<(u16, u64), &Event> = BTreeMap::new();
    for (source, target) in case.moves {
        let there = index.messages.range((*target, 0)..=(*target, u64::MAX));
        for delivery in there.flat_map(|(_, message)| &message.deliveries) {
            let known = first.entry((*source, delivery.number)).or_insert(delivery);
            if delivery.end_us < known.end_us {
                *known = delivery;
            }
        }
    }
    first
}

pub(super) fn check(case: &Case<'_>, index: &Index<'_>) -> Vec<Found> {
    let mut arrives = Found::new("what is given up arrives");
    let mut once = Found::new("a message is in one queue at a time");
    let first = first_arrivals(case, index);
    for ((queue, id), message) in &index.messages {
        if case.targets_of(*queue).next().is_none() {
            continue;
        }
        let Some(last) = message.deliveries.last() else {
            continue;
        };
        let arrival = first.get(&(*queue, last.number));
        let may_be_deleted = message
            .deletes
            .iter()
            .any(|it| it.outcome != Outcome::Refused);
        if arrival.is_none() && !may_be_deleted {
            arrives.add(|| format!("queue {queue}, id {id}: {last:?} and then nothing"));
        }
        let Some(arrival) = arrival else { continue };
        let was_deleted = message.deletes.iter().find(|it| it.is_done(Kind::Delete));
        if let Some(delete) = was_deleted {
            once.add(|| format!("{delete:?}, and yet {arrival:?}"));
        }
        let later = message
            .deliveries
            .iter()
            .find(|it| it.start_us > arrival.end_us);
        if let Some(later) = later {
            once.add(|| format!("{arrival:?}, and then {later:?}"));
        }
    }
    vec![arrives, once]
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, SECOND, delete, receive};
    use super::*;

    const ARRIVES: &str = "what is given up arrives";
    const ONCE: &str = "a message is in one queue at a time";

    /// Message 6 is received at 6.1 s, not deleted, and received and deleted in queue 1 as
    /// message 40 from 12 s on.
    fn given_up() -> Example {
        let mut example = Example::new();
        example.moves = vec![(0, 1)];
        example.left = vec![0, 0];
        example.remove(Kind::Delete, 6);
        for event in [receive(6, 1, 12 * SECOND), delete(6, 1, 13 * SECOND)] {
            example.events.push(Event {
                queue: 1,
                message: 40,
                ..event
            });
        }
        example
    }

    #[test]
    fn a_message_may_come_out_of_the_queue_that_takes_what_its_own_gives_up() {
        assert_eq!(given_up().violations(), []);
        let mut unseen = given_up();
        unseen
            .events
            .retain(|event| event.kind != Kind::Receive || event.message != 6);
        assert_eq!(unseen.violations(), [], "the receives' replies were lost");
    }

    #[test]
    fn a_message_that_is_given_up_and_does_not_arrive_is_found() {
        let mut example = given_up();
        example.events.retain(|event| event.queue == 0);
        assert_eq!(example.rules(), [ARRIVES]);
    }

    #[test]
    fn a_message_that_was_deleted_and_arrives_is_found() {
        let mut example = given_up();
        example.events.push(delete(6, 1, 7 * SECOND));
        assert_eq!(example.rules(), [ONCE]);
    }

    #[test]
    fn a_message_that_comes_out_of_its_own_queue_after_it_arrived_is_found() {
        let mut example = given_up();
        example.events.push(receive(6, 2, 14 * SECOND));
        assert!(example.rules().contains(&ONCE), "{:?}", example.rules());
    }

    #[test]
    fn a_message_that_arrives_twice_is_found() {
        let mut example = given_up();
        example.events.push(Event {
            queue: 1,
            message: 41,
            ..receive(6, 1, 14 * SECOND)
        });
        assert_eq!(example.rules(), ["no send is stored twice"]);
    }
}
