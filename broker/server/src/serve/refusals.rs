//! How often this process refused a request, by number.
//!
//! One row of counters for the whole process: connections add to it on any core, and the metrics
//! read it. A count may be seen a moment late; none is lost.

use std::sync::atomic::{AtomicU64, Ordering};

use sampan_protocol::ErrorCode;

static COUNTS: [AtomicU64; ErrorCode::ALL.len()] =
    [const { AtomicU64::new(0) }; ErrorCode::ALL.len()];

/// Counts one refusal.
pub(crate) fn count(code: ErrorCode) {
    let place = ErrorCode::ALL.iter().position(|other| *other == code);
    if let Some(count) = place.and_then(|place| COUNTS.get(place)) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// All counts, in the order of the numbers.
pub(crate) fn counts() -> impl Iterator<Item = (ErrorCode, u64)> {
    let counts = COUNTS.iter().map(|count| count.load(Ordering::Relaxed));
    ErrorCode::ALL.iter().copied().zip(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_a_count_of_its_own() {
        let of = |code| counts().find(|(other, _)| *other == code).unwrap().1;
        let last = ErrorCode::ALL[ErrorCode::ALL.len() - 1];
        let (before, last_before) = (of(ErrorCode::QueueNotFound), of(last));
        count(ErrorCode::QueueNotFound);
        count(ErrorCode::QueueNotFound);
        count(last);
        assert_eq!(of(ErrorCode::QueueNotFound), before + 2);
        assert_eq!(of(last), last_before + 1);
    }
}
