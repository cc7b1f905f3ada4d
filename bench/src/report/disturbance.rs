//! What came out of `failover` and `transfer`.

use std::time::Duration;

use serde::Serialize;

use super::{Row, milliseconds};
use crate::body_len::BodyLen;
use crate::meter::Quantiles;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Disturbance {
    pub(crate) body_bytes: BodyLen,
    /// Messages a second.
    pub(crate) rate: u32,
    pub(crate) rounds: u32,
    /// Confirmed sends.
    pub(crate) messages: u64,
    /// The longest time without a confirmed send, over all rounds.
    pub(crate) gap_ms: Option<Spread>,
    /// By round.
    pub(crate) gaps_ms: Vec<f64>,
    /// Sends that failed.
    pub(crate) client_errors: u64,
    /// The first of them.
    pub(crate) client_error: Option<String>,
    /// From when a send was due.
    pub(crate) send_us: Option<Quantiles>,
}

/// Several values of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// In milliseconds; `None` when there are no values. Of two in the middle, the larger counts.
    pub(crate) fn of(times: &[Duration]) -> Option<Spread> {
        let mut times = times.to_vec();
        times.sort_unstable();
        Some(Spread {
            median: milliseconds(*times.get(times.len() / 2)?),
            min: milliseconds(*times.first()?),
            max: milliseconds(*times.last()?),
        })
    }
}

impl Disturbance {
    pub(super) fn rows(&self) -> Vec<Row> {
        let load = format!("{} msg/s, body {}", self.rate, self.body_bytes);
        let mut rows = vec![
            ("load", load),
            ("rounds", self.rounds.to_string()),
            ("messages", self.messages.to_string()),
        ];
        if let Some(Spread { median, min, max }) = self.gap_ms {
            let text = format!("median {median:.1} ms, {min:.1} to {max:.1} ms");
            rows.push(("longest gap", text));
        }
        if let Some(quantiles) = self.send_us {
            rows.push(("send", quantiles.to_string()));
        }
        let mut errors = self.client_errors.to_string();
        if let Some(error) = &self.client_error {
            errors += &format!(", the first: {error}");
        }
        rows.push(("errors", errors));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::tests::{QUANTILES, further_keys, report, table};
    use super::*;

    #[test]
    fn gaps_are_told_by_median_and_range() {
        let times = [30, 10, 20, 90, 50].map(Duration::from_millis);
        let spread = Spread {
            median: 30.0,
            min: 10.0,
            max: 90.0,
        };
        assert_eq!(Spread::of(&times), Some(spread));
        assert_eq!(Spread::of(&[]), None);
        let disturbance = Disturbance {
            body_bytes: BodyLen::fixed(1_024),
            rate: 2_000,
            rounds: 5,
            messages: 40_000,
            gap_ms: Some(spread),
            gaps_ms: vec![30.0, 10.0, 20.0, 90.0, 50.0],
            client_errors: 1,
            client_error: Some("it broke".to_owned()),
            send_us: Some(QUANTILES),
        };
        let report = report("failover --nodes 3", Outcome::Disturbance(disturbance));
        let keys = [
            "body_bytes",
            "client_error",
            "client_errors",
            "gap_ms",
            "gaps_ms",
            "messages",
            "rate",
            "rounds",
            "send_us",
        ];
        assert_eq!(further_keys(&report), keys);
        let text = table(&report);
        assert!(
            text.contains("longest gap    median 30.0 ms, 10.0 to 90.0 ms"),
            "{text}"
        );
        assert!(
            text.contains("errors         1, the first: it broke"),
            "{text}"
        );
    }
}
