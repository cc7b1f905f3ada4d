//! Goal: what spec/semantics.md, "Deduplication", says of the edges that random tests seldom reach:
//! a full table, bounded steps, rows that do not fit together.

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const WINDOW_MS: u32 = 300_000;

/// In no order, as digests are, and made at no cost.
fn digest(number: u64) -> Digest {
    let factor = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    Digest(u128::from(number + 1).wrapping_mul(factor))
}

/// Remembers keys from `first` on, each with the id of its number and one.
fn remember(keys: &mut Keys, numbers: std::ops::Range<u64>, now: Timestamp) {
    for number in numbers {
        keys.remember(digest(number), MessageId(number + 1), now);
    }
}

fn later(ms: u64) -> Timestamp {
    NOW.after_ms(ms)
}

/// What a disk has of the keys.
type Rows = BTreeMap<u64, Vec<u8>>;

fn freeze(keys: &mut Keys, rows: &mut Rows) {
    keys.freeze(|number, chunk| match chunk {
        Some(chunk) => {
            let mut row = Vec::new();
            chunk.encode(&mut row);
            assert!(row.len() < 4_096, "{}", row.len());
            rows.insert(number, row);
        }
        None => drop(rows.remove(&number)),
    });
}

fn restored(rows: &Rows, first: u64, next: u64) -> Result<Keys, FieldError> {
    let mut keys = Keys::new(first, next);
    for (number, row) in rows {
        keys.restore_row(*number, row)?;
    }
    match keys.is_whole() {
        true => Ok(keys),
        false => Err(FieldError::Range),
    }
}

#[test]
fn a_digest_depends_on_every_byte_of_the_key_and_on_the_secret() {
    let digests = [
        Digest::of(7, b"key"),
        Digest::of(7, b"kez"),
        Digest::of(7, b"key\0"),
        Digest::of(7, b"ke"),
        Digest::of(8, b"key"),
    ];
    for (place, digest) in digests.iter().enumerate() {
        assert!(!digests[place + 1..].contains(digest), "at {place}");
    }
    // SHA-256 of eight bytes and "abc", computed elsewhere.
    let known = Digest::of(1, b"abc");
    assert_eq!(known.0.to_le_bytes(), KNOWN);
}

const KNOWN: [u8; 16] = [
    0x22, 0xa5, 0xc7, 0x04, 0x5b, 0xc3, 0x6a, 0x32, 0xe6, 0x4f, 0x06, 0x3f, 0xf4, 0xe7, 0x94, 0x6d,
];

#[test]
fn a_full_table_refuses_and_a_moved_window_makes_room() {
    let mut keys = Keys::new(0, 0);
    remember(&mut keys, 0..DEDUP_COUNT_MAX - 1, NOW);
    remember(&mut keys, DEDUP_COUNT_MAX - 1..DEDUP_COUNT_MAX, later(1));
    let refused = keys.check_room(1).unwrap_err();
    assert_eq!(refused.code, ErrorCode::TooManyKeys);
    assert!(keys.check_room(0).is_ok(), "repeats take no room");

    let now = later(WINDOW_MS.into());
    keys.forget(WINDOW_MS, now);
    assert!(keys.check_room(DEDUP_COUNT_MAX - 1).is_ok());
    assert!(keys.check_room(DEDUP_COUNT_MAX).is_err());
    assert_eq!(keys.find(digest(5)), None);
    let last = DEDUP_COUNT_MAX - 1;
    assert_eq!(keys.find(digest(last)), Some(MessageId(last + 1)));

    // What is forgotten makes room for what comes, without any due work.
    let chunk_count = keys.chunk_count();
    let mut first = DEDUP_COUNT_MAX;
    while first + 256 < 2 * DEDUP_COUNT_MAX {
        keys.make_room(256);
        remember(&mut keys, first..first + 256, now);
        first += 256;
        assert!(keys.chunk_count() <= chunk_count + 1);
    }
}

#[test]
fn forgotten_keys_leave_memory_in_bounded_steps_and_at_round_instants() {
    let mut keys = Keys::new(0, 0);
    remember(&mut keys, 0..1_000, NOW);
    remember(&mut keys, 1_000..1_010, later(20_000));
    let deadline = keys.next_deadline(WINDOW_MS).unwrap();
    assert!(deadline.0.is_multiple_of(DEDUP_SWEEP_MS));
    let late = deadline.0 - later(WINDOW_MS.into()).0;
    assert!((1..=DEDUP_SWEEP_MS).contains(&late));

    let mut work = 200;
    keys.sweep(WINDOW_MS, deadline, &mut work);
    assert_eq!((work, keys.chunk_count()), (0, 12));
    assert_eq!(keys.next_deadline(WINDOW_MS), Some(deadline_of_forgotten()));
    work = 10_000;
    keys.sweep(WINDOW_MS, deadline, &mut work);
    assert_eq!(keys.chunk_count(), 1);
    assert_eq!(keys.find(digest(999)), None);
    assert_eq!(keys.find(digest(1_009)), Some(MessageId(1_010)));

    let end = keys.next_deadline(WINDOW_MS).unwrap();
    assert!(end > deadline, "an end of the due work");
    keys.sweep(WINDOW_MS, end, &mut work);
    assert_eq!(
        (keys.chunk_count(), keys.next_deadline(WINDOW_MS)),
        (0, None)
    );
    assert_eq!(keys.chunks.capacity(), 0, "memory is given back");
    assert_eq!((keys.first(), keys.next()), (1_024, 1_024));
}

/// What is forgotten already is due since it was stored, rounded up.
fn deadline_of_forgotten() -> Timestamp {
    Timestamp((NOW.0 / DEDUP_SWEEP_MS + 1) * DEDUP_SWEEP_MS)
}

#[test]
fn a_key_that_came_again_outlives_the_chunk_of_its_first_time() {
    let mut keys = Keys::new(0, 0);
    remember(&mut keys, 0..64, NOW);
    keys.forget(WINDOW_MS, later(WINDOW_MS.into()));
    assert_eq!(keys.find(digest(3)), None);
    keys.remember(digest(3), MessageId(900), later(WINDOW_MS.into()));
    assert!(keys.drop_forgotten());
    assert!(!keys.drop_forgotten());
    assert_eq!(keys.find(digest(3)), Some(MessageId(900)));
    assert_eq!(keys.places.len(), 1);
}

#[test]
fn keys_come_back_from_their_rows_and_a_freeze_takes_only_what_changed() {
    let mut keys = Keys::new(0, 0);
    let mut rows = Rows::new();
    remember(&mut keys, 0..200, NOW);
    freeze(&mut keys, &mut rows);
    assert_eq!(rows.len(), 4);
    let frozen = rows.clone();
    remember(&mut keys, 200..210, later(5));
    let mut changed = Rows::new();
    freeze(&mut keys, &mut changed);
    assert_eq!(changed.keys().collect::<Vec<_>>(), [&3]);
    rows.append(&mut changed);

    let back = restored(&rows, keys.first(), keys.next()).unwrap();
    for number in 0..210 {
        assert_eq!(back.find(digest(number)), Some(MessageId(number + 1)));
    }
    assert_eq!(back.row_numbers().collect::<Vec<_>>(), [0, 1, 2, 3]);
    let before = restored(&frozen, 0, 200).unwrap();
    assert_eq!(before.find(digest(205)), None);

    keys.sweep(WINDOW_MS, later(WINDOW_MS.into()), &mut 10_000);
    freeze(&mut keys, &mut rows);
    assert_eq!(rows.keys().collect::<Vec<_>>(), [&3]);
    let back = restored(&rows, keys.first(), keys.next()).unwrap();
    assert_eq!(
        back.find(digest(199)),
        None,
        "forgotten, though it is there"
    );
    assert_eq!(back.find(digest(200)), Some(MessageId(201)));
}

#[test]
fn rows_that_do_not_fit_together_are_refused() {
    let mut keys = Keys::new(0, 0);
    let mut rows = Rows::new();
    remember(&mut keys, 0..100, NOW);
    remember(&mut keys, 100..130, later(5));
    freeze(&mut keys, &mut rows);
    assert!(restored(&rows, 0, 130).is_ok());
    for (first, next) in [(0, 129), (0, 131), (131, 130), (0, 192)] {
        assert!(restored(&rows, first, next).is_err(), "{first} {next}");
    }
    let without = |number: u64| {
        let mut rows = rows.clone();
        rows.remove(&number);
        rows
    };
    assert!(restored(&without(1), 0, 130).is_err(), "a gap");
    assert!(restored(&without(2), 0, 130).is_err(), "no end");
    assert!(restored(&without(0), 0, 130).is_err(), "no beginning");
    assert!(restored(&without(0), 64, 130).is_ok());
    assert!(
        restored(&Rows::new(), 5, 5).is_err(),
        "in the middle of a chunk"
    );

    let mut swapped = rows.clone();
    swapped.insert(2, rows[&0].clone());
    assert!(restored(&swapped, 0, 192).is_err(), "instants fall");
    for end in 0..rows[&0].len() {
        let mut cut = rows.clone();
        cut.insert(0, rows[&0][..end].to_vec());
        assert!(restored(&cut, 0, 130).is_err(), "{end} bytes");
    }
    let mut long = rows.clone();
    long.get_mut(&0).unwrap().extend([1; 32]);
    assert!(restored(&long, 0, 130).is_err(), "65 keys");
}
