//! What came out of `drain`.

use serde::Serialize;

use super::Row;
use crate::body_len::BodyLen;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Drain {
    pub(crate) body_bytes: BodyLen,
    pub(crate) consumers: u32,
    pub(crate) queues: u32,
    /// Whether the nodes were started again before.
    pub(crate) cold: bool,
    /// To send the backlog; not measured beyond that.
    pub(crate) fill_s: f64,
    /// From the start of the nodes until they served; `None` when they were not started again.
    pub(crate) restart_s: Option<f64>,
    /// As measured.
    pub(crate) seconds: f64,
    /// Received and confirmed as deleted.
    pub(crate) messages: u64,
    pub(crate) msgs_per_s: u64,
    /// All nodes together.
    pub(crate) server_cpu_s_per_million: f64,
    /// Of the largest node, as the others.
    pub(crate) server_rss_before_bytes: u64,
    pub(crate) server_rss_after_bytes: u64,
    /// Since the latest start.
    pub(crate) server_rss_peak_bytes: u64,
    /// All nodes together.
    pub(crate) disk_bytes: u64,
}

impl Drain {
    pub(super) fn rows(&self) -> Vec<Row> {
        let load = format!(
            "consumers {}, queues {}, body {}, {}",
            self.consumers,
            self.queues,
            self.body_bytes,
            if self.cold { "cold" } else { "warm" }
        );
        let mut rows = vec![("load", load), ("fill", format!("{:.2} s", self.fill_s))];
        if let Some(restart_s) = self.restart_s {
            rows.push(("restart", format!("{restart_s:.2} s")));
        }
        let memory = format!(
            "{} MiB before, {} MiB after, {} MiB at most",
            self.server_rss_before_bytes >> 20,
            self.server_rss_after_bytes >> 20,
            self.server_rss_peak_bytes >> 20
        );
        let messages = format!("{} in {:.2} s", self.messages, self.seconds);
        let cpu = format!("{:.3} s per million", self.server_cpu_s_per_million);
        rows.extend([
            ("messages", messages),
            ("rate", format!("{} msg/s", self.msgs_per_s)),
            ("broker CPU", cpu),
            ("broker memory", memory),
            ("data folders", format!("{} MiB", self.disk_bytes >> 20)),
        ]);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{further_keys, report, table};
    use super::super::{Outcome, Report};
    use super::*;

    fn example(restart_s: Option<f64>) -> Report {
        let drain = Drain {
            body_bytes: BodyLen::fixed(1_024),
            consumers: 4,
            queues: 1,
            cold: restart_s.is_some(),
            fill_s: 20.0,
            restart_s,
            seconds: 10.0,
            messages: 3_000_000,
            msgs_per_s: 300_000,
            server_cpu_s_per_million: 1.5,
            server_rss_before_bytes: 1 << 26,
            server_rss_after_bytes: 1 << 25,
            server_rss_peak_bytes: 1 << 27,
            disk_bytes: 1 << 28,
        };
        report("drain", Outcome::Drain(drain))
    }

    #[test]
    fn the_json_object_has_exactly_the_documented_keys() {
        let keys = [
            "body_bytes",
            "cold",
            "consumers",
            "disk_bytes",
            "fill_s",
            "messages",
            "msgs_per_s",
            "queues",
            "restart_s",
            "seconds",
            "server_cpu_s_per_million",
            "server_rss_after_bytes",
            "server_rss_before_bytes",
            "server_rss_peak_bytes",
        ];
        assert_eq!(further_keys(&example(None)), keys);
    }

    #[test]
    fn a_warm_run_has_no_restart() {
        let text = table(&example(None));
        assert!(text.contains("rate           300000 msg/s"), "{text}");
        assert!(text.contains("warm") && !text.contains("restart"), "{text}");
        let text = table(&example(Some(2.5)));
        assert!(text.contains("restart        2.50 s"), "{text}");
        assert!(text.contains("64 MiB before, 32 MiB after"), "{text}");
    }
}
