//! Goal: what spec/semantics.md, "Producers", says of the edges that random tests seldom reach: the
//! end of the window, the limits of a set, the largest row.

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
    let in_set = producers.remembered();
    match producers.turn(numbered(name, number), NOW, in_set) {
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
    let mut producers = Producers::new(1, NOW);
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
    assert_eq!(producers.remembered().answer_count, ANSWERS_KEPT);
}

#[test]
fn the_largest_row_fits_the_store_and_comes_back() {
    let mut producers = Producers::new(1, NOW);
    let far = (1 << 61) - 1;
    for number in 0..ANSWERS_KEPT as u64 {
        let first = if number % 2 == 0 { 1 } else { far };
        producers.note(session(1), NOW, &mixed(first));
    }
    let row = row(&mut producers);
    assert!(row.len() < ROW_LEN_MAX, "{}", row.len());
    let mut restored = Producers::new(2, NOW);
    assert_eq!(restored.restore_row(1, &row), Ok(()));
    assert_eq!(restored.remembered(), producers.remembered());
    for number in 1..=ANSWERS_KEPT as u64 {
        let first = if number % 2 == 1 { 1 } else { far };
        assert_eq!(turn(&mut restored, 1, number), Ok(Some(mixed(first))));
    }
}

#[test]
fn a_row_that_was_cut_off_or_is_there_twice_is_refused() {
    let mut producers = Producers::new(1, NOW);
    producers.note(session(1), NOW, &one(1));
    producers.note(session(1), NOW, &mixed(2));
    let row = row(&mut producers);
    for len in 0..row.len() {
        let mut restored = Producers::new(2, NOW);
        assert!(restored.restore_row(1, &row[..len]).is_err(), "{len} bytes");
    }
    let mut restored = Producers::new(2, NOW);
    assert_eq!(restored.restore_row(2, &row), Err(FieldError::Range));
    assert_eq!(restored.restore_row(1, &row), Ok(()));
    assert_eq!(restored.restore_row(1, &row), Err(FieldError::Range));
}

#[test]
fn a_full_set_refuses_what_would_be_remembered_and_answers_repeats() {
    let mut producers = Producers::new(1, NOW);
    producers.note(session(1), NOW, &one(1));
    let mut judge = |name, number, in_set| match producers.turn(numbered(name, number), NOW, in_set)
    {
        Ok(Turn::Next) => None,
        Ok(Turn::Repeat(_)) => Some(None),
        Err(refusal) => Some(Some(refusal.code)),
    };
    let refused = Some(Some(ErrorCode::TooManyProducers));
    let many_sessions = Remembered {
        session_count: PRODUCER_COUNT_MAX,
        answer_count: 5,
    };
    assert_eq!(judge(2, 1, many_sessions), refused);
    assert_eq!(judge(1, 2, many_sessions), None);
    let many_answers = Remembered {
        session_count: 5,
        answer_count: ANSWER_COUNT_MAX,
    };
    assert_eq!(judge(2, 1, many_answers), refused);
    assert_eq!(judge(1, 2, many_answers), refused);
    assert_eq!(judge(1, 1, many_answers), Some(None));
    for _ in 1..ANSWERS_KEPT {
        producers.note(session(1), NOW, &one(1));
    }
    // A full window grows no further.
    let judged = producers.turn(numbered(1, ANSWERS_KEPT as u64 + 1), NOW, many_answers);
    assert!(matches!(judged, Ok(Turn::Next)));
}

#[test]
fn what_is_forgotten_could_not_begin_anew() {
    for drawn_ms in [-PRODUCER_LIFE_MS.cast_signed(), -1, 0, 1, 7_200_000] {
        let drawn_at = Timestamp(NOW.0.saturating_add_signed(drawn_ms + 1));
        let session = ProducerSession::new(drawn_at, [7; 10]);
        let number = 1;
        let numbered = ProducerNumber { session, number };
        let mut producers = Producers::new(1, NOW);
        producers.note(session, NOW, &one(1));
        let mut at = NOW;
        while producers.next_sweep().is_some() {
            let judged = producers.turn(numbered, NOW, Remembered::default());
            assert!(matches!(judged, Ok(Turn::Repeat(_))));
            at = at.after_ms(PRODUCER_SWEEP_MS);
            producers.sweep(at);
        }
        let judged = producers.turn(numbered, at, Remembered::default());
        let refused = judged.err().map(|refusal| refusal.code);
        assert_eq!(refused, Some(ErrorCode::ProducerExpired));
        assert!(at.0 >= NOW.0 + PRODUCER_LIFE_MS);
        assert_eq!(producers.remembered(), Remembered::default());
    }
}
