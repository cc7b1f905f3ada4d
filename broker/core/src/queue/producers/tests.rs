//! Goal: what spec/semantics.md, "Producers", says of the edges that random tests seldom reach: the
//! end of the window, too many sessions, the largest row.

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
