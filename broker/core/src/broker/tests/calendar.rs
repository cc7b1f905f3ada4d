//! Goal: far more delayed messages than memory holds, each ready once, when it is due, and none
//! that was cancelled. Method: brokers whose chunks of delayed messages are evicted or left behind
//! by a restart, at every moment that matters.

use sampan_protocol::limits::RETENTION_MAX_MS;

use super::*;
use crate::RestoreError;
use crate::chunk::CHUNK_COUNT;

const HOUR: u64 = 3_600_000;
const BASE: u64 = MessageId::DELAYED_BIT;

/// A broker, and what it has on disk.
struct Disk {
    broker: Broker,
    rows: BTreeMap<RowKey, Vec<u8>>,
    /// Rows that the last entry asked for.
    needed: Vec<RowKey>,
}

impl Disk {
    fn new() -> Self {
        let mut broker = broker();
        let attributes = QueueAttributes {
            retention_ms: RETENTION_MAX_MS,
            ..QueueAttributes::default()
        };
        let set = Command::QueueSet {
            queue: QUEUE,
            attributes,
        };
        assert_eq!(apply(&mut broker, 1_000, set), Reply::Done);
        Disk {
            broker,
            rows: BTreeMap::new(),
            needed: Vec::new(),
        }
    }

    fn checkpoint(&mut self, resident_count_max: usize) {
        for (key, row) in self.broker.freeze().into_rows() {
            match row {
                Some(row) => drop(self.rows.insert(key, row)),
                None => drop(self.rows.remove(&key)),
            }
        }
        self.broker.checkpointed_with(resident_count_max);
    }

    fn restart(&mut self) {
        self.checkpoint(0);
        let rows = self.rows.iter().filter(|(key, _)| !key.is_paged());
        let rows = rows.map(|(key, row)| (*key, Bytes::copy_from_slice(row)));
        self.broker = Broker::restore(rows).unwrap();
    }

    fn apply(&mut self, stamp: u64, commands: Vec<Command>) -> (Vec<Effect>, Vec<Reply>) {
        let stamp = Timestamp(stamp);
        let entry = Entry {
            stamp,
            commands,
            ..Entry::default()
        };
        let (mut effects, mut replies) = (Vec::new(), Vec::new());
        self.needed.clear();
        if let Err(need) = self.broker.apply(&entry, &mut effects, &mut replies) {
            for key in &need.0 {
                self.broker.supply(*key, &self.rows[key]).unwrap();
            }
            self.needed = need.0;
            let again = self.broker.apply(&entry, &mut effects, &mut replies);
            assert_eq!(again, Ok(()), "all rows are named at once");
        }
        (effects, replies)
    }

    /// One message after another, each as much later as `delay_of` says.
    fn send(&mut self, count: u64, delay_of: impl Fn(u64) -> u64) {
        for first in (0..count).step_by(BATCH_COUNT_MAX) {
            let mut builder = BatchBuilder::new();
            for number in first..count.min(first + BATCH) {
                let message = NewMessage {
                    body: Bytes::from_static(b"m"),
                    delay_ms: Some(delay_of(number)),
                    ..NewMessage::default()
                };
                builder.push(message).unwrap();
            }
            let send = Command::Send {
                queue: QUEUE,
                producer: None,
                batch: builder.finish(),
            };
            let replies = self.apply(1_000, vec![send]).1;
            assert!(matches!(replies[..], [Reply::Sent(_)]));
        }
    }

    fn reschedule(&mut self, stamp: u64, number: u64, delay_ms: Option<u64>) -> Reply {
        let reschedule = Command::Reschedule {
            queue: QUEUE,
            id: MessageId(BASE + number),
            delay_ms,
        };
        self.apply(stamp, vec![reschedule]).1.remove(0)
    }

    fn counts(&self) -> QueueCounts {
        self.broker.counts(QUEUE).unwrap()
    }

    fn needed_chunks(&self) -> Vec<u64> {
        let chunks = self.needed.iter().filter(|key| key.kind == RowKey::DELAYED);
        let first = BASE / CHUNK_COUNT;
        chunks.map(|key| key.number - first).collect()
    }
}

/// Spreads numbers, so that neighbours fall due far apart.
fn scattered(number: u64, span: u64) -> u64 {
    1 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % span
}

#[test]
fn what_is_due_later_needs_no_memory_but_its_place_in_the_order() {
    let mut disk = Disk::new();
    let count = 100_000;
    disk.send(count, |number| HOUR + scattered(number, 300 * 24 * HOUR));
    let before = disk.counts();
    assert_eq!(before.delayed, count);
    disk.checkpoint(0);
    assert_eq!(disk.broker.resident_chunk_count(), 0);
    assert!(disk.broker.queue(QUEUE).unwrap().held_count() < 10);
    assert_eq!(disk.counts(), before);
    let deadline = disk.broker.next_deadline();
    disk.restart();
    assert_eq!(disk.broker.resident_chunk_count(), 0);
    assert_eq!(
        (disk.counts(), disk.broker.next_deadline()),
        (before, deadline)
    );
    // Only changes are written.
    assert_eq!(disk.broker.freeze().row_count(), 1);
}

#[test]
fn what_is_due_soonest_stays_in_memory() {
    let mut disk = Disk::new();
    // The later a message was sent, the sooner it is due.
    disk.send(6_400, |number| (6_400 - number) * 1_000);
    disk.checkpoint(10);
    assert_eq!(disk.broker.resident_chunk_count(), 10);
    disk.apply(1_000 + 570_000, Vec::new());
    assert_eq!((disk.counts().ready, disk.needed.len()), (570, 0));
    disk.apply(1_000 + 600_000, Vec::new());
    assert_eq!((disk.counts().ready, disk.needed_chunks()), (600, vec![90]));
}

#[test]
fn chunks_that_fall_due_one_message_at_a_time_do_not_gather_until_the_checkpoint() {
    let mut disk = Disk::new();
    let (count, most) = (100 * CHUNK_COUNT, 8);
    // Neighbours are due far apart, so every chunk is read again and again.
    disk.send(count, |number| HOUR * (1 + number % 64) + number * 1_000);
    disk.checkpoint(most);
    let mut read = 0;
    for hour in 1..=64 {
        for minute in 0..60 * 2 {
            disk.apply(hour * HOUR + minute * 60_000, Vec::new());
            read += disk.needed_chunks().len();
            let resident = disk.broker.resident_chunk_count();
            assert!(resident <= most + most / 4, "{resident}");
        }
    }
    assert!(read > 1_000, "{read}");
    disk.apply(70 * HOUR, Vec::new());
    assert_eq!((disk.counts().ready, disk.counts().delayed), (count, 0));
}

#[test]
fn a_jump_of_the_clock_brings_every_message_once_and_no_cancelled_one() {
    let mut disk = Disk::new();
    let count = 30_000;
    disk.send(count, |number| HOUR + scattered(number, 300 * 24 * HOUR));
    disk.restart();
    let cancelled: BTreeSet<u64> = (1..count).step_by(7).map(|number| BASE + number).collect();
    for id in &cancelled {
        assert_eq!(disk.reschedule(2_000, id - BASE, None), Reply::Done);
        assert!(disk.needed.len() <= 1, "{:?}", disk.needed);
    }
    disk.restart();
    let later = 301 * 24 * HOUR;
    let mut due_before = 0;
    while disk.broker.next_deadline().is_some_and(|at| at.0 <= later) {
        disk.apply(later, Vec::new());
        let due = disk.counts().ready - due_before;
        assert!((1..DUE_WORK_MAX + 64).contains(&due), "{due}");
        assert!(disk.needed.len() as u64 <= DUE_WORK_MAX + count / PAGE_COUNT + 2);
        due_before += due;
        disk.restart();
    }
    assert_eq!(due_before, count - cancelled.len() as u64);
    let mut seen = BTreeSet::new();
    while disk.counts().ready > 0 {
        let receive = Command::Receive {
            queue: QUEUE,
            count_max: 256,
            len_max: 0,
            visibility_timeout_ms: Some(43_200_000),
        };
        let replies = disk.apply(later, vec![receive]).1;
        let [Reply::Received(deliveries)] = &replies[..] else {
            panic!("{replies:?}")
        };
        for delivery in deliveries {
            assert!(!cancelled.contains(&delivery.id.0), "{}", delivery.id);
            assert!(seen.insert(delivery.id), "{} twice", delivery.id);
        }
    }
    assert_eq!(seen.len() as u64, count - cancelled.len() as u64);
}

#[test]
fn the_first_instant_is_exact_whatever_was_cancelled_or_moved() {
    let mut disk = Disk::new();
    disk.send(1_000, |number| 100 * HOUR + number);
    disk.checkpoint(0);
    let due_at = |disk: &Disk| disk.counts().due_at.unwrap().0 - 1_000;
    assert_eq!(due_at(&disk), 100 * HOUR);
    assert_eq!(disk.reschedule(1_000, 1, None), Reply::Done);
    assert_eq!(disk.needed_chunks(), [0]);
    assert_eq!(due_at(&disk), 100 * HOUR + 1);
    disk.checkpoint(0);
    assert_eq!(disk.reschedule(1_000, 500, Some(HOUR)), Reply::Done);
    assert_eq!((disk.needed_chunks(), due_at(&disk)), (vec![7], HOUR));
    disk.checkpoint(0);
    assert_eq!(disk.reschedule(1_000, 500, Some(200 * HOUR)), Reply::Done);
    assert_eq!(due_at(&disk), 100 * HOUR + 1);
    assert_eq!(disk.broker.next_deadline(), disk.counts().due_at);
}

#[test]
fn a_send_goes_on_in_a_chunk_that_is_not_in_memory() {
    let mut disk = Disk::new();
    disk.send(70, |_| HOUR);
    disk.restart();
    disk.send(3, |_| HOUR);
    assert_eq!(disk.needed_chunks(), [1]);
    disk.send(60, |_| HOUR);
    assert_eq!(disk.needed, []);
    disk.restart();
    disk.apply(1_000 + HOUR, Vec::new());
    assert_eq!(disk.counts().ready, 133);
    assert_eq!(disk.broker.resident_chunk_count(), 0);
    disk.checkpoint(0);
    let left = disk
        .rows
        .keys()
        .filter(|key| key.kind == RowKey::DELAYED || key.kind == RowKey::DELAYED_DIRECTORY);
    assert_eq!(left.count(), 0);
}

#[test]
fn a_look_at_delayed_messages_reads_no_more_chunks_than_it_shows_messages() {
    let mut disk = Disk::new();
    disk.send(64_000, |number| HOUR + number);
    // One of each chunk is left of the first half.
    for number in (1..32_000).filter(|number| !(BASE + number).is_multiple_of(CHUNK_COUNT)) {
        assert_eq!(disk.reschedule(1_000, number, None), Reply::Done);
    }
    disk.restart();
    let mut ask = Peek {
        of: PeekOf::Delayed,
        id: MessageId(0),
        count_max: 100,
        len_max: 1 << 20,
    };
    let (mut seen, mut most) = (0, 0);
    while let Err(PeekError::Need(need)) = disk.broker.peek(QUEUE, &ask, &[]) {
        most = most.max(need.0.len());
        let row = |key| (key, Some(Bytes::copy_from_slice(&disk.rows[&key])));
        let rows: Vec<_> = need.0.into_iter().map(row).collect();
        let looked = disk.broker.peek(QUEUE, &ask, &rows).unwrap();
        let Some(last) = looked.last() else { break };
        ask.id = last.id;
        seen += looked.len();
    }
    assert_eq!((seen as u64, most), (disk.counts().delayed, 101));
    assert_eq!(disk.broker.resident_chunk_count(), 0);
}

#[test]
fn a_row_that_is_not_the_one_that_was_stored_is_refused() {
    let mut disk = Disk::new();
    disk.send(100, |number| HOUR + number / 3);
    disk.restart();
    let key = |chunk| RowKey {
        queue: QUEUE,
        kind: RowKey::DELAYED,
        number: BASE / CHUNK_COUNT + chunk,
    };
    let (first, tail) = (disk.rows[&key(0)].clone(), disk.rows[&key(1)].clone());
    let refused = |disk: &mut Disk, row: &[u8]| {
        let supplied = disk.broker.supply(key(1), row);
        assert!(matches!(supplied, Err(RestoreError::Damaged { .. })));
    };
    refused(&mut disk, &first);
    // Another first instant, and a message that was never sent in place of one that was.
    let mut sooner = tail.clone();
    sooner[1 + 8] ^= 1;
    sooner[1 + 8 + 8] ^= 1;
    refused(&mut disk, &sooner);
    let mut never_sent = tail.clone();
    never_sent[1] ^= 1;
    never_sent[1 + 7] ^= 0x80;
    refused(&mut disk, &never_sent);
    refused(&mut disk, &tail[..tail.len() - 1]);
    disk.broker.supply(key(1), &tail).unwrap();
    disk.broker.supply(key(1), &first).unwrap();
    assert_eq!(disk.broker.resident_chunk_count(), 1);
}

#[test]
fn damaged_directory_rows_are_refused_or_read_but_never_panic() {
    let mut disk = Disk::new();
    disk.send(3_000, |number| HOUR + number);
    disk.checkpoint(0);
    let rows = disk.rows.iter().filter(|(key, _)| !key.is_paged());
    let whole: Vec<(RowKey, Vec<u8>)> = rows.map(|(key, row)| (*key, row.clone())).collect();
    let restore = |rows: &[(RowKey, Vec<u8>)]| {
        let rows = rows.iter().map(|(key, row)| (*key, row.clone().into()));
        Broker::restore(rows)
    };
    let place = |kind| whole.iter().position(|(key, _)| key.kind == kind);
    let at = place(RowKey::DELAYED_DIRECTORY).unwrap();
    for bit in 0..whole[at].1.len() * 8 {
        let mut rows = whole.clone();
        rows[at].1[bit / 8] ^= 1 << (bit % 8);
        drop(restore(&rows));
    }
    for number in [0, u64::MAX, BASE / CHUNK_COUNT / 256 + 1] {
        let mut rows = whole.clone();
        rows[at].0.number = number;
        rows.sort();
        assert!(restore(&rows).is_err(), "{number}");
    }
    let mut rows = whole.clone();
    rows[at].1.truncate(1);
    assert!(restore(&rows).is_err(), "the marks know of more messages");
    assert!(restore(&whole).is_ok());
}
