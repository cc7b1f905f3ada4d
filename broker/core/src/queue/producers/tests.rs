//! Goal: what spec/semantics.md, "Producers", says of the edges that random tests seldom reach: the
//! end of the window, too many sessions, the largest row.

use sampan_protocol::MessageId;

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// The store takes values below this.
const ROW_LEN_MAX: usize = 65_472;

fn session(name: u8) -> ProducerSession {
    ProducerSession::new(NOW, [name; 10])
}

fn numbered(name: u8, number: u64) -> ProducerNumber {
    let session = session(name);
    ProducerNumber { session, number }
}

fn one(first: u64) -> Sent {
    Sent {
        runs: vec![(MessageId(first), 1)],
    }
}

/// Alternating kinds of ids: the longest reply there is.
fn mixed(first: u64) -> Sent {
    let id = |place: u64| match place % 2 {
        0 => MessageId(first + place / 2),
        _ => MessageId(MessageId::DELAYED_BIT + first + place / 2),
    };
    Sent {
        runs: (0..256).map(|place| (id(place), 1)).collect(),
    }
}

fn turn(producers: &mut Producers, name: u8, number: u64) -> Result<Option<Sent>, ErrorCode> {
    match producers.turn(numbered(name, number), NOW) {
        Ok(Turn::Next) => Ok(None),
        Ok(Turn::Repeat(sent)) => Ok(Some(sent)),
        Err(refusal) => Err(refusal.code),
    }
}

fn row(producers: &mut Producers) -> Vec<u8> {
    let mut row = Vec::new();
    producers.freeze(|_, producer| producer.unwrap().encode(&mut row));
    row
}

#[test]
fn the_newest_1024_numbers_get_their_replies_and_older_ones_are_refused() {
    let mut producers = Producers::new(1, NOW, Timestamp(0));
    let stored = ANSWERS_KEPT as u64 + 10;
    for number in 1..=stored {
        assert_eq!(turn(&mut producers, 1, number), Ok(None));
        producers.note(session(1), NOW, &one(100 + number));
    }
    for number in 1..=10 {
        let judged = turn(&mut producers, 1, number);
        assert_eq!(judged, Err(ErrorCode::ProducerExpired));
    }
    for number in 11..=stored {
        assert_eq!(turn(&mut producers, 1, number), Ok(Some(one(100 + number))));
    }
    assert_eq!(
        turn(&mut producers, 1, stored + 2),
        Err(ErrorCode::OutOfOrder)
    );
    assert_eq!(producers.answer_count, ANSWERS_KEPT);
}

#[test]
fn the_largest_row_fits_the_store_and_comes_back() {
    let mut producers = Producers::new(1, NOW, Timestamp(0));
    let far = (1 << 61) - 1;
    for number in 0..ANSWERS_KEPT as u64 {
        let first = if number % 2 == 0 { 1 } else { far };
        producers.note(session(1), NOW, &mixed(first));
    }
    let row = row(&mut producers);
    assert!(row.len() < ROW_LEN_MAX, "{}", row.len());
    let mut restored = Producers::new(2, NOW, Timestamp(0));
    assert_eq!(restored.restore_row(1, &row), Ok(()));
    assert_eq!(restored.answer_count, producers.answer_count);
    for number in 1..=ANSWERS_KEPT as u64 {
        let first = if number % 2 == 1 { 1 } else { far };
        assert_eq!(turn(&mut restored, 1, number), Ok(Some(mixed(first))));
    }
}

/// Ids that no answer can tell: the longest reply of messages that were stored before.
fn scattered(first: u64) -> Sent {
    let id = |place: u64| match place % 2 {
        0 => MessageId(first + place * 3),
        _ => MessageId(MessageId::DELAYED_BIT + (1 << 61) - first - place * 3),
    };
    Sent::of((0..256).map(id))
}

/// Freezes everything into the rows of a disk.
fn freeze(producers: &mut Producers, rows: &mut [BTreeMap<u64, Vec<u8>>; 2]) {
    let [producer_rows, reply_rows] = rows;
    producers.freeze(|number, producer| match producer {
        Some(producer) => {
            let mut row = Vec::new();
            producer.encode(&mut row);
            producer_rows.insert(number, row);
        }
        None => drop(producer_rows.remove(&number)),
    });
    producers.freeze_replies(|number, sent| match sent {
        Some(sent) => {
            let mut row = Vec::new();
            encode_reply(&sent, &mut row);
            assert!(row.len() < 4_096, "{}", row.len());
            reply_rows.insert(number, row);
        }
        None => drop(reply_rows.remove(&number)),
    });
}

fn restored(rows: &[BTreeMap<u64, Vec<u8>>; 2]) -> Producers {
    let mut producers = Producers::new(100, NOW, Timestamp(0));
    for (number, row) in &rows[0] {
        assert_eq!(producers.restore_row(*number, row), Ok(()));
    }
    for (number, row) in &rows[1] {
        assert_eq!(producers.restore_reply(*number, row), Ok(()));
    }
    producers
}

#[test]
fn a_scattered_reply_is_kept_by_itself_as_long_as_its_number() {
    let mut producers = Producers::new(1, NOW, Timestamp(0));
    let mut rows = [BTreeMap::new(), BTreeMap::new()];
    let stored = ANSWERS_KEPT as u64 + 10;
    let reply = |number: u64| match number % 3 {
        0 => one(number),
        _ => scattered(number),
    };
    for number in 1..=stored {
        producers.note(session(1), NOW, &reply(number));
        if number.is_multiple_of(300) {
            freeze(&mut producers, &mut rows);
        }
    }
    freeze(&mut producers, &mut rows);
    let mut producers = restored(&rows);
    assert!(producers.is_whole());
    for number in 11..=stored {
        assert_eq!(turn(&mut producers, 1, number), Ok(Some(reply(number))));
    }
    let kept = (11..=stored).filter(|number| !number.is_multiple_of(3));
    let kept = kept.count();
    assert_eq!(rows[1].len(), kept);
    assert_eq!(producers.scattered.run_count(), 256 * kept);
    assert_eq!(
        producers.reply_row_numbers().collect::<Vec<_>>(),
        rows[1].keys().copied().collect::<Vec<_>>()
    );

    producers.sweep(NOW.after_ms(PRODUCER_LIFE_MS));
    assert_eq!((producers.room_taken(), producers.is_whole()), (0, true));
    freeze(&mut producers, &mut rows);
    assert!(rows.iter().all(BTreeMap::is_empty));
}

#[test]
fn rows_whose_replies_are_missing_or_too_many_or_others_are_told() {
    let mut producers = Producers::new(1, NOW, Timestamp(0));
    let mut rows = [BTreeMap::new(), BTreeMap::new()];
    producers.note(session(1), NOW, &one(1));
    producers.note(session(1), NOW, &scattered(9));
    freeze(&mut producers, &mut rows);
    assert!(restored(&rows).is_whole());
    let (number, row) = rows[1].pop_first().unwrap();
    assert_eq!(number, 1_024 + 2);
    assert!(!restored(&rows).is_whole(), "missing");
    rows[1].insert(number - 1, row.clone());
    assert!(!restored(&rows).is_whole(), "of another number");
    rows[1].insert(number, row.clone());
    assert!(!restored(&rows).is_whole(), "one too many");
    let mut producers = Producers::new(2, NOW, Timestamp(0));
    for end in 0..row.len() {
        let cut = producers.restore_reply(end as u64, &row[..end]);
        assert!(cut.is_err() || decode_len(&row[..end]) < 256, "{end} bytes");
    }
}

/// Ids of a reply row.
fn decode_len(row: &[u8]) -> usize {
    let mut producers = Producers::new(2, NOW, Timestamp(0));
    producers.restore_reply(1_025, row).unwrap();
    producers.scattered.reply(1, 1).ids().count()
}

#[test]
fn scattered_replies_count_by_their_runs() {
    let mut producers = Producers::new(1, NOW, Timestamp(0));
    let weight = ANSWERS_KEPT * 257;
    let mut sent = 0;
    for ms in 0.. {
        for number in 0..ANSWERS_KEPT as u64 {
            producers.note(used_at(ms), Timestamp(NOW.0 + ms), &scattered(number + 1));
        }
        sent += weight;
        if sent > ANSWER_COUNT_MAX {
            break;
        }
        assert_eq!(producers.room_taken(), sent);
    }
    assert!(producers.room_taken() <= ANSWER_COUNT_MAX);
    assert!(producers.turn(first_of(used_at(0)), NOW).is_err());
    assert!(producers.is_whole());
}

#[test]
fn a_row_that_was_cut_off_or_is_there_twice_is_refused() {
    let mut producers = Producers::new(1, NOW, Timestamp(0));
    producers.note(session(1), NOW, &one(1));
    producers.note(session(1), NOW, &mixed(2));
    let row = row(&mut producers);
    for len in 0..row.len() {
        let mut restored = Producers::new(2, NOW, Timestamp(0));
        assert!(restored.restore_row(1, &row[..len]).is_err(), "{len} bytes");
    }
    let mut restored = Producers::new(2, NOW, Timestamp(0));
    assert_eq!(restored.restore_row(2, &row), Err(FieldError::Range));
    assert_eq!(restored.restore_row(1, &row), Ok(()));
    assert_eq!(restored.restore_row(1, &row), Err(FieldError::Range));
}

/// The session that was drawn and used at a moment.
fn used_at(ms: u64) -> ProducerSession {
    ProducerSession::new(Timestamp(NOW.0 + ms), [0; 10])
}

fn first_of(session: ProducerSession) -> ProducerNumber {
    let number = 1;
    ProducerNumber { session, number }
}

#[test]
fn of_too_many_sessions_the_least_lately_used_are_forgotten_and_cannot_begin_anew() {
    let mut producers = Producers::new(1, NOW, Timestamp(0));
    let count = PRODUCER_COUNT_MAX as u64 + 1;
    for ms in 0..count {
        producers.note(used_at(ms), Timestamp(NOW.0 + ms), &one(ms + 1));
    }
    let left = PRODUCER_COUNT_MAX - PRODUCER_COUNT_MAX / 16;
    assert_eq!(
        (producers.known.len(), producers.answer_count),
        (left, left)
    );
    let now = Timestamp(NOW.0 + 2 * count);
    let gone = count - left as u64;
    for ms in [0, 1, gone - 1] {
        let refused = producers.turn(first_of(used_at(ms)), now).err();
        let code = refused.map(|refusal| refusal.code);
        assert_eq!(code, Some(ErrorCode::ProducerExpired), "{ms}");
    }
    for ms in [gone, count - 1] {
        let judged = producers.turn(first_of(used_at(ms)), now);
        assert!(matches!(judged, Ok(Turn::Repeat(_))), "{ms}");
    }
    let judged = producers.turn(first_of(used_at(2 * count)), now);
    assert!(matches!(judged, Ok(Turn::Next)), "a new one begins");
    let mut gone_numbers = Vec::new();
    producers.freeze(|number, producer| gone_numbers.extend(producer.is_none().then_some(number)));
    assert_eq!(gone_numbers.len() as u64, gone);
}

#[test]
fn too_many_replies_make_the_least_lately_used_sessions_go_and_never_the_one_at_hand() {
    let mut producers = Producers::new(1, NOW, Timestamp(0));
    let full = (ANSWER_COUNT_MAX / ANSWERS_KEPT) as u64;
    for ms in 0..full {
        let now = Timestamp(NOW.0 + ms);
        for number in 0..ANSWERS_KEPT as u64 {
            producers.note(used_at(ms), now, &one(number + 1));
        }
    }
    assert_eq!(producers.answer_count, ANSWER_COUNT_MAX);
    // The oldest of all takes the last place.
    producers.note(
        ProducerSession::new(Timestamp(1), [1; 10]),
        Timestamp(1),
        &one(1),
    );
    let left = ANSWER_COUNT_MAX - ANSWER_COUNT_MAX / 16;
    assert!((left - ANSWERS_KEPT..=left).contains(&producers.answer_count));
    let judged = producers.turn(first_of(ProducerSession::new(Timestamp(1), [1; 10])), NOW);
    assert!(matches!(judged, Ok(Turn::Repeat(_))));
    let judged = producers.turn(first_of(used_at(0)), NOW);
    assert!(judged.is_err(), "the least lately used is gone");
    assert_eq!(producers.forgotten_until(), Timestamp(NOW.0 + full / 16));
}

#[test]
fn what_is_forgotten_could_not_begin_anew() {
    for drawn_ms in [-PRODUCER_LIFE_MS.cast_signed(), -1, 0, 1, 7_200_000] {
        let drawn_at = Timestamp(NOW.0.saturating_add_signed(drawn_ms + 1));
        let session = ProducerSession::new(drawn_at, [7; 10]);
        let number = 1;
        let numbered = ProducerNumber { session, number };
        let mut producers = Producers::new(1, NOW, Timestamp(0));
        producers.note(session, NOW, &one(1));
        let mut at = NOW;
        while producers.next_sweep().is_some() {
            let judged = producers.turn(numbered, NOW);
            assert!(matches!(judged, Ok(Turn::Repeat(_))));
            at = at.after_ms(PRODUCER_SWEEP_MS);
            producers.sweep(at);
        }
        let judged = producers.turn(numbered, at);
        let refused = judged.err().map(|refusal| refusal.code);
        assert_eq!(refused, Some(ErrorCode::ProducerExpired));
        assert!(at.0 >= NOW.0 + PRODUCER_LIFE_MS);
        assert_eq!((producers.known.len(), producers.answer_count), (0, 0));
    }
}
