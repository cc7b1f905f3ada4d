//! What a result has to draw: rates over time, and latencies by the share of messages.

use serde::{Deserialize, Serialize};

use crate::meter::Latencies;

/// A rate over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// From one value to the next.
    pub(crate) interval_s: f64,
    /// Messages a second in each interval.
    pub(crate) per_s: Vec<u64>,
}

/// Latencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) name: String,
    /// Percent of the messages, and how many microseconds none of these took longer than.
    pub(crate) points: Vec<(f64, u64)>,
}

/// Both, of one run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Charts {
    #[serde(default)]
    pub(crate) series: Vec<Series>,
    #[serde(default)]
    pub(crate) curves: Vec<Curve>,
}

impl Charts {
    pub(crate) fn with_series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Adds a curve, unless nothing was recorded.
    pub(crate) fn with_curve(mut self, name: &str, latencies: &Latencies) -> Self {
        let (name, points) = (name.to_owned(), latencies.curve());
        if !points.is_empty() {
            self.curves.push(Curve { name, points });
        }
        self
    }
}

impl Charts {
    /// Says of all lines what they are part of.
    pub(crate) fn within(mut self, what: &str) -> Self {
        for series in &mut self.series {
            series.name = what.to_owned();
        }
        for curve in &mut self.curves {
            curve.name = format!("{what}: {}", curve.name);
        }
        self
    }

    /// Draws more into the same charts.
    pub(crate) fn and(mut self, other: Charts) -> Self {
        self.series.extend(other.series);
        self.curves.extend(other.curves);
        self
    }
}

/// Makes a series of looks at a count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looks {
    count: u64,
    elapsed_s: f64,
}

impl Looks {
    pub(crate) fn begin(count: u64) -> Self {
        Looks {
            count,
            elapsed_s: 0.0,
        }
    }

    /// Messages a second since the look before.
    pub(crate) fn look(&mut self, count: u64, elapsed_s: f64) -> u64 {
        let before = std::mem::replace(self, Looks { count, elapsed_s });
        let seconds = (elapsed_s - before.elapsed_s).max(1e-6);
        // Saturates; counts are far below 2^52, where f64 is exact.
        (count.saturating_sub(before.count) as f64 / seconds).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_time_between_two_looks() {
        let mut looks = Looks::begin(100);
        assert_eq!(looks.look(150, 0.5), 100);
        assert_eq!(looks.look(150, 0.6), 0);
        assert_eq!(looks.look(250, 2.6), 50);
    }

    #[test]
    fn nothing_recorded_is_no_curve() {
        let charts = Charts::default().with_curve("send", &Latencies::new());
        assert!(charts.curves.is_empty());
    }
}
