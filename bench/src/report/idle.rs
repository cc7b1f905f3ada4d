//! What came out of `idle`.

use serde::Serialize;

use super::Row;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Idle {
    /// As measured.
    pub(crate) seconds: f64,
    /// Share of one core, by node.
    pub(crate) cpu_percent: Vec<f64>,
    pub(crate) cpu_percent_max: f64,
    /// By node.
    pub(crate) rss_peak_bytes: Vec<u64>,
}

impl Idle {
    pub(super) fn rows(&self) -> Vec<Row> {
        let shares: Vec<_> = self
            .cpu_percent
            .iter()
            .map(|share| format!("{share:.2} %"))
            .collect();
        let sizes: Vec<_> = self
            .rss_peak_bytes
            .iter()
            .map(|len| format!("{} MiB", len >> 20))
            .collect();
        vec![
            ("measured", format!("{:.1} s", self.seconds)),
            ("CPU of a core", shares.join(", ")),
            ("memory", sizes.join(", ")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::tests::{further_keys, report, table};
    use super::*;

    #[test]
    fn every_node_is_told_by_itself() {
        let idle = Idle {
            seconds: 60.0,
            cpu_percent: vec![0.5, 1.25],
            cpu_percent_max: 1.25,
            rss_peak_bytes: vec![1 << 25, 1 << 26],
        };
        let report = report("idle --nodes 3", Outcome::Idle(idle));
        let keys = [
            "cpu_percent",
            "cpu_percent_max",
            "rss_peak_bytes",
            "seconds",
        ];
        assert_eq!(further_keys(&report), keys);
        let text = table(&report);
        assert!(text.contains("CPU of a core  0.50 %, 1.25 %"), "{text}");
        assert!(
            text.contains("nodes          3, sets 16, cores 1"),
            "{text}"
        );
    }
}
