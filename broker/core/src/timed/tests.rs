//! The table of numbered things with instants, by itself.

use super::*;
use crate::fields::Fields;
use crate::queue::Delayed;

impl Value for u8 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn decode(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        fields.u8()
    }
}

fn take(timed: &mut Timed<u8>, number: u64) -> Option<Slot<u8>> {
    timed
        .edit(number / CHUNK_COUNT, Edit::Slots, |chunk| {
            chunk.take(number % CHUNK_COUNT)
        })
        .flatten()
}

#[test]
fn an_emptied_chunk_leaves_nothing_behind() {
    let mut timed = Timed::new();
    timed.extend(60, 10, Timestamp(5), |_| 1);
    assert_eq!((timed.chunk_count(), timed.live_count()), (2, 10));
    for number in 60..70 {
        assert!(take(&mut timed, number).is_some());
        assert!(take(&mut timed, number).is_none());
    }
    assert_eq!((timed.chunk_count(), timed.live_count()), (0, 0));
    timed.freeze(|number, _| panic!("chunk {number} came and went unseen"));
}

#[test]
fn a_lone_survivor_gives_back_the_room_of_the_others() {
    let mut timed = Timed::new();
    timed.extend(0, 64, Timestamp(5), |index| u8::try_from(index).unwrap());
    (0..63).for_each(|number| assert!(take(&mut timed, number).is_some()));
    assert_eq!(timed.chunks[&0].chunk().room(), 1);
    assert_eq!(take(&mut timed, 63).map(|slot| slot.value), Some(63));
}

#[test]
fn a_frozen_chunk_is_not_changed_by_later_work() {
    let mut timed = Timed::new();
    timed.extend(0, 3, Timestamp(5), |_| 1);
    let mut frozen = Vec::new();
    timed.freeze(|number, chunk| frozen.push((number, chunk)));
    assert!(take(&mut timed, 1).is_some());
    assert_eq!(
        frozen[0].1.as_ref().map(|chunk| chunk.live_count()),
        Some(3)
    );
    let mut later = Vec::new();
    timed.freeze(|number, chunk| later.push((number, chunk.map(|chunk| chunk.live_count()))));
    assert_eq!(later, [(0, Some(2))]);
}

#[test]
fn due_work_stops_when_it_is_used_up_and_goes_on_later() {
    let mut timed = Timed::new();
    timed.extend(0, 640, Timestamp(5), |_| 1);
    let mut work = 100;
    let mut count = 0;
    timed.peek_due(Timestamp(5), work, |_, _| count += 1);
    assert_eq!(count, 128);
    timed.take_due(Timestamp(5), &mut work, |_, _| count -= 1);
    assert_eq!((count, work, timed.live_count()), (0, 0, 512));
    assert_eq!(timed.next_deadline(), Some(Timestamp(5)));
}

#[test]
fn a_chunk_row_comes_back() {
    let mut chunk = Chunk::new();
    chunk.push(3, 9, Timestamp(77), |index| u8::try_from(index).unwrap());
    chunk.take(5);
    let mut row = Vec::new();
    chunk.encode(&mut row);
    let back = Chunk::<u8>::decode(&row).unwrap();
    assert_eq!(
        back.slots().collect::<Vec<_>>(),
        chunk.slots().collect::<Vec<_>>()
    );
    assert_eq!(back.deadline(), Timestamp(77));
    assert!(Chunk::<u8>::decode(&row[..row.len() - 1]).is_err());
}

/// A table whose chunks have instants 0, 1, 2, … and are stored.
fn stored(chunk_count: u64) -> (Timed<Delayed>, Vec<Vec<u8>>) {
    let mut timed = Timed::new();
    for number in 0..chunk_count * CHUNK_COUNT {
        timed.extend(number, 1, Timestamp(number / CHUNK_COUNT), |_| Delayed);
    }
    let mut rows = Vec::new();
    timed.freeze(|_, chunk| {
        let mut row = Vec::new();
        chunk.unwrap().encode(&mut row);
        rows.push(row);
    });
    (timed, rows)
}

fn evictable(timed: &Timed<Delayed>) -> Vec<u64> {
    timed.evictable().map(|(_, number)| number).collect()
}

#[test]
fn only_what_is_durable_as_it_is_leaves_memory() {
    let (mut timed, rows) = stored(3);
    assert_eq!(evictable(&timed), [0; 0], "not durable yet");
    let later = |chunk: &mut Chunk<Delayed>| chunk.move_to(0, Timestamp(7));
    timed.edit(1, Edit::Slots, later);
    timed.on_checkpoint();
    assert_eq!(evictable(&timed), [0, 2], "1 has changed since");
    timed.freeze(|_, _| ());
    assert_eq!(evictable(&timed), [0, 2]);
    timed.on_checkpoint();
    assert_eq!(evictable(&timed), [0, 1, 2]);
    timed.evict(2);
    assert_eq!(evictable(&timed), [0, 1]);
    assert_eq!((timed.resident_count(), timed.evicted_count()), (2, 1));
    assert!(timed.is_evicted(2) && !timed.is_evicted(1) && !timed.is_evicted(3));
    timed.supply(2, &rows[2], 3 * CHUNK_COUNT).unwrap();
    assert_eq!((timed.resident_count(), timed.evicted_count()), (3, 0));
    timed.take_due(Timestamp(9), &mut 999, |_, _| ());
    assert_eq!((timed.chunk_count(), timed.live_count()), (0, 0));
}

#[test]
fn a_row_serves_until_an_instant_in_it_changes_whatever_is_taken() {
    let (mut timed, rows) = stored(3);
    timed.freeze_directory(|_, _| ());
    timed.on_checkpoint();
    timed.take_due(Timestamp(0), &mut 1, |_, _| ());
    for number in 2 * CHUNK_COUNT..3 * CHUNK_COUNT - 1 {
        timed.take(number);
    }
    let mut differs = Vec::new();
    timed.freeze(|number, chunk| differs.push((number, chunk.is_some())));
    assert_eq!(differs, [(0, false)], "gone, and nothing is written again");
    let mut directory = Vec::new();
    timed.freeze_directory(|_, table| table.unwrap().encode(&mut directory));
    let mut back = Timed::<Delayed>::new();
    back.restore_directory(0, &directory, |_| false).unwrap();
    assert_eq!((back.live_count(), back.evicted_count()), (65, 2));
    let next = 3 * CHUNK_COUNT;
    back.supply(2, &rows[2], next).unwrap();
    let left: Vec<u64> = back.chunks[&2].chunk().slots().map(|(it, _)| it).collect();
    assert_eq!(left, [CHUNK_COUNT - 1]);
    let fewer = back.edit(2, Edit::Slots, |chunk| {
        let mut row = Vec::new();
        chunk.encode(&mut row);
        row
    });
    let refused = back.supply(1, &fewer.unwrap(), next);
    assert_eq!(
        refused,
        Err(FieldError::Range),
        "messages of it are missing"
    );
}

#[test]
fn what_is_evicted_is_named_before_due_work_touches_it() {
    let (mut timed, _) = stored(4);
    timed.on_checkpoint();
    let named = |timed: &Timed<Delayed>, now, work| {
        let mut named = Vec::new();
        timed.due_chunks(Timestamp(now), work, |number| named.push(number));
        named
    };
    assert_eq!(named(&timed, 2, 64), [0]);
    assert_eq!(named(&timed, 2, 65), [0, 1]);
    assert_eq!(named(&timed, 2, 1_000), [0, 1, 2]);
    // As little as one message may be due in it.
    timed.evict(0);
    assert_eq!(named(&timed, 2, 64), [0, 1]);
    assert_eq!(named(&timed, 2, 1), [0]);
}

#[test]
fn a_directory_tells_of_each_chunk_what_it_was_and_where_it_is_buried() {
    let (mut timed, rows) = stored(300);
    timed.bury(290 * CHUNK_COUNT, |_, _| ());
    let mut directory = Vec::new();
    timed.freeze_directory(|row, table| {
        let mut bytes = Vec::new();
        table.unwrap().encode(&mut bytes);
        directory.push((row, bytes));
    });
    assert_eq!(directory.len(), 2);
    let mut back = Timed::<Delayed>::new();
    for (row, bytes) in &directory {
        let is_buried = |number| number < 290;
        back.restore_directory(*row, bytes, is_buried).unwrap();
    }
    assert_eq!((back.live_count(), back.evicted_count()), (9 * 64, 299));
    assert_eq!(back.next_deadline(), Some(Timestamp(291)));
    assert!(back.lies_in(0, 300 * CHUNK_COUNT) && !back.lies_in(0, 299 * CHUNK_COUNT));
    assert!(!back.lies_in(CHUNK_COUNT, 300 * CHUNK_COUNT));
    let mut named = Vec::new();
    back.buried_chunks(65, |number| named.push(number));
    assert_eq!(named, [0, 1]);
    for number in named {
        let row = &rows[usize::try_from(number).unwrap()];
        back.supply(number, row, 300 * CHUNK_COUNT).unwrap();
    }
    let (mut work, mut count) = (65, 0);
    back.take_buried(&mut work, |_, _| count += 1);
    assert_eq!((work, count, back.evicted_count()), (0, 128, 297));
}
