//! The result of a run: one JSON object for programs, a table for people, both from one value.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::args::{Switch, Workload};
use crate::meter::Quantiles;

/// The result; its fields are the keys of the JSON object.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) workload: Workload,
    pub(crate) nodes: u32,
    /// What a confirmed send means: `synced`, on disk on a majority of the nodes.
    pub(crate) durability: &'static str,
    pub(crate) tls: Switch,
    pub(crate) body_bytes: u32,
    pub(crate) connections: u32,
    pub(crate) window: u32,
    pub(crate) queues: u32,
    /// As measured.
    pub(crate) seconds: f64,
    /// Confirmed sends, or for `pipeline` confirmed deletes.
    pub(crate) messages: u64,
    pub(crate) msgs_per_s: u64,
    pub(crate) send_us: Option<Quantiles>,
    /// From send to receive; `None` when nothing is received.
    pub(crate) end_to_end_us: Option<Quantiles>,
    pub(crate) server_cpu_s_per_million: f64,
    pub(crate) server_rss_peak_bytes: u64,
    pub(crate) disk_bytes: u64,
}

impl Report {
    /// Prints the result to standard output.
    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        let text = if json {
            serde_json::to_string(self)?
        } else {
            self.table()
        };
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    fn table(&self) -> String {
        let tls = if self.tls == Switch::On { "on" } else { "off" };
        let workload = match self.workload {
            Workload::Produce => "produce",
            Workload::Pipeline => "pipeline",
        };
        let mut rows = vec![
            (
                "workload",
                format!("{workload}, nodes {}, {}", self.nodes, self.durability),
            ),
            (
                "load",
                format!(
                    "connections {}, window {}, queues {}, body {} B, TLS {tls}",
                    self.connections, self.window, self.queues, self.body_bytes
                ),
            ),
            (
                "messages",
                format!("{} in {:.2} s", self.messages, self.seconds),
            ),
            ("rate", format!("{} msg/s", self.msgs_per_s)),
        ];
        for (name, quantiles) in [("send", self.send_us), ("end to end", self.end_to_end_us)] {
            if let Some(Quantiles {
                p50,
                p99,
                p999,
                max,
            }) = quantiles
            {
                let text = format!("p50 {p50} us, p99 {p99} us, p99.9 {p999} us, max {max} us");
                rows.push((name, text));
            }
        }
        rows.push((
            "broker CPU",
            format!("{:.3} s per million", self.server_cpu_s_per_million),
        ));
        rows.push((
            "broker memory",
            format!("{} MiB at most", self.server_rss_peak_bytes >> 20),
        ));
        rows.push(("data folder", format!("{} MiB", self.disk_bytes >> 20)));
        let lines: Vec<_> = rows
            .iter()
            .map(|(name, text)| format!("{name:<15}{text}"))
            .collect();
        lines.join("\n")
    }
}

/// Messages per second, rounded.
pub(crate) fn per_second(messages: u64, time: Duration) -> u64 {
    // Counts are far below 2^52, where f64 is exact; a conversion from f64 saturates.
    (messages as f64 / time.as_secs_f64().max(1e-9)).round() as u64
}

/// Seconds of CPU time per million messages, to the millisecond.
pub(crate) fn cpu_per_million(cpu: Duration, messages: u64) -> f64 {
    rounded(cpu.as_secs_f64() * 1e6 / messages.max(1) as f64)
}

/// To the thousandth.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            workload: Workload::Pipeline,
            nodes: 1,
            durability: "synced",
            tls: Switch::On,
            body_bytes: 1_024,
            connections: 4,
            window: 1_024,
            queues: 1,
            seconds: 10.0,
            messages: 5_000_000,
            msgs_per_s: 500_000,
            send_us: Some(Quantiles {
                p50: 1,
                p99: 2,
                p999: 3,
                max: 4,
            }),
            end_to_end_us: None,
            server_cpu_s_per_million: 1.5,
            server_rss_peak_bytes: 1 << 27,
            disk_bytes: 1 << 28,
        }
    }

    #[test]
    fn the_json_object_has_exactly_the_documented_keys() {
        let text = serde_json::to_string(&report()).expect("plain values");
        let value: serde_json::Value = serde_json::from_str(&text).expect("an object");
        let mut keys: Vec<_> = value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        keys.sort();
        assert_eq!(
            keys,
            [
                "body_bytes",
                "connections",
                "disk_bytes",
                "durability",
                "end_to_end_us",
                "messages",
                "msgs_per_s",
                "nodes",
                "queues",
                "seconds",
                "send_us",
                "server_cpu_s_per_million",
                "server_rss_peak_bytes",
                "tls",
                "window",
                "workload",
            ]
        );
        assert_eq!(value["workload"], "pipeline");
        assert_eq!(value["tls"], "on");
        assert_eq!(
            value["send_us"],
            serde_json::json!({"p50": 1, "p99": 2, "p999": 3, "max": 4})
        );
        assert_eq!(value["end_to_end_us"], serde_json::Value::Null);
    }

    #[test]
    fn a_table_leaves_out_what_was_not_measured() {
        let table = report().table();
        assert!(table.contains("rate           500000 msg/s"), "{table}");
        assert!(
            table.contains("p99.9 3 us") && !table.contains("end to end"),
            "{table}"
        );
    }

    #[test]
    fn rates_are_those_of_the_measured_time() {
        assert_eq!(per_second(1_000, Duration::from_millis(500)), 2_000);
        assert_eq!(cpu_per_million(Duration::from_secs(3), 2_000_000), 1.5);
        assert_eq!(cpu_per_million(Duration::from_secs(3), 0), 3_000_000.0);
    }
}
