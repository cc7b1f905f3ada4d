//! What came out of `delayed`.

use serde::Serialize;

use super::Row;
use crate::body_len::BodyLen;
use crate::meter::Quantiles;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delayed {
    pub(crate) body_bytes: BodyLen,
    pub(crate) consumers: u32,
    pub(crate) queues: u32,
    /// Messages due per second.
    pub(crate) due_rate: u32,
    /// To send them.
    pub(crate) fill_s: f64,
    /// From the start of the nodes until they served, with all messages waiting.
    pub(crate) restart_s: f64,
    /// From the beginning of the window until the last was deleted.
    pub(crate) seconds: f64,
    /// Received and confirmed as deleted.
    pub(crate) messages: u64,
    /// Messages that waited beside them all the time.
    pub(crate) waiting: u64,
    pub(crate) msgs_per_s: u64,
    /// From when a message was due until it was received, of every message. The broker's times are
    /// whole milliseconds.
    pub(crate) lateness_us: Option<Quantiles>,
    /// Of the largest node, as the others: when all were sent.
    pub(crate) server_rss_waiting_bytes: u64,
    /// When all were waiting after the restart.
    pub(crate) server_rss_restarted_bytes: u64,
    /// The most while they came due.
    pub(crate) server_rss_due_bytes: u64,
    /// All nodes together.
    pub(crate) disk_bytes: u64,
}

impl Delayed {
    pub(super) fn rows(&self) -> Vec<Row> {
        let load = format!(
            "consumers {}, queues {}, body {}, {} due a second",
            self.consumers, self.queues, self.body_bytes, self.due_rate
        );
        let memory = format!(
            "{} MiB waiting, {} MiB restarted, {} MiB at most when due",
            self.server_rss_waiting_bytes >> 20,
            self.server_rss_restarted_bytes >> 20,
            self.server_rss_due_bytes >> 20
        );
        let messages = format!(
            "{} in {:.2} s, {} waiting beside them",
            self.messages, self.seconds, self.waiting
        );
        let mut rows = vec![
            ("load", load),
            ("fill", format!("{:.2} s", self.fill_s)),
            ("restart", format!("{:.2} s", self.restart_s)),
            ("messages", messages),
            ("rate", format!("{} msg/s", self.msgs_per_s)),
        ];
        if let Some(lateness) = self.lateness_us {
            rows.push(("lateness", lateness.to_string()));
        }
        rows.extend([
            ("broker memory", memory),
            ("data folders", format!("{} MiB", self.disk_bytes >> 20)),
        ]);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::tests::{QUANTILES, further_keys, report, table};
    use super::*;

    #[test]
    fn the_json_object_has_exactly_the_documented_keys() {
        let delayed = Delayed {
            body_bytes: BodyLen::fixed(64),
            consumers: 4,
            queues: 1,
            due_rate: 5_000,
            fill_s: 20.0,
            restart_s: 2.0,
            seconds: 200.0,
            messages: 1_000_000,
            waiting: 0,
            msgs_per_s: 5_000,
            lateness_us: Some(QUANTILES),
            server_rss_waiting_bytes: 1 << 26,
            server_rss_restarted_bytes: 1 << 25,
            server_rss_due_bytes: 1 << 27,
            disk_bytes: 1 << 28,
        };
        let report = report("delayed", Outcome::Delayed(delayed));
        let keys = [
            "body_bytes",
            "consumers",
            "disk_bytes",
            "due_rate",
            "fill_s",
            "lateness_us",
            "messages",
            "msgs_per_s",
            "queues",
            "restart_s",
            "seconds",
            "server_rss_due_bytes",
            "server_rss_restarted_bytes",
            "server_rss_waiting_bytes",
            "waiting",
        ];
        assert_eq!(further_keys(&report), keys);
        let text = table(&report);
        assert!(text.contains("lateness       p50 1 us"), "{text}");
        assert!(text.contains("64 MiB waiting, 32 MiB restarted"), "{text}");
    }
}
