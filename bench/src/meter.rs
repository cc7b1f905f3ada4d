//! What all connections count into, and how latencies are kept.
//!
//! Counting runs from the start; the measured messages are a difference of two looks at the count.
//! Latencies are recorded only between those looks. One message of `SAMPLE_EVERY` has its clock
//! read: reading it for each would cost the machine that the broker shares.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// One message of so many is timed.
pub(crate) const SAMPLE_EVERY: u64 = 16;
/// Longest latency that is told apart: 10 minutes in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Where a curve has its points.
const CURVE_PERCENTS: [f64; 22] = [
    0.0, 10.0, 25.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.5, 95.0, 97.5, 98.0, 99.0,
    99.5, 99.75, 99.9, 99.95, 99.99, 100.0,
];

/// Before measuring.
const WARMING_UP: u8 = 0;
/// While measuring.
const MEASURING: u8 = 1;
/// Nothing new is started any more.
const STOPPING: u8 = 2;

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Meter {
    started_at: Instant,
    phase: AtomicU8,
    done: AtomicU64,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Meter {
            started_at: Instant::now(),
            phase: AtomicU8::new(WARMING_UP),
            done: AtomicU64::new(0),
        }
    }

    /// Messages that went all the way of the workload.
    pub(crate) fn add_done(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Latencies count from now on.
    pub(crate) fn begin(&self) {
        self.phase.store(MEASURING, Ordering::Relaxed);
    }

    /// Nothing new is to be started from now on.
    pub(crate) fn stop(&self) {
        self.phase.store(STOPPING, Ordering::Relaxed);
    }

    pub(crate) fn is_measuring(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == MEASURING
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == STOPPING
    }

    /// Nanoseconds since the meter was made, at least 1.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.started_at.elapsed().as_nanos())
            .unwrap_or(u64::MAX)
            .max(1)
    }
}

/// Latencies of one connection, or of all.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
        Latencies(histogram.expect("1 is below half of the maximum, and 3 digits are allowed"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn merge(&mut self, other: &Latencies) {
        self.0
            .add(&other.0)
            .expect("all histograms have the same bounds");
    }

    /// Latencies by the share of messages that took no longer: 0 to 100, and microseconds. Empty
    /// when nothing was recorded.
    pub(crate) fn curve(&self) -> Vec<(f64, u64)> {
        let at = |percent: &f64| (*percent, self.0.value_at_quantile(percent / 100.0));
        let is_told_apart = |percent: &&f64| {
            // Further out, the curve would only repeat the longest one.
            // A little less than 100: shares like 99.9 have no exact f64.
            self.0.len() as f64 * (100.0 - *percent) > 99.999 || **percent == 100.0
        };
        let percents = CURVE_PERCENTS.iter().filter(is_told_apart);
        percents.map(at).filter(|_| !self.0.is_empty()).collect()
    }

    /// `None` when nothing was recorded.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        let at = |quantile| self.0.value_at_quantile(quantile);
        (!self.0.is_empty()).then(|| Quantiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
        })
    }
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quantiles {
            p50,
            p90,
            p99,
            p999,
            max,
        } = self;
        write!(
            f,
            "p50 {p50} us, p90 {p90} us, p99 {p99} us, p99.9 {p999} us, max {max} us"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_two_connections_are_those_of_all_messages() {
        let (mut all, mut other) = (Latencies::new(), Latencies::new());
        assert_eq!(all.quantiles(), None);
        (0..990).for_each(|_| all.record(Duration::from_micros(100)));
        (0..10).for_each(|_| other.record(Duration::from_micros(500)));
        all.merge(&other);
        let quantiles = all.quantiles().expect("recorded");
        assert_eq!(
            (quantiles.p50, quantiles.p90, quantiles.p99, quantiles.p999),
            (100, 100, 100, 500)
        );
        assert_eq!(quantiles.max, 500);
    }

    #[test]
    fn a_curve_ends_where_single_messages_begin() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.curve(), []);
        (1..=1_000).for_each(|us| latencies.record(Duration::from_micros(us)));
        let curve = latencies.curve();
        assert!(curve.contains(&(50.0, 500)));
        let ends: Vec<_> = curve.iter().rev().map(|(percent, _)| *percent).collect();
        assert_eq!(ends[..3], [100.0, 99.9, 99.75]);
        assert_eq!(curve.last(), Some(&(100.0, 1_000)));
    }

    #[test]
    fn a_latency_beyond_the_bound_counts_as_the_bound() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_secs(3_600));
        assert!(latencies.quantiles().expect("recorded").max >= LATENCY_US_MAX);
    }

    #[test]
    fn latencies_count_only_while_measuring() {
        let meter = Meter::new();
        assert!(!meter.is_measuring() && !meter.is_stopping());
        meter.begin();
        assert!(meter.is_measuring());
        meter.stop();
        assert!(!meter.is_measuring() && meter.is_stopping());
    }
}
