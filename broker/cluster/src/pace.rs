//! How fast this node sends what its peers lack, so that catching up leaves room for those who are
//! served meanwhile.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A bound of bytes a second, shared by all who keep to it.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: u64,
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// `rate`: bytes a second.
    pub(crate) fn new(rate: u64) -> Self {
        Pace {
            rate: rate.max(1),
            free_at: Mutex::new(None),
        }
    }

    /// When `len` more bytes may be sent.
    pub(crate) fn begin_at(&self, now: Instant, len: usize) -> Instant {
        self.take(now, len).0
    }

    /// When the next bytes may be sent after `len` were.
    pub(crate) fn end_at(&self, now: Instant, len: usize) -> Instant {
        self.take(now, len).1
    }

    fn take(&self, now: Instant, len: usize) -> (Instant, Instant) {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = free_at.unwrap_or(now).max(now);
        let micros = (len as u64).saturating_mul(1_000_000) / self.rate;
        let end = begin + Duration::from_micros(micros);
        *free_at = Some(end);
        (begin, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_no_faster_than_the_pace() {
        let pace = Pace::new(1_000_000);
        let now = Instant::now();
        let begins: Vec<_> = (0..11).map(|_| pace.begin_at(now, 100_000)).collect();
        assert_eq!(begins[0], now);
        assert_eq!(begins[10] - now, Duration::from_secs(1));
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.begin_at(later, 1), later);
        assert!(pace.end_at(later, 500_000) - later >= Duration::from_millis(500));
    }
}
