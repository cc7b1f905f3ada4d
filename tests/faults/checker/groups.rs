//! The messages of an ordered group are handed out one after the other, in the order of their ids.
//!
//! Before a message is handed out, each one before it in its group was deleted, or comes with it in
//! the same receive.

use std::collections::BTreeMap;

use super::super::history::{Event, Kind, Outcome};
use super::index::{Index, Message};
use super::{Case, Found};

pub(super) fn check(case: &Case<'_>, index: &Index<'_>) -> Vec<Found> {
    let mut found = Found::new("groups are received in order, one message after the other");
    let Some(groups) = case.groups else {
        return vec![found];
    };
    for group in by_group(groups.queue, groups.count, index).values() {
        let mut before: Vec<Earlier<'_>> = Vec::new();
        for message in group {
            for delivery in &message.deliveries {
                let passed = before.iter().find(|it| !it.lets_pass(delivery));
                if let Some(Earlier { message, .. }) = passed {
                    let open = message.deliveries.first();
                    found.add(|| format!("{delivery:?} before the end of {open:?}"));
                }
            }
            before.push(Earlier::new(message));
            // Whoever is gone before everything that follows stands in nobody's way.
            let next_us = message.deliveries.iter().map(|it| it.end_us).min();
            before.retain(|it| it.deleted_us >= next_us.unwrap_or(0));
        }
    }
    vec![found]
}

/// The messages of each group that were received, in the order of their ids.
fn by_group<'i, 'a>(
    queue: u16,
    count: u64,
    index: &'i Index<'a>,
) -> BTreeMap<u64, Vec<&'i Message<'a>>> {
    let mut groups: BTreeMap<u64, Vec<&Message<'_>>> = BTreeMap::new();
    for (_, message) in index.messages.range((queue, 0)..=(queue, u64::MAX)) {
        if let Some(first) = message.deliveries.first() {
            let group = groups.entry(first.number % count);
            group.or_default().push(message);
        }
    }
    groups
}

/// A message that is before others in its group.
struct Earlier<'m> {
    message: &'m Message<'m>,
    /// It may be gone since then.
    deleted_us: u64,
}

impl<'m> Earlier<'m> {
    fn new(message: &'m Message<'m>) -> Self {
        let deletes = message.deletes.iter();
        let done = deletes.filter(|it| it.kind == Kind::Delete && it.outcome != Outcome::Refused);
        Earlier {
            message,
            deleted_us: done.map(|it| it.start_us).min().unwrap_or(u64::MAX),
        }
    }

    fn lets_pass(&self, delivery: &Event) -> bool {
        let comes_along =
            |it: &&Event| (it.start_us, it.end_us) == (delivery.start_us, delivery.end_us);
        self.deleted_us < delivery.end_us || self.message.deliveries.iter().any(comes_along)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Groups;
    use super::super::example::{Example, SECOND, receive};
    use super::*;

    const RULE: &str = "groups are received in order, one message after the other";

    /// All messages are of one group.
    fn grouped() -> Example {
        let mut example = Example::new();
        example.groups = Some(Groups { queue: 0, count: 1 });
        example
    }

    #[test]
    fn messages_that_come_one_after_the_other_are_in_order() {
        assert_eq!(grouped().violations(), []);
    }

    #[test]
    fn messages_that_come_together_are_in_order() {
        let mut example = grouped();
        let (start_us, end_us) = {
            let first = example.event(Kind::Receive, 4);
            (first.start_us, first.end_us)
        };
        let second = example.event(Kind::Receive, 5);
        second.visible_at_ms -= (second.start_us - start_us) / 1_000;
        (second.start_us, second.end_us) = (start_us, end_us);
        (second.sent_at_ms, example.event(Kind::Send, 5).start_us) = (second.sent_at_ms, 0);
        assert!(!example.rules().contains(&RULE), "{:?}", example.rules());
    }

    #[test]
    fn a_message_that_comes_while_the_one_before_is_in_flight_is_found() {
        let mut example = grouped();
        let next = *example.event(Kind::Receive, 5);
        let delete = example.event(Kind::Delete, 4);
        (delete.start_us, delete.end_us) = (next.end_us + 1, next.end_us + 2);
        assert_eq!(example.rules(), [RULE]);
        example.groups = Some(Groups { queue: 0, count: 2 });
        assert_eq!(example.violations(), [], "they are of two groups");
    }

    #[test]
    fn a_message_that_overtakes_one_that_lapsed_is_found() {
        let mut example = grouped();
        example.remove(Kind::Delete, 4);
        example.events.push(receive(4, 2, 12 * SECOND));
        assert_eq!(example.rules(), [RULE]);
    }
}
