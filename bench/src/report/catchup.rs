//! What came out of `catchup`.

use serde::Serialize;

use super::Row;
use crate::body_len::BodyLen;
use crate::meter::Quantiles;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Catchup {
    pub(crate) body_bytes: BodyLen,
    pub(crate) connections: u32,
    pub(crate) queues: u32,
    /// Messages a second.
    pub(crate) rate: u32,
    pub(crate) pause_s: u32,
    pub(crate) backlog_gb: u32,
    /// `None`: left out.
    pub(crate) after_pause: Option<CatchingUp>,
    /// `None`: left out.
    pub(crate) fresh_node: Option<CatchingUp>,
    /// All nodes together.
    pub(crate) disk_bytes: u64,
}

/// How a follower caught up.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CatchingUp {
    /// From when it could.
    pub(crate) caught_up_s: f64,
    /// How many it needed; 0: its log was enough.
    pub(crate) snapshots: usize,
    /// With nothing wrong.
    pub(crate) send_us_before: Option<Quantiles>,
    /// From the moment it stopped until it had caught up.
    pub(crate) send_us_during: Option<Quantiles>,
    pub(crate) p99_ratio: Option<f64>,
    /// Sends that failed.
    pub(crate) client_errors: u64,
}

impl Catchup {
    pub(super) fn rows(&self) -> Vec<Row> {
        let load = format!(
            "{} msg/s, connections {}, queues {}, body {}",
            self.rate, self.connections, self.queues, self.body_bytes
        );
        let mut rows = vec![("load", load)];
        if let Some(part) = &self.after_pause {
            rows.push(("paused", format!("{} s", self.pause_s)));
            rows.extend(part.rows());
        }
        if let Some(part) = &self.fresh_node {
            rows.push(("replaced", format!("with {} GB stored", self.backlog_gb)));
            rows.extend(part.rows());
        }
        rows.push(("data folders", format!("{} MiB", self.disk_bytes >> 20)));
        rows
    }
}

impl CatchingUp {
    fn rows(&self) -> Vec<Row> {
        let text = format!(
            "after {:.1} s, snapshots {}",
            self.caught_up_s, self.snapshots
        );
        let mut rows = vec![("  caught up", text)];
        let sends = [
            ("  send before", self.send_us_before),
            ("  send during", self.send_us_during),
        ];
        for (name, quantiles) in sends {
            rows.extend(quantiles.map(|quantiles| (name, quantiles.to_string())));
        }
        rows.extend(
            self.p99_ratio
                .map(|ratio| ("  ratio of p99", format!("{ratio:.2}"))),
        );
        rows.push(("  errors", self.client_errors.to_string()));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::tests::{QUANTILES, further_keys, report, table};
    use super::*;

    #[test]
    fn a_part_that_was_left_out_is_null_and_not_in_the_table() {
        let part = CatchingUp {
            caught_up_s: 12.5,
            snapshots: 1,
            send_us_before: Some(QUANTILES),
            send_us_during: None,
            p99_ratio: None,
            client_errors: 0,
        };
        let catchup = Catchup {
            body_bytes: BodyLen::fixed(1_024),
            connections: 4,
            queues: 1,
            rate: 20_000,
            pause_s: 0,
            backlog_gb: 5,
            after_pause: None,
            fresh_node: Some(part),
            disk_bytes: 1 << 30,
        };
        let report = report("catchup --nodes 3", Outcome::Catchup(catchup));
        let keys = [
            "after_pause",
            "backlog_gb",
            "body_bytes",
            "connections",
            "disk_bytes",
            "fresh_node",
            "pause_s",
            "queues",
            "rate",
        ];
        assert_eq!(further_keys(&report), keys);
        let value = serde_json::to_value(&report).expect("plain values");
        assert_eq!(value["after_pause"], serde_json::Value::Null);
        assert_eq!(value["fresh_node"]["snapshots"], 1);
        let text = table(&report);
        assert!(
            text.contains("  caught up    after 12.5 s, snapshots 1"),
            "{text}"
        );
        assert!(
            !text.contains("paused") && !text.contains("send during"),
            "{text}"
        );
    }
}
