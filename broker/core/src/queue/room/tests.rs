//! Goal: what one send gives up is bounded, and nothing is given up in vain. Method: queues that
//! are over a limit by much, an outbox that is full, and pages that are not in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use sampan_protocol::{
    BatchBuilder, ErrorCode, Handles, MessageBatch, NewMessage, QueueAttributes, QueueCounts,
    QueueId, Timestamp, WhenFull,
};

use crate::limits::{OUTBOX_COUNT_MAX, OVERFLOW_COUNT_MAX, PAGE_COUNT};
use crate::{Broker, Command, Delivery, Entry, Fate, Need, Reply, RowKey};

const QUEUE: QueueId = QueueId(1);
const DEAD_LETTERS: QueueId = QueueId(2);

fn attributes(message_count_max: u64) -> QueueAttributes {
    QueueAttributes {
        dead_letter_queue: DEAD_LETTERS.0,
        when_full: WhenFull::DropOldestToDeadLetter,
        message_count_max,
        rewind_ms: 60_000,
        ..QueueAttributes::default()
    }
}

fn apply(broker: &mut Broker, command: Command) -> Reply {
    let entry = Entry {
        stamp: Timestamp(1_000),
        commands: vec![command],
        ..Entry::default()
    };
    let (mut effects, mut replies) = (Vec::new(), Vec::new());
    broker.apply(&entry, &mut effects, &mut replies).unwrap();
    replies.remove(0)
}

/// A queue with so many messages of ten bytes.
fn broker(count: u64) -> Broker {
    let mut broker = Broker::new();
    let create = Command::QueueCreate {
        queue: QUEUE,
        name: "orders".to_owned(),
        attributes: attributes(1_000_000),
        secret: 9,
    };
    assert_eq!(apply(&mut broker, create), Reply::Done);
    for first in (0..count).step_by(256) {
        let sent = send(&mut broker, (count - first).min(256), 10);
        assert!(matches!(sent, Reply::Sent(_)), "{sent:?}");
    }
    broker
}

fn batch(count: u64, len: usize) -> MessageBatch {
    let mut builder = BatchBuilder::new();
    for _ in 0..count {
        let message = NewMessage {
            body: Bytes::from(vec![b'm'; len]),
            ..NewMessage::default()
        };
        builder.push(message).unwrap();
    }
    builder.finish()
}

fn send(broker: &mut Broker, count: u64, len: usize) -> Reply {
    let send = Command::Send {
        queue: QUEUE,
        producer: None,
        batch: batch(count, len),
    };
    apply(broker, send)
}

fn set(broker: &mut Broker, attributes: QueueAttributes) {
    let queue = QUEUE;
    let set = Command::QueueSet { queue, attributes };
    assert_eq!(apply(broker, set), Reply::Done);
}

fn counts(broker: &Broker) -> QueueCounts {
    broker.counts(QUEUE).unwrap()
}

#[track_caller]
fn assert_full(broker: &mut Broker, count: u64, len: usize) {
    let before = counts(broker);
    let reply = send(broker, count, len);
    let is_full = matches!(&reply, Reply::Refused(refusal) if refusal.code == ErrorCode::QueueFull);
    assert!(is_full, "{reply:?}");
    assert_eq!(counts(broker), before);
}

#[test]
fn one_send_gives_up_so_many_messages_and_not_one_more() {
    let mut broker = broker(OVERFLOW_COUNT_MAX + 10);
    set(&mut broker, attributes(10));
    assert_full(&mut broker, 1, 10);
    set(&mut broker, attributes(11));
    assert!(matches!(send(&mut broker, 1, 10), Reply::Sent(_)));
    let shown = counts(&broker);
    assert_eq!((shown.ready, shown.moving), (11, OVERFLOW_COUNT_MAX));
}

#[test]
fn so_it_is_with_bytes() {
    let mut broker = broker(OVERFLOW_COUNT_MAX + 100);
    let bytes = (OVERFLOW_COUNT_MAX + 100) * 10;
    let limited = QueueAttributes {
        byte_count_max: bytes,
        ..attributes(1_000_000)
    };
    set(&mut broker, limited);
    let len = usize::try_from(OVERFLOW_COUNT_MAX * 10).unwrap();
    assert_full(&mut broker, 1, len + 1);
    assert!(matches!(send(&mut broker, 1, len), Reply::Sent(_)));
    let shown = counts(&broker);
    assert_eq!((shown.ready, shown.moving), (101, OVERFLOW_COUNT_MAX));
    assert_eq!(shown.bytes, bytes + OVERFLOW_COUNT_MAX * 10);
}

#[test]
fn a_full_outbox_makes_a_full_queue_refuse_until_letters_have_arrived() {
    let mut broker = broker(256);
    set(&mut broker, attributes(256));
    for _ in 0..OUTBOX_COUNT_MAX / 250 {
        assert!(matches!(send(&mut broker, 250, 1), Reply::Sent(_)));
    }
    assert_eq!(counts(&broker).moving, OUTBOX_COUNT_MAX);
    assert_full(&mut broker, 1, 1);
    let settle = Command::Settle {
        queue: QUEUE,
        fates: vec![(1, Fate::Delivered)],
    };
    assert_eq!(apply(&mut broker, settle), Reply::Done);
    assert_full(&mut broker, 2, 1);
    assert!(matches!(send(&mut broker, 1, 1), Reply::Sent(_)));
}

/// Four messages on each of three pages came back, and nothing else is there.
fn sparse() -> Broker {
    let mut broker = broker(3 * PAGE_COUNT);
    loop {
        let receive = Command::Receive {
            queue: QUEUE,
            count_max: 256,
            len_max: 0,
            visibility_timeout_ms: None,
        };
        let Reply::Received(deliveries) = apply(&mut broker, receive) else {
            panic!("nothing was received")
        };
        let (back, gone): (Vec<_>, Vec<_>) = deliveries
            .iter()
            .partition(|delivery| delivery.id.0 % PAGE_COUNT < 5 && delivery.id.0 % PAGE_COUNT > 0);
        let handles = |deliveries: Vec<&Delivery>| -> Handles {
            deliveries.iter().map(|delivery| delivery.handle).collect()
        };
        let (queue, is_last) = (QUEUE, deliveries.len() < 256);
        let delete = Command::Delete {
            queue,
            handles: handles(gone),
        };
        apply(&mut broker, delete);
        for delivery in back {
            let handles = [delivery.handle].into_iter().collect();
            apply(&mut broker, Command::Release { queue, handles });
        }
        if is_last {
            return broker;
        }
    }
}

/// Applies the commands to a broker without a page in memory, with those pages that it asks for.
fn apply_evicted(broker: &mut Broker, commands: Vec<Command>) -> usize {
    let rows: BTreeMap<RowKey, Option<Vec<u8>>> = broker.freeze().into_rows().collect();
    broker.checkpointed_with(0);
    let entry = Entry {
        stamp: Timestamp(1_000),
        commands,
        ..Entry::default()
    };
    let (mut effects, mut replies) = (Vec::new(), Vec::new());
    let Err(Need(keys)) = broker.apply(&entry, &mut effects, &mut replies) else {
        panic!("no page was evicted")
    };
    for key in &keys {
        let row = rows[key].as_deref().unwrap();
        broker.supply(*key, row).unwrap();
    }
    broker.apply(&entry, &mut effects, &mut replies).unwrap();
    let is_refused = |reply: &Reply| matches!(reply, Reply::Refused(_));
    assert!(!replies.iter().any(is_refused), "{replies:?}");
    keys.len()
}

fn send_command(count: u64) -> Command {
    Command::Send {
        queue: QUEUE,
        producer: None,
        batch: batch(count, 10),
    }
}

#[test]
fn every_page_that_the_receives_and_sends_of_an_entry_touch_is_named_before() {
    let mut broker = sparse();
    assert_eq!(counts(&broker).ready, 12);
    set(&mut broker, attributes(12));
    let receive = Command::Receive {
        queue: QUEUE,
        count_max: 3,
        len_max: 0,
        visibility_timeout_ms: None,
    };
    // Three are received; each send gives up two more: the last one is on the third page.
    let commands = vec![send_command(2), receive, send_command(2), send_command(2)];
    assert_eq!(apply_evicted(&mut broker, commands), 3);
    let shown = counts(&broker);
    assert_eq!((shown.ready, shown.in_flight, shown.moving), (9, 3, 6));
}

#[test]
fn what_a_rewind_brings_back_and_a_change_of_limits_count_for_the_send_behind_them() {
    let mut broker = sparse();
    let rewind = Command::Rewind {
        queue: QUEUE,
        to: Timestamp(1_000),
    };
    let limited = Command::QueueSet {
        queue: QUEUE,
        attributes: attributes(12),
    };
    // All of the last page but what came back is fresh again, and behind the twelve.
    let commands = vec![rewind, limited, send_command(1)];
    assert_eq!(apply_evicted(&mut broker, commands), 3);
    let shown = counts(&broker);
    assert_eq!((shown.ready, shown.moving), (12, PAGE_COUNT - 4 + 1));
}
