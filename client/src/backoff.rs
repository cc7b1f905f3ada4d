//! How long to wait before the next attempt: doubling, capped, with jitter.
//!
//! The jitter takes up to half of each delay away, so that the clients of a broker that came back
//! do not all knock at once.

use std::time::Duration;

use rand::Rng;

/// Delay before the first repeat.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest delay between two attempts.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The delay before attempt number `attempt`, counted from 0.
pub(crate) fn delay(attempt: u32) -> Duration {
    let full = BACKOFF_MIN
        .saturating_mul(1 << attempt.min(16))
        .min(BACKOFF_MAX);
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// The same, but at most `max` in full.
pub(crate) fn delay_up_to(attempt: u32, max: Duration) -> Duration {
    delay(attempt).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_never_fall_below_half() {
        for attempt in 0..64 {
            let full = BACKOFF_MIN
                .saturating_mul(1 << attempt.min(16))
                .min(BACKOFF_MAX);
            let delay = delay(attempt);
            assert!(
                delay <= full && delay >= full / 2,
                "attempt {attempt}: {delay:?}"
            );
        }
    }
}
