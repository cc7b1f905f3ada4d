//! A message whose delete was acknowledged never comes again.

use super::super::history::{Event, Kind, Outcome};
use super::index::{Index, Message};
use super::lives::lives;
use super::{Doubt, Found};

const RECEIPT_EXPIRED: u16 = 401;

pub(super) fn check(doubt: &Doubt, index: &Index<'_>) -> Vec<Found> {
    let mut stays = Found::new("an acknowledged delete stays deleted");
    let mut expired = Found::new("a receipt is valid as long as its visibility lasts");
    for ((queue, _), message) in &index.messages {
        for life in lives(index, *queue, message) {
            check_stays(&life, &mut stays);
            check_expired(doubt, &life, &mut expired);
        }
    }
    vec![stays, expired]
}

fn check_stays(message: &Message<'_>, found: &mut Found) {
    for delete in message
        .deletes
        .iter()
        .filter(|event| event.is_done(Kind::Delete))
    {
        let again = message.deliveries.iter().find(|delivery| {
            // A handle is worth nothing once its message was handed out again.
            delivery.receive_count > delete.receive_count || delivery.start_us > delete.end_us
        });
        if let Some(again) = again {
            found.add(|| format!("{delete:?}, and then {again:?}"));
        }
    }
}

fn check_expired(doubt: &Doubt, message: &Message<'_>, found: &mut Found) {
    let uses = || message.deletes.iter().chain(&message.changes);
    let expired =
        |event: &&&Event| event.code == RECEIPT_EXPIRED && event.outcome == Outcome::Refused;
    for event in uses().filter(expired) {
        let of_same = |other: &&&Event| other.receive_count == event.receive_count;
        let mut deliveries = message.deliveries.iter();
        let Some(delivery) =
            deliveries.find(|delivery| delivery.receive_count == event.receive_count)
        else {
            continue;
        };
        let valid_us = u64::from(delivery.timeout_ms) * 1_000;
        let is_early = event.end_us + super::EARLY_US < delivery.start_us + valid_us;
        let is_robbed = doubt.may_be_robbed(delivery, event.end_us);
        if is_early && !is_robbed && uses().filter(of_same).count() == 1 {
            found.add(|| format!("{event:?} of {delivery:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, SECOND, handled, receive, refused, unknown};
    use super::*;

    #[test]
    fn a_receipt_that_could_not_be_extended_too_early_is_found() {
        let mut example = Example::new();
        example.events.retain(|event| event.kind != Kind::Delete);
        let change = handled(Kind::Extend, 4, 1, 2 * SECOND);
        example.events.push(refused(change, RECEIPT_EXPIRED));
        let rule = "a receipt is valid as long as its visibility lasts";
        assert!(example.rules().contains(&rule), "{:?}", example.rules());
    }

    #[test]
    fn a_message_that_comes_after_its_delete_is_found() {
        let mut example = Example::new();
        example.events.push(receive(4, 2, 12 * SECOND));
        assert_eq!(example.rules(), ["an acknowledged delete stays deleted"]);
    }

    #[test]
    fn a_delete_by_the_handle_of_an_earlier_receive_is_found() {
        let mut example = Example::new();
        example.events.push(receive(4, 2, 12 * SECOND));
        let delete = example.event(Kind::Delete, 4);
        (delete.start_us, delete.end_us) = (13 * SECOND, 13 * SECOND + 1);
        assert_eq!(example.rules(), ["an acknowledged delete stays deleted"]);
    }

    #[test]
    fn a_message_whose_delete_is_unknown_may_come_again() {
        let mut example = Example::new();
        let delete = example.event(Kind::Delete, 4);
        *delete = unknown(*delete);
        delete.code = RECEIPT_EXPIRED;
        example.events.push(receive(4, 2, 12 * SECOND));
        assert_eq!(example.violations(), []);
    }

    #[test]
    fn a_receipt_that_expired_too_early_is_found() {
        let mut example = Example::new();
        let delete = example.event(Kind::Delete, 4);
        *delete = refused(*delete, RECEIPT_EXPIRED);
        assert_eq!(
            example.rules(),
            ["a receipt is valid as long as its visibility lasts"]
        );
        let delete = example.event(Kind::Delete, 4);
        (delete.start_us, delete.end_us) = (10 * SECOND, 10 * SECOND + 1);
        assert_eq!(example.violations(), []);
    }
}
