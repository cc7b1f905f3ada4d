//! What came out of `parked`. Memory and CPU time are those of all nodes together.

use serde::Serialize;

use super::Row;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Parked {
    pub(crate) connections: u32,
    pub(crate) queues: u32,
    /// Receives that wait.
    pub(crate) parked: u32,
    /// Memory that came with them, for each.
    pub(crate) bytes_per_receive: f64,
    /// With all connections, and nothing waiting.
    pub(crate) server_rss_before_bytes: u64,
    pub(crate) server_rss_parked_bytes: u64,
    /// When all had been asked again.
    pub(crate) server_rss_end_bytes: u64,
    /// How long was looked while all waited.
    pub(crate) quiet_s: f64,
    /// Of a core, meanwhile.
    pub(crate) cpu_percent: f64,
    /// How long was looked behind that, while waits ended and were asked again.
    pub(crate) asking_s: f64,
    /// Of a core, meanwhile.
    pub(crate) cpu_percent_asking: f64,
}

impl Parked {
    pub(super) fn rows(&self) -> Vec<Row> {
        let load = format!(
            "{} receives, connections {}, queues {}",
            self.parked, self.connections, self.queues
        );
        let memory = format!(
            "{:.0} B for each: {} MiB before, {} MiB parked, {} MiB at the end",
            self.bytes_per_receive,
            self.server_rss_before_bytes >> 20,
            self.server_rss_parked_bytes >> 20,
            self.server_rss_end_bytes >> 20
        );
        let quiet = format!("{:.2} % for {:.1} s", self.cpu_percent, self.quiet_s);
        let asking = format!(
            "{:.2} % for {:.1} s",
            self.cpu_percent_asking, self.asking_s
        );
        vec![
            ("load", load),
            ("memory", memory),
            ("CPU, waiting", quiet),
            ("CPU, asking", asking),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::tests::{further_keys, report, table};
    use super::*;

    #[test]
    fn waiting_and_asking_again_are_told_apart() {
        let parked = Parked {
            connections: 50,
            queues: 1,
            parked: 50_000,
            bytes_per_receive: 412.6,
            server_rss_before_bytes: 1 << 26,
            server_rss_parked_bytes: 1 << 27,
            server_rss_end_bytes: 1 << 28,
            quiet_s: 24.0,
            cpu_percent: 0.5,
            asking_s: 30.0,
            cpu_percent_asking: 2.5,
        };
        let report = report("parked", Outcome::Parked(parked));
        let keys = [
            "asking_s",
            "bytes_per_receive",
            "connections",
            "cpu_percent",
            "cpu_percent_asking",
            "parked",
            "queues",
            "quiet_s",
            "server_rss_before_bytes",
            "server_rss_end_bytes",
            "server_rss_parked_bytes",
        ];
        assert_eq!(further_keys(&report), keys);
        let text = table(&report);
        assert!(text.contains("413 B for each: 64 MiB before"), "{text}");
        assert!(text.contains("CPU, waiting   0.50 % for 24.0 s"), "{text}");
    }
}
