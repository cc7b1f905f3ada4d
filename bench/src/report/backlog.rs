//! What came out of `backlog`. Memory is that of the largest node.

use serde::Serialize;

use super::Row;
use crate::body_len::BodyLen;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Backlog {
    pub(crate) body_bytes: BodyLen,
    pub(crate) queues: u32,
    /// Ready messages at the first look.
    pub(crate) few: u64,
    /// Ready messages at the second.
    pub(crate) many: u64,
    /// From the first look until all were there.
    pub(crate) fill_s: f64,
    pub(crate) msgs_per_s: u64,
    /// Memory with many as a multiple of that with few.
    pub(crate) ratio: f64,
    pub(crate) server_rss_few_bytes: u64,
    pub(crate) server_rss_many_bytes: u64,
    /// At any time.
    pub(crate) server_rss_peak_bytes: u64,
    /// All nodes together.
    pub(crate) disk_bytes: u64,
}

impl Backlog {
    pub(super) fn rows(&self) -> Vec<Row> {
        let load = format!("queues {}, body {}", self.queues, self.body_bytes);
        let with = |count: u64, len: u64| {
            // Lengths are far below 2^52, where f64 is exact.
            format!("{:.1} MB with {count} ready", len as f64 / 1e6)
        };
        vec![
            ("load", load),
            ("few", with(self.few, self.server_rss_few_bytes)),
            ("many", with(self.many, self.server_rss_many_bytes)),
            ("ratio", format!("{:.2}", self.ratio)),
            (
                "at most",
                format!("{:.1} MB", self.server_rss_peak_bytes as f64 / 1e6),
            ),
            (
                "fill",
                format!("{:.2} s, {} msg/s", self.fill_s, self.msgs_per_s),
            ),
            ("data folders", format!("{} MiB", self.disk_bytes >> 20)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::tests::{further_keys, report, table};
    use super::*;

    #[test]
    fn few_and_many_and_their_ratio_are_told() {
        let backlog = Backlog {
            body_bytes: BodyLen::fixed(1_024),
            queues: 1,
            few: 100_000,
            many: 5_000_000,
            fill_s: 10.0,
            msgs_per_s: 490_000,
            ratio: 1.25,
            server_rss_few_bytes: 200_000_000,
            server_rss_many_bytes: 250_000_000,
            server_rss_peak_bytes: 300_000_000,
            disk_bytes: 1 << 33,
        };
        let report = report("backlog", Outcome::Backlog(backlog));
        let keys = [
            "body_bytes",
            "disk_bytes",
            "few",
            "fill_s",
            "many",
            "msgs_per_s",
            "queues",
            "ratio",
            "server_rss_few_bytes",
            "server_rss_many_bytes",
            "server_rss_peak_bytes",
        ];
        assert_eq!(further_keys(&report), keys);
        let text = table(&report);
        assert!(
            text.contains("many           250.0 MB with 5000000 ready"),
            "{text}"
        );
    }
}
