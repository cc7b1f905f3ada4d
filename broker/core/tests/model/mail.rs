//! Messages between queues as one would write them in an hour, and a relay that forgets, repeats
//! and is late.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use sampan_core::{Arrival, Command, Fate, Outgoing, Reply};
use sampan_protocol::{
    BatchBuilder, DeathReason, ErrorCode, GroupMode, MessageBatch, NewMessage, QueueId, Timestamp,
};

use crate::naive::{Naive, State, assert_refused};

/// Stands for a number that the broker is about to give.
const NEW: u64 = u64::MAX;

#[derive(Clone, Debug, Default)]
pub(crate) struct Mail {
    /// Messages on their way and the numbers of their letters; 0: nobody takes it.
    pub(crate) outbox: BTreeMap<u64, u64>,
    /// What the broker gave up in the entry at hand, and the model has not accounted for yet.
    pub(crate) given_up: BTreeMap<u64, Outgoing>,
    /// The numbers of letters that were not given up, but are redriven.
    redriven: BTreeSet<u64>,
    /// Numbers that came.
    arrived: BTreeSet<u64>,
}

impl Mail {
    /// Whether the broker gave the message up in the entry at hand, but not to make room.
    pub(crate) fn is_given_up(&self, id: u64) -> bool {
        let letter = self.given_up.get(&id);
        let reason = letter.and_then(|letter| letter.reason);
        reason.is_some_and(|reason| reason != DeathReason::Overflow)
    }

    /// Whether it did so to make room.
    pub(crate) fn gave_way(&self, id: u64) -> bool {
        let letter = self.given_up.get(&id);
        letter.is_some_and(|letter| letter.reason == Some(DeathReason::Overflow))
    }
}

impl Naive {
    pub(crate) fn take_note(&mut self, letters: &[Outgoing]) {
        for letter in letters {
            // What came back in the entry may be on its way anew.
            let known = self.mail.outbox.get(&letter.id.0);
            let was_redriven =
                |number: &u64| self.mail.redriven.contains(number) && *number != letter.number;
            if known.is_none_or(was_redriven) {
                self.mail.given_up.insert(letter.id.0, *letter);
                if letter.reason.is_none() {
                    self.mail.redriven.insert(letter.number);
                }
            }
        }
    }

    pub(crate) fn give_up(&mut self, id: u64, reason: DeathReason) {
        let letter = self.mail.given_up.remove(&id);
        let letter = letter.unwrap_or_else(|| panic!("{id} was not given up"));
        let message = &self.messages[&id];
        assert_eq!(
            (letter.reason, letter.dead_at),
            (Some(reason), Timestamp(self.now))
        );
        assert_eq!(letter.receive_count, message.receive_count);
        if reason == DeathReason::Age {
            let after = self.attributes.dead_letter_after_ms;
            assert!(
                after > 0 && message.sent_at + after <= self.now,
                "{id} is not old"
            );
        }
        let number = letter.number;
        self.gaining(|naive| {
            naive.leave(id);
            naive.enter(id, State::Moving { number });
        });
    }

    /// What was ready and is given up can only be too old.
    pub(crate) fn give_up_ready(&mut self) {
        let given_up: Vec<u64> = self.mail.given_up.keys().copied().collect();
        for id in given_up {
            let message = self.messages.get(&id);
            let state = message.map(|message| message.state);
            if self.mail.is_given_up(id) && matches!(state, Some(State::Ready { .. })) {
                self.give_up(id, DeathReason::Age);
            }
        }
        let oldest = self.oldest_ready();
        oldest
            .into_iter()
            .for_each(|sent_at| self.check_age(sent_at));
    }

    pub(crate) fn check_not_too_old(&self, id: u64) {
        self.check_age(self.messages[&id].sent_at);
    }

    fn check_age(&self, sent_at: u64) {
        let after = self.attributes.dead_letter_after_ms;
        let latest = sent_at + after + self.tolerance();
        assert!(
            after == 0 || latest >= self.now,
            "should have been given up"
        );
    }

    pub(crate) fn readdress(&mut self) {
        let numbers = self.mail.outbox.values_mut();
        numbers
            .filter(|number| **number == 0)
            .for_each(|number| *number = NEW);
    }

    pub(crate) fn settle(&mut self, fates: &[(u64, Fate)]) {
        for (number, fate) in fates {
            let mut outbox = self.mail.outbox.iter();
            let Some((&id, _)) = outbox.find(|(_, known)| *known == number) else {
                continue;
            };
            match fate {
                Fate::Undeliverable if self.mail.redriven.contains(number) => self.come_home(id),
                Fate::Undeliverable => drop(self.mail.outbox.insert(id, 0)),
                Fate::Delivered => {
                    self.drop_message(id);
                    assert!(self.removed.remove(&id), "the body of {id} was not removed");
                }
            }
        }
    }

    pub(crate) fn deliver(&mut self, arrivals: &[Arrival], batch: &MessageBatch, reply: &Reply) {
        let is_new = |arrival: &&Arrival| {
            self.mail
                .arrived
                .last()
                .is_none_or(|highest| arrival.number > *highest)
        };
        let new: Vec<Arrival> = arrivals.iter().filter(is_new).copied().collect();
        if !new.is_empty() && self.attributes.is_paused {
            return assert_refused(reply, ErrorCode::QueueBusy);
        }
        let records = batch.records().zip(arrivals);
        let stored = records.filter(|(_, arrival)| new.contains(arrival));
        let bytes = stored.map(|(record, _)| record.content_len() as u64).sum();
        let Some(surplus) = self.surplus(new.len() as u64, bytes, reply) else {
            return assert_refused(reply, ErrorCode::QueueFull);
        };
        assert_eq!(*reply, Reply::Done);
        self.give_way(surplus);
        for (arrival, (record, start)) in arrivals.iter().zip(batch.messages(0)) {
            if !new.contains(arrival) {
                continue;
            }
            assert!(self.mail.arrived.insert(arrival.number));
            let state = State::Ready { is_fresh: true };
            let key = batch.group_key(&record, start);
            let has_groups = self.attributes.groups != GroupMode::Off;
            let next = match has_groups && !key.is_empty() {
                true => &mut self.next_grouped,
                false => &mut self.next,
            };
            let id = *next;
            *next += 1;
            self.store(id, record.content_len() as u64, key, state);
        }
    }

    pub(crate) fn compare_mail(&mut self, letters: &[Outgoing], counts: (u64, u64)) {
        assert!(self.mail.given_up.is_empty(), "given up without a reason");
        for letter in letters {
            let number = self
                .mail
                .outbox
                .get_mut(&letter.id.0)
                .expect("it is on its way");
            if *number == NEW {
                *number = letter.number;
            }
            assert_eq!(*number, letter.number);
        }
        let nobodys = self
            .mail
            .outbox
            .values()
            .filter(|number| **number == 0)
            .count();
        let moving = self.mail.outbox.len() - nobodys;
        assert_eq!(letters.len(), moving);
        assert_eq!(counts, (moving as u64, nobodys as u64));
        assert!(letters.is_sorted_by_key(|letter| letter.number));
    }
}

/// Delivers in the order of the numbers, as long as nothing went wrong; whatever it once proposed
/// may come again.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    proposed: Vec<Command>,
    delivered: Vec<u64>,
}

impl Relay {
    pub(crate) fn command(
        &mut self,
        random: &mut StdRng,
        (from, to): (QueueId, QueueId),
        letters: &[Outgoing],
        source: &Naive,
    ) -> Option<Command> {
        match random.random_range(0..6) {
            0 | 1 if !letters.is_empty() => {
                let count = random.random_range(1..=letters.len());
                let command = deliver((from, to), &letters[..count], source);
                self.proposed.push(command.clone());
                Some(command)
            }
            2 => self.proposed.choose(random).cloned(),
            3 | 4 => {
                let first = letters.first().filter(|_| random.random_ratio(1, 8));
                let lost = first.filter(|letter| !self.was_proposed(letter.number));
                let mut fates: Vec<(u64, Fate)> = lost
                    .map(|letter| (letter.number, Fate::Undeliverable))
                    .into_iter()
                    .collect();
                let delivered = self.delivered.iter().rev().take(200);
                fates.extend(delivered.map(|number| (*number, Fate::Delivered)));
                Some(Command::Settle { queue: from, fates })
            }
            _ => None,
        }
    }

    fn was_proposed(&self, number: u64) -> bool {
        self.proposed.iter().any(|command| match command {
            Command::Deliver { arrivals, .. } => arrivals.iter().any(|it| it.number == number),
            _ => false,
        })
    }

    pub(crate) fn on_delivered(&mut self, arrivals: &[Arrival], reply: &Reply) {
        if *reply == Reply::Done {
            self.delivered
                .extend(arrivals.iter().map(|arrival| arrival.number));
        }
    }
}

fn deliver((from, to): (QueueId, QueueId), letters: &[Outgoing], source: &Naive) -> Command {
    let mut builder = BatchBuilder::new();
    for letter in letters {
        let message = &source.messages[&letter.id.0];
        let len = usize::try_from(message.content_len).unwrap() - message.group_key.len();
        let message = NewMessage {
            body: Bytes::from(vec![7; len]),
            group_key: Bytes::from(message.group_key.clone()),
            ..NewMessage::default()
        };
        builder.push(message).unwrap();
    }
    let arrival = |letter: &Outgoing| Arrival {
        number: letter.number,
        sent_at: Timestamp(source.messages[&letter.id.0].sent_at),
    };
    Command::Deliver {
        queue: to,
        source: from,
        arrivals: letters.iter().map(arrival).collect(),
        batch: builder.finish(),
    }
}
