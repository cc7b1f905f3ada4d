//! What came out of `checkpoint`.

use serde::Serialize;

use super::Row;
use crate::body_len::BodyLen;
use crate::meter::Quantiles;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checkpoint {
    pub(crate) body_bytes: BodyLen,
    pub(crate) connections: u32,
    /// Messages a second.
    pub(crate) rate: u32,
    /// Confirmed sends.
    pub(crate) messages: u64,
    /// That began while measuring, of all nodes.
    pub(crate) checkpoints: usize,
    /// All together.
    pub(crate) checkpoint_s: f64,
    pub(crate) checkpoint_s_max: f64,
    /// Sends while one was running, from when they were due.
    pub(crate) send_us_running: Option<Quantiles>,
    /// Sends while none was.
    pub(crate) send_us_between: Option<Quantiles>,
    pub(crate) p99_ratio: Option<f64>,
    /// Sends that failed.
    pub(crate) client_errors: u64,
}

impl Checkpoint {
    pub(super) fn rows(&self) -> Vec<Row> {
        let load = format!(
            "{} msg/s, connections {}, body {}",
            self.rate, self.connections, self.body_bytes
        );
        let checkpoints = format!(
            "{} of {:.3} s together, the longest {:.3} s",
            self.checkpoints, self.checkpoint_s, self.checkpoint_s_max
        );
        let mut rows = vec![
            ("load", load),
            ("messages", self.messages.to_string()),
            ("checkpoints", checkpoints),
        ];
        let sends = [
            ("send, running", self.send_us_running),
            ("send, none", self.send_us_between),
        ];
        for (name, quantiles) in sends {
            rows.extend(quantiles.map(|quantiles| (name, quantiles.to_string())));
        }
        rows.extend(
            self.p99_ratio
                .map(|ratio| ("ratio of p99", format!("{ratio:.2}"))),
        );
        rows.push(("errors", self.client_errors.to_string()));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::tests::{QUANTILES, further_keys, report, table};
    use super::*;

    #[test]
    fn sends_with_and_without_a_checkpoint_are_told_apart() {
        let checkpoint = Checkpoint {
            body_bytes: BodyLen::fixed(1_024),
            connections: 4,
            rate: 20_000,
            messages: 600_000,
            checkpoints: 12,
            checkpoint_s: 2.5,
            checkpoint_s_max: 0.5,
            send_us_running: Some(QUANTILES),
            send_us_between: Some(QUANTILES),
            p99_ratio: Some(1.25),
            client_errors: 0,
        };
        let report = report("checkpoint", Outcome::Checkpoint(checkpoint));
        let keys = [
            "body_bytes",
            "checkpoint_s",
            "checkpoint_s_max",
            "checkpoints",
            "client_errors",
            "connections",
            "messages",
            "p99_ratio",
            "rate",
            "send_us_between",
            "send_us_running",
        ];
        assert_eq!(further_keys(&report), keys);
        let text = table(&report);
        assert!(text.contains("ratio of p99   1.25"), "{text}");
        assert!(text.contains("12 of 2.500 s together"), "{text}");
    }
}
