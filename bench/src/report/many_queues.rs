//! What came out of `many-queues`.

use serde::Serialize;

use super::Row;
use super::throughput::Throughput;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ManyQueues {
    pub(crate) queues: u32,
    /// Messages in a row to one queue.
    pub(crate) burst: u32,
    /// Messages a second: with many queues, as a multiple of those with one.
    pub(crate) ratio: f64,
    pub(crate) one_queue: Throughput,
    pub(crate) many_queues: Throughput,
}

impl ManyQueues {
    pub(super) fn rows(&self) -> Vec<Row> {
        let many = format!(
            "{}, {} in a row to each, {:.3} of the rate with one",
            self.queues, self.burst, self.ratio
        );
        let mut rows = vec![("queues", many), ("with one", String::new())];
        rows.extend(self.one_queue.rows());
        rows.push(("with many", String::new()));
        rows.extend(self.many_queues.rows());
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::tests::{further_keys, report, table};
    use super::super::throughput::tests::example;
    use super::*;

    #[test]
    fn both_runs_are_told_and_their_ratio() {
        let many_queues = ManyQueues {
            queues: 1_000,
            burst: 1,
            ratio: 0.75,
            one_queue: example(),
            many_queues: example(),
        };
        let report = report("many-queues", Outcome::ManyQueues(many_queues));
        let keys = ["burst", "many_queues", "one_queue", "queues", "ratio"];
        assert_eq!(further_keys(&report), keys);
        let text = table(&report);
        assert!(text.contains("0.750 of the rate with one"), "{text}");
        assert_eq!(text.matches("rate           500000 msg/s").count(), 2);
    }
}
