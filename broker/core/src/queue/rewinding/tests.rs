//! Goal: what a rewind leaves to later entries is brought back once and in bounded steps, whatever
//! is deleted, dropped and restored meanwhile. Method: a broker beside one that is frozen and
//! restored after each entry, compared by effects, replies and state hash.

use std::collections::BTreeMap;

use bytes::Bytes;
use sampan_protocol::{
    BatchBuilder, ErrorCode, NewMessage, QueueAttributes, QueueCounts, QueueId, ReceiptHandle,
};

use super::*;
use crate::limits::KEPT_RUN_COUNT_MAX;
use crate::{Broker, Command, Entry, Need, Reply, RowKey};

const QUEUE: QueueId = QueueId(1);
const START: u64 = 1_000_000;
const COUNT: u64 = 117 * 256;

/// Two brokers that are to do the same.
struct Pair {
    plain: Broker,
    stored: Broker,
    rows: BTreeMap<RowKey, Vec<u8>>,
    effects: Vec<Effect>,
}

impl Pair {
    /// With a queue that keeps what is deleted for an hour.
    fn new() -> Self {
        let mut pair = Pair {
            plain: Broker::new(),
            stored: Broker::new(),
            rows: BTreeMap::new(),
            effects: Vec::new(),
        };
        let create = Command::QueueCreate {
            queue: QUEUE,
            name: "orders".to_owned(),
            attributes: attributes(3_600_000),
            secret: 9,
        };
        assert_eq!(pair.apply(Some(create)), Some(Reply::Done));
        pair
    }

    /// One entry; the stored broker comes from its rows afterwards.
    fn apply(&mut self, command: Option<Command>) -> Option<Reply> {
        let entry = Entry {
            stamp: Timestamp(START),
            commands: command.into_iter().collect(),
            ..Entry::default()
        };
        let (mut effects, mut replies) = (Vec::new(), Vec::new());
        self.plain
            .apply(&entry, &mut effects, &mut replies)
            .unwrap();
        let (mut others, mut other_replies) = (Vec::new(), Vec::new());
        while let Err(Need(keys)) = self.stored.apply(&entry, &mut others, &mut other_replies) {
            for key in keys {
                self.stored.supply(key, &self.rows[&key]).unwrap();
            }
        }
        assert_eq!((&effects, &replies), (&others, &other_replies));
        assert_eq!(self.plain.state_hash(), self.stored.state_hash());
        self.store();
        self.effects.extend(effects);
        replies.pop()
    }

    fn store(&mut self) {
        for (key, row) in self.stored.freeze().into_rows() {
            match row {
                Some(row) => drop(self.rows.insert(key, row)),
                None => drop(self.rows.remove(&key)),
            }
        }
        let rows = self.rows.iter().filter(|(key, _)| !key.is_paged());
        let rows = rows.map(|(key, row)| (*key, Bytes::copy_from_slice(row)));
        self.stored = Broker::restore(rows).unwrap();
        assert_eq!(self.plain.counts(QUEUE), self.stored.counts(QUEUE));
        assert_eq!(self.plain.next_deadline(), self.stored.next_deadline());
    }

    fn counts(&self) -> QueueCounts {
        self.plain.counts(QUEUE).unwrap()
    }

    fn send(&mut self, count: u64) {
        let mut builder = BatchBuilder::new();
        for _ in 0..count {
            let message = NewMessage {
                body: Bytes::from_static(b"m"),
                ..NewMessage::default()
            };
            builder.push(message).unwrap();
        }
        let send = Command::Send {
            queue: QUEUE,
            producer: None,
            batch: builder.finish(),
        };
        assert!(matches!(self.apply(Some(send)), Some(Reply::Sent(_))));
    }

    fn receive(&mut self) -> Vec<(u64, ReceiptHandle)> {
        let receive = Command::Receive {
            queue: QUEUE,
            count_max: 256,
            len_max: 0,
            visibility_timeout_ms: Some(3_600_000),
        };
        let Some(Reply::Received(deliveries)) = self.apply(Some(receive)) else {
            panic!("not received")
        };
        let pairs = deliveries.iter();
        pairs.map(|it| (it.id.0, it.handle)).collect()
    }

    fn delete(&mut self, handles: impl IntoIterator<Item = ReceiptHandle>) {
        let handles = handles.into_iter().collect();
        let delete = Command::Delete {
            queue: QUEUE,
            handles,
        };
        let done = HandleResults {
            failures: Vec::new(),
        };
        assert_eq!(self.apply(Some(delete)), Some(Reply::Handles(done)));
    }

    fn rewind(&mut self) -> Reply {
        let to = Timestamp(START);
        self.apply(Some(Command::Rewind { queue: QUEUE, to }))
            .unwrap()
    }

    fn set(&mut self, rewind_ms: u64) {
        let attributes = attributes(rewind_ms);
        let set = Command::QueueSet {
            queue: QUEUE,
            attributes,
        };
        assert_eq!(self.apply(Some(set)), Some(Reply::Done));
    }

    fn settle(&mut self) {
        let is_due = |at: Timestamp| at <= Timestamp(START);
        while self.plain.next_deadline().is_some_and(is_due) {
            self.apply(None);
        }
    }

    fn removed(&mut self) -> u64 {
        let effects = std::mem::take(&mut self.effects).into_iter();
        let removed = effects.map(|effect| match effect {
            Effect::Removed { count, .. } => count,
            _ => 0,
        });
        removed.sum()
    }

    /// All but the last of [`COUNT`] messages are deleted.
    fn with_deleted() -> (Self, ReceiptHandle) {
        let mut pair = Pair::new();
        let mut last = None;
        for _ in 0..COUNT / 256 {
            pair.send(256);
            let mut received = pair.receive();
            if let Some(before) = last.take() {
                pair.delete([before]);
            }
            last = received.pop().map(|(_, handle)| handle);
            pair.delete(received.into_iter().map(|(_, handle)| handle));
        }
        let counts = pair.counts();
        assert_eq!((counts.rewindable, counts.in_flight), (COUNT - 1, 1));
        (pair, last.unwrap())
    }
}

fn attributes(rewind_ms: u64) -> QueueAttributes {
    QueueAttributes {
        rewind_ms,
        ..QueueAttributes::default()
    }
}

fn refused(reply: &Reply) -> Option<ErrorCode> {
    match reply {
        Reply::Refused(refusal) => Some(refusal.code),
        _ => None,
    }
}

#[test]
fn what_was_deleted_to_the_end_comes_back_at_once_however_much_it_is() {
    let (mut pair, last) = Pair::with_deleted();
    pair.delete([last]);
    let kept = pair.rows.keys().filter(|key| key.kind == RowKey::KEPT);
    assert_eq!(kept.count(), 1, "one run");
    assert_eq!(pair.rewind(), Reply::Rewound(COUNT));
    let counts = pair.counts();
    assert_eq!((counts.ready, counts.rewindable), (COUNT, 0));
    assert_eq!(pair.plain.resident_page_count(), 0);
    assert_eq!(pair.removed(), 0);
}

#[test]
fn what_is_deleted_while_others_come_back_is_kept_for_the_next_rewind() {
    let (mut pair, last) = Pair::with_deleted();
    assert_eq!(pair.rewind(), Reply::Rewound(COUNT - 1));
    assert_eq!(pair.counts().ready, 0);
    let (mut entry_count, mut deleted) = (0, 0);
    while pair.counts().ready + deleted < COUNT - 1 {
        // The first step was that of this entry.
        let busy = pair.rewind();
        let has_more = pair.counts().ready + deleted < COUNT - 1;
        let code = has_more.then_some(ErrorCode::QueueBusy);
        if has_more {
            assert_eq!(refused(&busy), code);
        } else {
            break;
        }
        let received = pair.receive();
        let (first, _) = received[0];
        assert_eq!(first, deleted + 1);
        deleted += received.len() as u64;
        pair.delete(received.into_iter().map(|(_, handle)| handle));
        entry_count += 1;
        if entry_count == 1 {
            pair.delete([last]);
        }
        assert!(entry_count < 10);
    }
    assert!(deleted > 0, "it took several entries");
    pair.settle();
    while pair.counts().ready > 0 {
        let received = pair.receive();
        pair.delete(received.into_iter().map(|(_, handle)| handle));
    }
    assert_eq!(pair.counts().rewindable, COUNT);
    assert_eq!(pair.rewind(), Reply::Rewound(COUNT));
    assert_eq!(pair.counts().ready, COUNT);
    assert_eq!(pair.removed(), 0);
}

#[test]
fn a_queue_that_stops_keeping_still_gets_what_was_rewound() {
    let (mut pair, last) = Pair::with_deleted();
    assert_eq!(pair.rewind(), Reply::Rewound(COUNT - 1));
    pair.delete([last]);
    assert!(pair.counts().rewindable > 1);
    pair.set(0);
    pair.set(3_600_000);
    pair.settle();
    let counts = pair.counts();
    assert_eq!((counts.ready, counts.rewindable), (COUNT - 1, 0));
    assert_eq!(pair.removed(), 1);
}

#[test]
fn a_purge_takes_what_is_kept_and_what_comes_back() {
    let (mut pair, _) = Pair::with_deleted();
    assert_eq!(pair.rewind(), Reply::Rewound(COUNT - 1));
    pair.send(1);
    let ready = pair.counts().ready;
    assert!((1..COUNT).contains(&ready));
    let purge = pair.apply(Some(Command::Purge { queue: QUEUE }));
    let Some(Reply::Purged(count)) = purge else {
        panic!("{purge:?}")
    };
    assert!(count < COUNT, "what was still to come back does not count");
    assert_eq!(pair.counts().rewindable, 0);
    pair.settle();
    assert_eq!(pair.removed(), COUNT + 1);
    assert_eq!(pair.counts(), QueueCounts::default());
    assert!(pair.rows.keys().all(|key| key.kind != RowKey::KEPT));
}

#[test]
fn a_run_too_many_is_not_held_and_one_that_joins_others_is() {
    let mut kept = Kept::new(KeptState::new());
    for place in 0..KEPT_RUN_COUNT_MAX as u64 {
        assert!(kept.hold(1 + place * 2, 2 + place * 2));
    }
    let end = 1 + KEPT_RUN_COUNT_MAX as u64 * 2;
    assert!(!kept.hold(end + 1, end + 2));
    assert!(kept.hold(2, 3));
    assert_eq!(kept.run_count(), KEPT_RUN_COUNT_MAX - 1);
    assert!(kept.hold(end + 1, end + 2));
    assert_eq!(kept.message_count(), KEPT_RUN_COUNT_MAX as u64 + 2);
    assert_eq!(kept.lowest_held(0, u64::MAX), Some(1));
    assert_eq!(kept.let_go(1, 3), 2);
    assert_eq!(kept.lowest_held(0, u64::MAX), Some(3));
    assert_eq!(kept.row_numbers().find(|first| *first == 2), None);
}
