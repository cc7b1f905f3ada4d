//! What was sent, and only that, comes out; whatever was acknowledged does, under its id.

use std::collections::BTreeMap;

use super::super::history::{Event, Kind, Outcome};
use super::index::Index;
use super::{Case, Doubt, Found, Past};

/// `lasting`: the same events, without what may have been taken back.
pub(super) fn check(case: &Case<'_>, doubt: &Doubt, lasting: &[Event], past: &Past) -> Vec<Found> {
    let index = &Index::new(case.events);
    vec![
        acknowledged_is_delivered(case, index, doubt, lasting),
        delivered_was_sent(case, index, past),
        id_is_new(index, past),
    ]
}

/// What ids say.
pub(super) fn check_ids(case: &Case<'_>, index: &Index<'_>) -> Vec<Found> {
    vec![
        one_message_per_id(index),
        stored_once(index),
        stored_in_order(case),
    ]
}

fn acknowledged_is_delivered(
    case: &Case<'_>,
    index: &Index<'_>,
    doubt: &Doubt,
    lasting: &[Event],
) -> Found {
    let moved = super::moves::arrived(case, index);
    let mut found = Found::new("an acknowledged send is delivered or still there");
    let mut mistaken = 0;
    for send in lasting.iter().filter(|event| event.is_done(Kind::Send)) {
        let number = &send.number;
        let message = index.messages.get(&(send.queue, send.message));
        let mut deliveries = message.iter().flat_map(|message| &message.deliveries);
        let came = deliveries.any(|delivery| delivery.number == *number);
        // Receives whose replies were lost count, and it was given up for them.
        if came || moved.contains(&(send.queue, *number)) {
            continue;
        }
        mistaken += u64::from(doubt.may_be_mistaken(send));
        let is_excused =
            doubt.may_be_mistaken(send) && mistaken <= doubt.mistaken_deletes(send.queue);
        if !is_excused {
            found.add(|| format!("{number} was acknowledged and never came: {send:?}"));
        }
    }
    found
}

fn delivered_was_sent(case: &Case<'_>, index: &Index<'_>, past: &Past) -> Found {
    let mut found = Found::new("nothing is delivered that was not sent");
    for delivery in deliveries(index) {
        let number = delivery.number;
        match index.sends.get(&number) {
            None if past.may_come(number) => {}
            None => found.add(|| format!("{number} was never sent: {delivery:?}")),
            Some(send) if send.outcome == Outcome::Refused => {
                found.add(|| format!("{number} was refused and came: {send:?} {delivery:?}"));
            }
            Some(send)
                if send.queue != delivery.queue
                    && case.targets_of(send.queue).all(|it| it != delivery.queue) =>
            {
                found.add(|| format!("{number} came out of another queue: {delivery:?}"));
            }
            Some(send) if delivery.end_us < send.start_us => {
                found.add(|| format!("{number} came before it was sent: {delivery:?}"));
            }
            Some(_) => {}
        }
    }
    found
}

fn one_message_per_id(index: &Index<'_>) -> Found {
    let mut found = Found::new("an id stands for one message");
    for ((queue, id), message) in &index.messages {
        let mut numbers: Vec<u64> = message
            .deliveries
            .iter()
            .map(|event| event.number)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.len() > 1 {
            found.add(|| format!("queue {queue}, id {id}: numbers {numbers:?}"));
        }
    }
    found
}

fn stored_once(index: &Index<'_>) -> Found {
    let mut found = Found::new("no send is stored twice");
    let mut ids: BTreeMap<(u64, u16), Vec<u64>> = BTreeMap::new();
    for delivery in deliveries(index) {
        let ids = ids.entry((delivery.number, delivery.queue)).or_default();
        if !ids.contains(&delivery.message) {
            ids.push(delivery.message);
        }
    }
    for ((number, queue), ids) in ids.iter().filter(|(_, ids)| ids.len() > 1) {
        let send = index.sends.get(number);
        found.add(|| format!("{number} has the ids {ids:?} in queue {queue}: {send:?}"));
    }
    found
}

/// One client numbers the sends of a queue; it makes its calls in the order of their numbers.
fn stored_in_order(case: &Case<'_>) -> Found {
    let mut found = Found::new("numbered sends are stored in the order of the calls");
    for queue in 0..case.queue_count {
        let sends = case.events.iter().filter(|event| event.queue == queue);
        let numbered = sends.filter(|event| event.is_done(Kind::Send) && event.is_numbered);
        let ids: BTreeMap<u64, u64> = numbered
            .map(|event| (event.number, event.message))
            .collect();
        let mut highest = (0, 0);
        for (number, id) in ids {
            if id < highest.1 {
                found.add(|| format!("queue {queue}: {number} has id {id}, after {highest:?}"));
            }
            highest = highest.max((number, id));
        }
    }
    found
}

fn id_is_new(index: &Index<'_>, past: &Past) -> Found {
    let mut found = Found::new("what was deleted in an earlier round stays deleted");
    for delivery in deliveries(index) {
        if past.is_gone(delivery.queue, delivery.message) {
            found.add(|| format!("came again: {delivery:?}"));
        }
    }
    found
}

fn deliveries<'a>(index: &Index<'a>) -> impl Iterator<Item = &'a Event> {
    index
        .messages
        .values()
        .flat_map(|message| message.deliveries.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, SECOND, receive, refused, send, unknown};
    use super::*;

    #[test]
    fn a_lost_message_is_found() {
        let mut example = Example::new();
        example.remove(Kind::Receive, 3);
        example.remove(Kind::Delete, 3);
        assert_eq!(
            example.rules(),
            ["an acknowledged send is delivered or still there"]
        );
    }

    #[test]
    fn a_message_that_came_under_another_id_than_acknowledged_is_lost() {
        let mut example = Example::new();
        example.event(Kind::Send, 3).message = 77;
        assert_eq!(
            example.rules(),
            ["an acknowledged send is delivered or still there"]
        );
    }

    #[test]
    fn a_send_of_unknown_outcome_may_be_lost_and_may_come() {
        let mut example = Example::new();
        for number in [4, 5] {
            let event = example.event(Kind::Send, number);
            *event = unknown(*event);
            (event.start_us, event.end_us) = (4 * SECOND, 6 * SECOND);
        }
        example.remove(Kind::Receive, 5);
        example.remove(Kind::Delete, 5);
        assert_eq!(example.violations(), []);
    }

    #[test]
    fn a_message_that_nobody_sent_is_found() {
        let mut example = Example::new();
        example.remove(Kind::Send, 3);
        assert_eq!(example.rules(), ["nothing is delivered that was not sent"]);
    }

    #[test]
    fn a_refused_message_that_comes_is_found() {
        let mut example = Example::new();
        example.allowed.push(500);
        let event = example.event(Kind::Send, 3);
        *event = refused(*event, 500);
        assert_eq!(example.rules(), ["nothing is delivered that was not sent"]);
    }

    #[test]
    fn a_message_out_of_another_queue_is_found() {
        let mut example = Example::new();
        let (queue, rule) = (1, "nothing is delivered that was not sent");
        example.event(Kind::Receive, 3).queue = queue;
        example.event(Kind::Delete, 3).queue = queue;
        assert!(example.rules().contains(&rule));
    }

    #[test]
    fn one_id_with_two_messages_is_found() {
        let mut example = Example::new();
        let event = example.event(Kind::Receive, 3);
        event.message = 4;
        event.receive_count = 2;
        assert!(example.rules().contains(&"an id stands for one message"));
    }

    #[test]
    fn a_second_copy_of_a_send_is_found() {
        for is_numbered in [false, true] {
            let mut example = Example::new();
            let copy = Event {
                message: 99,
                ..receive(4, 1, 6 * SECOND)
            };
            example.events.push(copy);
            let event = example.event(Kind::Send, 4);
            (event.is_numbered, event.end_us) = (is_numbered, 5 * SECOND);
            assert_eq!(example.rules(), ["no send is stored twice"]);
        }
    }

    #[test]
    fn numbered_sends_out_of_order_are_found() {
        let mut example = Example::new();
        for (number, other) in [(4, 5), (5, 4)] {
            for kind in [Kind::Send, Kind::Receive, Kind::Delete] {
                example.event(kind, number).message = other;
            }
        }
        let rule = "numbered sends are stored in the order of the calls";
        assert!(!example.rules().contains(&rule), "nobody numbered them");
        for number in 1..=10 {
            example.event(Kind::Send, number).is_numbered = true;
        }
        assert_eq!(example.rules(), [rule]);
    }

    #[test]
    fn a_message_of_an_earlier_round_that_comes_again_is_found() {
        let mut example = Example::new();
        example.past.add(&[receive(3, 1, 0)]);
        assert_eq!(
            example.rules(),
            ["what was deleted in an earlier round stays deleted"]
        );
    }

    #[test]
    fn an_unknown_send_of_an_earlier_round_may_come_in_this_one() {
        let mut example = Example::new();
        example.past.add(&[unknown(send(3, 0))]);
        example.remove(Kind::Send, 3);
        assert_eq!(example.violations(), []);
    }
}
