//! A rewind gives a deleted message another life: it comes again, as if it had never been received.
//!
//! Only a rewind does, and it does so for every message that was deleted before it and sent at the
//! instant asked for or later.

use super::super::history::{Event, Kind, Outcome};
use super::index::{Index, Message};
use super::{Case, Found};

/// What happened to a message from one rewind to the next.
pub(super) fn lives<'a>(index: &Index<'a>, queue: u16, whole: &Message<'a>) -> Vec<Message<'a>> {
    let rewinds = index.rewinds_of(queue);
    if rewinds.is_empty() {
        return vec![whole.clone()];
    }
    let mut deliveries = whole.deliveries.clone();
    deliveries.sort_by_key(|event| (event.handed_at_ms(), event.receive_count));
    let mut lives: Vec<Message<'a>> = Vec::new();
    for delivery in deliveries {
        match lives.last_mut() {
            Some(life) if !is_between(rewinds, whole, life, delivery) => {
                life.deliveries.push(delivery);
            }
            _ => lives.push(Message {
                deliveries: vec![delivery],
                ..Message::default()
            }),
        }
    }
    for (events, of_life) in [
        (&whole.deletes, (|it| &mut it.deletes) as Part<'a>),
        (&whole.changes, |it| &mut it.changes),
    ] {
        for event in events {
            let is_of = |life: &&mut Message<'a>| {
                let mut deliveries = life.deliveries.iter();
                deliveries.any(|it| {
                    it.receive_count == event.receive_count && it.start_us <= event.start_us
                })
            };
            if let Some(life) = lives.iter_mut().rev().find(is_of) {
                of_life(life).push(event);
            }
        }
    }
    lives
}

type Part<'a> = for<'l> fn(&'l mut Message<'a>) -> &'l mut Vec<&'a Event>;

/// Whether a rewind can have brought the message back between a life and this delivery.
fn is_between(
    rewinds: &[&Event],
    whole: &Message<'_>,
    life: &Message<'_>,
    delivery: &Event,
) -> bool {
    let Some(last) = life.deliveries.last() else {
        return false;
    };
    let may_be_deleted = whole.deletes.iter().any(|delete| {
        let mut of_life = life.deliveries.iter();
        delete.outcome != Outcome::Refused
            && delete.start_us <= delivery.end_us
            && of_life.any(|it| {
                it.receive_count == delete.receive_count && it.start_us <= delete.start_us
            })
    });
    may_be_deleted
        && rewinds
            .iter()
            .any(|rewind| rewind.start_us <= delivery.end_us && rewind.end_us >= last.start_us)
}

pub(super) fn check(_: &Case<'_>, index: &Index<'_>) -> Vec<Found> {
    let mut found = Found::new("what was deleted comes again after a rewind");
    for ((queue, _), message) in &index.messages {
        for rewind in index.rewinds_of(*queue) {
            let Some(sent_at_ms) = message.deliveries.first().map(|it| it.sent_at_ms) else {
                continue;
            };
            // Not one of an earlier life: since then it may have been in flight.
            let was_deleted = message.deletes.iter().any(|it| {
                let is_done = it.is_done(Kind::Delete) && it.end_us < rewind.start_us;
                let mut later = message.deliveries.iter();
                is_done && !later.any(|delivery| delivery.end_us > it.start_us)
            });
            let came = || {
                let mut deliveries = message.deliveries.iter();
                deliveries.any(|it| it.end_us > rewind.start_us)
            };
            let is_due = rewind.outcome == Outcome::Done && sent_at_ms >= rewind.sent_at_ms;
            if is_due && was_deleted && !came() {
                found.add(|| format!("{rewind:?}, and not again: {:?}", message.deletes));
            }
        }
    }
    vec![found]
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, SECOND, delete, receive, refused, unknown};
    use super::*;

    const AGAIN: &str = "what was deleted comes again after a rewind";
    const STAYS: &str = "an acknowledged delete stays deleted";

    /// All messages, received and deleted until 10.2 s, are rewound at 12 s and received and
    /// deleted once more.
    fn rewound() -> Example {
        let mut example = Example::new();
        example.events.push(rewind(12 * SECOND));
        for number in 1..=10 {
            let at_us = (12 + number) * SECOND;
            example.events.push(receive(number, 1, at_us));
            example.events.push(delete(number, 1, at_us + 100_000));
        }
        example
    }

    fn rewind(at_us: u64) -> Event {
        Event::new(Kind::Rewind, 0, at_us, at_us + 10_000)
    }

    #[test]
    fn messages_come_again_after_a_rewind_and_are_counted_anew() {
        assert_eq!(rewound().violations(), []);
    }

    #[test]
    fn a_message_that_does_not_come_again_is_found() {
        let mut example = rewound();
        let is_again = |event: &Event| event.number == 6 && event.start_us > 12 * SECOND;
        example.events.retain(|event| !is_again(event));
        assert_eq!(example.rules(), [AGAIN]);
        let rewind = example.events.iter_mut().find(|it| it.kind == Kind::Rewind);
        let rewind = rewind.unwrap();
        *rewind = unknown(*rewind);
        rewind.code = 1;
        example.disturbed = vec![(0, 30 * SECOND)];
        assert_eq!(example.violations(), [], "nobody knows what came of it");
    }

    #[test]
    fn what_was_sent_before_the_instant_asked_for_may_stay_away() {
        let mut example = rewound();
        let is_again = |event: &Event| event.number == 6 && event.start_us > 12 * SECOND;
        example.events.retain(|event| !is_again(event));
        let sent_at_ms = example.event(Kind::Receive, 7).sent_at_ms;
        let rewind = example.events.iter_mut().find(|it| it.kind == Kind::Rewind);
        rewind.unwrap().sent_at_ms = sent_at_ms;
        assert_eq!(example.violations(), []);
    }

    #[test]
    fn a_message_that_comes_again_without_a_rewind_is_found() {
        let mut example = rewound();
        example.events.retain(|event| event.kind != Kind::Rewind);
        assert!(!example.violations().is_empty());
        let mut example = rewound();
        let rewind = example.events.iter_mut().find(|it| it.kind == Kind::Rewind);
        let rewind = rewind.unwrap();
        *rewind = refused(*rewind, 408);
        assert!(!example.violations().is_empty());
    }

    #[test]
    fn a_message_that_comes_again_after_its_last_rewind_is_found() {
        let mut example = rewound();
        example.events.push(receive(6, 2, 29 * SECOND));
        assert_eq!(example.rules(), [STAYS]);
    }

    #[test]
    fn a_rewind_does_not_touch_what_is_in_flight() {
        let mut example = rewound();
        example.events.push(rewind(6_150_000));
        example.events.push(receive(6, 2, 6_160_000));
        assert!(!example.violations().is_empty());
    }

    /// A second rewind, to the last message, which the first one had brought back.
    fn rewound_twice(at_us: u64) -> Example {
        let mut example = rewound();
        let sent_at_ms = example.event(Kind::Receive, 10).sent_at_ms;
        let rewind = rewind(at_us);
        example.events.push(Event {
            sent_at_ms,
            ..rewind
        });
        example
    }

    #[test]
    fn what_was_brought_back_and_is_in_flight_at_the_next_rewind_may_stay_away() {
        assert_eq!(rewound_twice(22_050_000).violations(), []);
        assert_eq!(rewound_twice(22_090_000).violations(), [], "both at a time");
    }

    #[test]
    fn what_was_brought_back_and_deleted_before_the_next_rewind_comes_again() {
        assert_eq!(rewound_twice(22_200_000).rules(), [AGAIN]);
    }
}
