//! Goal: marks stay few, keep their promises about time and length, and lose no byte. Method: days
//! of sends in a loop, checked as they go.

use super::*;

const RETENTION: u64 = 345_600_000;

/// Sends one message a second for five days and checks every promise about the marks.
#[test]
fn marks_stay_bounded_and_within_a_500th_of_the_retention() {
    let mut marks = Marks::default();
    for second in 0..432_000u64 {
        let now = Timestamp(second * 1_000);
        while marks.next_expiry(RETENTION).is_some_and(|at| at <= now) {
            marks.drop_front();
        }
        marks.note(second + 1, now, 10, RETENTION, Share::one(1_000));
        assert!(marks.count() <= MARK_COUNT_MAX);
    }
    for mark in &marks.marks {
        assert!(mark.last_sent_at.0 - mark.sent_at.0 <= RETENTION / RETENTION_PRECISION);
    }
    for age in [10, 100, 1_000, 10_000] {
        let sent_at = (431_999 - age) * 1_000;
        let told = marks.sent_at(431_999 - age + 1).unwrap().0;
        assert!(
            told <= sent_at && sent_at - told <= age * 1_000 / 8 + 2_000,
            "age {age} s"
        );
    }
}

#[test]
fn changing_lengths_do_not_break_the_bound() {
    let mut marks = Marks::default();
    for id in 1..100_000u64 {
        let class = u8::try_from(id % 20).unwrap();
        let len = 1 << class;
        marks.note(id, Timestamp(id * 7), class, 60_000, Share::one(len));
        assert!(marks.count() <= MARK_COUNT_MAX);
        assert!(marks.bound(id).content_len_max >= 1 << class);
    }
}

#[test]
fn a_raised_retention_does_not_break_the_bound() {
    let mut marks = Marks::default();
    for id in 1..5_000u64 {
        let retention_ms = 60_000 + id * 10;
        let share = Share::one(8);
        marks.note(id, Timestamp(id * 500_000), 3, retention_ms, share);
        assert!(marks.count() <= MARK_COUNT_MAX);
    }
}

/// Messages of one length leave from all over, kept or for good, and some come back.
#[test]
fn bytes_are_exact_when_lengths_are_equal_whatever_is_joined_or_expires() {
    let mut marks = Marks::default();
    let check = |marks: &Marks, count: u64, kept: u64| {
        let of = |count| Share {
            count,
            bytes: count * 100,
        };
        assert_eq!((marks.live(), marks.kept()), (of(count), of(kept)));
    };
    for id in 1..=5_000u64 {
        marks.note(id, Timestamp(id * 400), 7, 86_400_000, Share::one(100));
    }
    check(&marks, 5_000, 0);
    assert_eq!(marks.take(10, 990).bytes, 99_000);
    marks.keep(2_000, 1_500);
    check(&marks, 2_510, 1_500);
    marks.bring_back(2_500, 700);
    marks.let_go(2_000, 100);
    check(&marks, 3_210, 700);
    (0..marks.count() / 2).for_each(|_| marks.drop_front());
    check(&marks, 3_210, 700);
    assert_eq!(marks.take(1, 9).bytes, 900, "overdue");
    marks.give_back(5, 100);
    check(&marks, 3_202, 700);
    marks.clear();
    check(&marks, 0, 0);
}

#[test]
fn classes_are_the_next_power_of_two() {
    assert_eq!([1, 2, 3, 1_024, 1_025].map(class_of), [0, 1, 2, 10, 11]);
}
