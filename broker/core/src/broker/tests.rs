//! What a set costs in memory and in work per entry, counted in things held, not in bytes.

use bytes::Bytes;
use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::limits::IN_FLIGHT_COUNT_MAX;
use sampan_protocol::{BatchBuilder, ErrorCode, MessageBatch, MessageId, NewMessage, PeekOf};

use super::*;
use crate::limits::{DUE_WORK_MAX, PAGE_COUNT, PEEK_PAGE_COUNT_MAX};
use crate::{Command, Effect, Entry, Peek, Reply};

mod calendar;

const QUEUE: QueueId = QueueId(1);
const BATCH: u64 = BATCH_COUNT_MAX as u64;

fn broker() -> Broker {
    let mut broker = Broker::new();
    let (name, attributes) = ("orders".to_owned(), QueueAttributes::default());
    apply(
        &mut broker,
        1_000,
        Command::QueueCreate {
            queue: QUEUE,
            name,
            attributes,
            secret: 9,
        },
    );
    broker
}

fn apply(broker: &mut Broker, stamp: u64, command: Command) -> Reply {
    let entry = Entry {
        stamp: Timestamp(stamp),
        commands: vec![command],
        ..Entry::default()
    };
    let (mut effects, mut replies) = (Vec::new(), Vec::new());
    broker.apply(&entry, &mut effects, &mut replies).unwrap();
    replies.remove(0)
}

fn tick(broker: &mut Broker, stamp: u64) -> Vec<Effect> {
    let (mut effects, mut replies) = (Vec::new(), Vec::new());
    let entry = Entry {
        stamp: Timestamp(stamp),
        commands: Vec::new(),
        ..Entry::default()
    };
    broker.apply(&entry, &mut effects, &mut replies).unwrap();
    effects
}

fn batch(delay_ms: Option<u64>) -> MessageBatch {
    let mut builder = BatchBuilder::new();
    for _ in 0..BATCH {
        let message = NewMessage {
            body: Bytes::from_static(b"m"),
            delay_ms,
            ..NewMessage::default()
        };
        builder.push(message).unwrap();
    }
    builder.finish()
}

fn receive(broker: &mut Broker, stamp: u64) -> Reply {
    let receive = Command::Receive {
        queue: QUEUE,
        count_max: 256,
        len_max: 0,
        visibility_timeout_ms: Some(60_000),
    };
    apply(broker, stamp, receive)
}

fn send_all(broker: &mut Broker, count: u64) {
    let batch = batch(None);
    for number in 0..count.div_ceil(BATCH) {
        let send = Command::Send {
            queue: QUEUE,
            producer: None,
            batch: batch.clone(),
        };
        assert!(matches!(
            apply(broker, 1_000 + number, send),
            Reply::Sent(_)
        ));
    }
}

#[test]
fn two_million_ready_messages_cost_no_memory() {
    let mut broker = broker();
    send_all(&mut broker, 2_000_000);
    assert!(broker.receivable_count(QUEUE) >= 2_000_000);
    assert!(broker.queue(QUEUE).unwrap().held_count() < 20);
    assert!(broker.freeze().row_count() < 20);
}

#[test]
fn a_million_lapsed_messages_are_two_hundred_and_fifty_pages() {
    let mut broker = broker();
    send_all(&mut broker, 1_000_000);
    for _ in 0..3_900 {
        assert!(matches!(receive(&mut broker, 10_000), Reply::Received(_)));
    }
    while broker.counts(QUEUE).unwrap().in_flight > 0 {
        tick(&mut broker, 80_000);
    }
    assert!(broker.resident_page_count() as u64 <= 1_000_000 / PAGE_COUNT + 1);
    drop(broker.freeze());
    broker.checkpointed_with(10);
    assert_eq!(broker.resident_page_count(), 10);
    assert!(broker.queue(QUEUE).unwrap().held_count() < 30);
}

#[test]
fn one_entry_does_a_bounded_amount_of_due_work() {
    let mut broker = broker();
    send_all(&mut broker, 3 * DUE_WORK_MAX);
    let receives = 3 * DUE_WORK_MAX / BATCH;
    (0..receives).for_each(|_| drop(receive(&mut broker, 10_000)));
    let in_flight = |broker: &Broker| broker.counts(QUEUE).unwrap().in_flight;
    let before = in_flight(&broker);
    tick(&mut broker, 100_000);
    let lapsed = before - in_flight(&broker);
    assert!(
        (DUE_WORK_MAX..DUE_WORK_MAX + 64).contains(&lapsed),
        "{lapsed}"
    );
    assert!(broker.next_deadline().unwrap() <= broker.now());
    tick(&mut broker, 100_000);
    tick(&mut broker, 100_000);
    assert_eq!(in_flight(&broker), 0);
    assert!(broker.next_deadline().unwrap() > broker.now());
}

#[test]
fn a_full_queue_gives_fewer_and_then_refuses_to_give() {
    let mut broker = broker();
    send_all(&mut broker, IN_FLIGHT_COUNT_MAX + BATCH);
    let mut given = 0;
    while given < IN_FLIGHT_COUNT_MAX {
        let Reply::Received(deliveries) = receive(&mut broker, 10_000) else {
            panic!("refused")
        };
        given += deliveries.len() as u64;
    }
    assert_eq!(given, IN_FLIGHT_COUNT_MAX);
    let Reply::Refused(refusal) = receive(&mut broker, 10_000) else {
        panic!("given")
    };
    assert_eq!(refusal.code, ErrorCode::TooManyInFlight);
}

#[test]
fn a_batch_that_would_pass_the_limit_of_delayed_messages_is_refused_whole() {
    let mut broker = broker();
    let batch = batch(Some(5_000));
    let delayed_count_max = 20 * BATCH - 1;
    let attributes = QueueAttributes {
        delayed_count_max,
        ..QueueAttributes::default()
    };
    let set = Command::QueueSet {
        queue: QUEUE,
        attributes,
    };
    assert_eq!(apply(&mut broker, 1_000, set), Reply::Done);
    let mut sent = 0;
    while sent + BATCH <= delayed_count_max {
        let send = Command::Send {
            queue: QUEUE,
            producer: None,
            batch: batch.clone(),
        };
        assert!(matches!(apply(&mut broker, 1_000, send), Reply::Sent(_)));
        sent += BATCH;
    }
    let reply = apply(
        &mut broker,
        1_000,
        Command::Send {
            queue: QUEUE,
            producer: None,
            batch,
        },
    );
    let Reply::Refused(refusal) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(refusal.code, ErrorCode::TooManyDelayed);
    assert_eq!(broker.counts(QUEUE).unwrap().delayed, sent);
}

#[test]
fn a_whole_backlog_expires_in_one_step() {
    let mut broker = broker();
    send_all(&mut broker, 500_000);
    let effects = tick(&mut broker, 400_000_000);
    let removed = effects.iter().map(|effect| match effect {
        Effect::Removed { count, .. } => *count,
        _ => 0,
    });
    assert!(removed.sum::<u64>() >= 500_000);
    assert_eq!(effects.len(), 1, "one run, whatever the marks");
    assert_eq!(broker.receivable_count(QUEUE), 0);
    assert_eq!(broker.next_deadline(), None);
}

/// A follower has no waiters and drops what it is told of them: nothing may be kept for them.
#[test]
fn what_is_told_for_waiters_is_not_kept_by_those_who_have_none() {
    let mut broker = broker();
    for stamp in 1..=50 {
        let (mut effects, mut replies) = (Vec::new(), Vec::new());
        let send = Command::Send {
            queue: QUEUE,
            producer: None,
            batch: batch(None),
        };
        let entry = Entry {
            stamp: Timestamp(1_000 + stamp),
            commands: vec![send.clone(), send],
            ..Entry::default()
        };
        broker.apply(&entry, &mut effects, &mut replies).unwrap();
        let told = effects
            .iter()
            .filter(|effect| **effect == Effect::Ready { queue: QUEUE });
        assert_eq!(told.count(), 1, "once per entry, whoever listens");
        assert!(broker.gained.is_empty());
    }
}

/// Applies the entry, with the rows that it asks for.
fn apply_with(broker: &mut Broker, rows: &BTreeMap<RowKey, Vec<u8>>, entry: &Entry) -> Vec<Effect> {
    let (mut effects, mut replies) = (Vec::new(), Vec::new());
    while let Err(need) = broker.apply(entry, &mut effects, &mut replies) {
        for key in need.0 {
            broker.supply(key, &rows[&key]).unwrap();
        }
    }
    effects
}

/// Twenty pages with one message each, none of them in memory.
#[test]
fn a_look_reads_a_bounded_number_of_pages_and_takes_none_of_them_in() {
    let mut broker = broker();
    send_all(&mut broker, 20 * PAGE_COUNT);
    let mut first_ones = Vec::new();
    for number in 0..20 * PAGE_COUNT / BATCH {
        let Reply::Received(deliveries) = receive(&mut broker, 10_000) else {
            panic!("nothing received")
        };
        if number.is_multiple_of(PAGE_COUNT / BATCH) {
            first_ones.push(deliveries[0].handle);
        }
    }
    let release = Command::Release {
        queue: QUEUE,
        handles: first_ones.into_iter().collect(),
    };
    apply(&mut broker, 10_000, release);
    let rows = broker.freeze().into_rows();
    let rows: BTreeMap<_, _> = rows.filter_map(|(key, row)| Some((key, row?))).collect();
    broker.checkpointed_with(0);
    let mut ask = Peek {
        of: PeekOf::Ready,
        id: MessageId(0),
        count_max: 256,
        len_max: 1 << 20,
    };
    let mut counts = Vec::new();
    loop {
        let looked = match broker.peek(QUEUE, &ask, &[]) {
            Err(PeekError::Need(need)) => {
                assert!(need.0.len() <= PEEK_PAGE_COUNT_MAX);
                let row = |key| (key, Some(Bytes::copy_from_slice(&rows[&key])));
                let rows: Vec<_> = need.0.into_iter().map(row).collect();
                broker.peek(QUEUE, &ask, &rows).unwrap()
            }
            looked => looked.unwrap(),
        };
        counts.push(looked.len());
        let Some(last) = looked.last() else { break };
        ask.id = last.id;
    }
    assert_eq!(counts, [16, 4, 0]);
    assert_eq!(broker.resident_page_count(), 0);
}

/// In pages, in flight and delayed, with a restart after every entry of the clearing.
#[test]
fn a_big_queue_is_purged_at_once_and_cleared_away_in_bounded_steps() {
    let mut broker = broker();
    let count = 30 * BATCH;
    send_all(&mut broker, 2 * count);
    (0..60).for_each(|_| drop(receive(&mut broker, 10_000)));
    for _ in 0..30 {
        let send = Command::Send {
            queue: QUEUE,
            producer: None,
            batch: batch(Some(3_600_000)),
        };
        assert!(matches!(apply(&mut broker, 60_000, send), Reply::Sent(_)));
    }
    while broker.next_deadline().unwrap() <= Timestamp(70_000) {
        tick(&mut broker, 70_000);
    }
    (0..30).for_each(|_| drop(receive(&mut broker, 71_000)));
    let counts = broker.counts(QUEUE).unwrap();
    let (ready, in_flight, delayed) = (counts.ready, counts.in_flight, counts.delayed);
    assert_eq!((ready, in_flight, delayed), (count, count, count));

    let mut rows = BTreeMap::new();
    let restart = |broker: &mut Broker, rows: &mut BTreeMap<RowKey, Vec<u8>>| {
        for (key, row) in broker.freeze().into_rows() {
            match row {
                Some(row) => drop(rows.insert(key, row)),
                None => drop(rows.remove(&key)),
            }
        }
        let stored = rows.iter().filter(|(key, _)| !key.is_paged());
        let stored = stored.map(|(key, row)| (*key, Bytes::copy_from_slice(row)));
        *broker = Broker::restore(stored).unwrap();
    };
    restart(&mut broker, &mut rows);
    let mut entry = Entry {
        stamp: Timestamp(72_000),
        commands: vec![Command::Purge { queue: QUEUE }],
        ..Entry::default()
    };
    let mut gone = BTreeSet::new();
    let mut steps = 0;
    loop {
        let effects = apply_with(&mut broker, &rows, &entry);
        let mut removed_count = 0;
        for effect in effects {
            let Effect::Removed { first, count, .. } = effect else {
                panic!("{effect:?}");
            };
            removed_count += count;
            (first.0..first.0 + count).for_each(|id| assert!(gone.insert(id), "{id} twice"));
        }
        assert!(removed_count <= DUE_WORK_MAX + 63, "{removed_count}");
        let counts = broker.counts(QUEUE).unwrap();
        assert_eq!(counts, QueueCounts::default());
        steps += 1;
        restart(&mut broker, &mut rows);
        entry.commands.clear();
        if broker.next_deadline().is_none() {
            break;
        }
    }
    assert_eq!(gone.len() as u64, 3 * count);
    assert!(steps >= 3, "{steps}");
    assert_eq!(broker.queue(QUEUE).unwrap().held_count(), 0);
    let of_queue = rows.keys().filter(|key| key.queue == QUEUE);
    assert_eq!(of_queue.count(), 1, "its own row is left");
}
