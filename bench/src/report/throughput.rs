//! What came out of `produce` and `pipeline`.

use serde::Serialize;

use super::Row;
use crate::body_len::BodyLen;
use crate::meter::Quantiles;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Throughput {
    pub(crate) body_bytes: BodyLen,
    pub(crate) connections: u32,
    pub(crate) window: u32,
    pub(crate) queues: u32,
    /// As measured.
    pub(crate) seconds: f64,
    /// Confirmed sends, or for `pipeline` confirmed deletes.
    pub(crate) messages: u64,
    pub(crate) msgs_per_s: u64,
    /// `None` when no command for it was given.
    pub(crate) ceiling_msgs_per_s: Option<u64>,
    pub(crate) ceiling_ratio: Option<f64>,
    pub(crate) send_us: Option<Quantiles>,
    /// From send to receive; `None` when nothing is received.
    pub(crate) end_to_end_us: Option<Quantiles>,
    /// All nodes together.
    pub(crate) server_cpu_s_per_million: f64,
    /// Of the largest node.
    pub(crate) server_rss_peak_bytes: u64,
    pub(crate) node_usage: Vec<NodeUsage>,
    /// All nodes together.
    pub(crate) disk_bytes: u64,
}

/// What one node used.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeUsage {
    pub(crate) node: u64,
    /// While measuring.
    pub(crate) cpu_s: f64,
    pub(crate) cpu_s_per_million: f64,
    pub(crate) rss_peak_bytes: u64,
}

impl Throughput {
    pub(super) fn rows(&self) -> Vec<Row> {
        let load = format!(
            "connections {}, window {}, queues {}, body {}",
            self.connections, self.window, self.queues, self.body_bytes
        );
        let messages = format!("{} in {:.2} s", self.messages, self.seconds);
        let mut rows = vec![
            ("load", load),
            ("messages", messages),
            ("rate", format!("{} msg/s", self.msgs_per_s)),
        ];
        if let Some((ceiling, ratio)) = self.ceiling_msgs_per_s.zip(self.ceiling_ratio) {
            rows.push(("of the ceiling", format!("{ratio:.3} of {ceiling} msg/s")));
        }
        for (name, quantiles) in [("send", self.send_us), ("end to end", self.end_to_end_us)] {
            if let Some(quantiles) = quantiles {
                rows.push((name, quantiles.to_string()));
            }
        }
        let cpu = format!("{:.3} s per million", self.server_cpu_s_per_million);
        let memory = format!("{} MiB at most", self.server_rss_peak_bytes >> 20);
        rows.extend([("broker CPU", cpu), ("broker memory", memory)]);
        if self.node_usage.len() > 1 {
            let node = |node: &NodeUsage| format!("{}: {:.3}", node.node, node.cpu_s_per_million);
            let nodes: Vec<_> = self.node_usage.iter().map(node).collect();
            rows.push(("CPU by node", nodes.join(", ")));
        }
        rows.push(("data folders", format!("{} MiB", self.disk_bytes >> 20)));
        rows
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{QUANTILES, further_keys, report, table};
    use super::super::{Outcome, Report};
    use super::*;

    pub(in super::super) fn example() -> Throughput {
        let usage = |node| NodeUsage {
            node,
            cpu_s: 2.5,
            cpu_s_per_million: 0.5,
            rss_peak_bytes: 1 << 27,
        };
        Throughput {
            body_bytes: BodyLen::fixed(1_024),
            connections: 4,
            window: 1_024,
            queues: 1,
            seconds: 10.0,
            messages: 5_000_000,
            msgs_per_s: 500_000,
            ceiling_msgs_per_s: None,
            ceiling_ratio: None,
            send_us: Some(QUANTILES),
            end_to_end_us: None,
            server_cpu_s_per_million: 1.5,
            server_rss_peak_bytes: 1 << 27,
            node_usage: vec![usage(1), usage(2), usage(3)],
            disk_bytes: 1 << 28,
        }
    }

    fn example_report(ceiling: Option<u64>) -> Report {
        let throughput = Throughput {
            ceiling_msgs_per_s: ceiling,
            ceiling_ratio: ceiling.map(|_| 0.5),
            ..example()
        };
        report("pipeline --nodes 3", Outcome::Throughput(throughput))
    }

    #[test]
    fn the_json_object_has_exactly_the_documented_keys() {
        let keys = [
            "body_bytes",
            "ceiling_msgs_per_s",
            "ceiling_ratio",
            "connections",
            "disk_bytes",
            "end_to_end_us",
            "messages",
            "msgs_per_s",
            "node_usage",
            "queues",
            "seconds",
            "send_us",
            "server_cpu_s_per_million",
            "server_rss_peak_bytes",
            "window",
        ];
        assert_eq!(further_keys(&example_report(None)), keys);
        let value = serde_json::to_value(example_report(None)).expect("plain values");
        assert_eq!(value["workload"], "pipeline");
        assert_eq!((&value["tls"], &value["nodes"]), (&"on".into(), &3.into()));
        let quantiles = serde_json::json!({"p50": 1, "p90": 1, "p99": 2, "p999": 3, "max": 4});
        assert_eq!(value["send_us"], quantiles);
        assert_eq!(value["end_to_end_us"], serde_json::Value::Null);
        assert_eq!(value["node_usage"][2]["node"], 3);
    }

    #[test]
    fn a_table_leaves_out_what_was_not_measured() {
        let text = table(&example_report(None));
        assert!(text.contains("rate           500000 msg/s"), "{text}");
        assert!(text.contains("p99.9 3 us"), "{text}");
        assert!(
            !text.contains("end to end") && !text.contains("ceiling"),
            "{text}"
        );
        let text = table(&example_report(Some(1_000_000)));
        assert!(
            text.contains("of the ceiling 0.500 of 1000000 msg/s"),
            "{text}"
        );
    }
}
