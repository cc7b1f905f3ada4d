//! The result of a run: one JSON object for programs, a table for people, both from one value.
//!
//! Every result says first what was measured, with what and where: version and revision, date,
//! machine, workload, nodes, sets, durability, TLS. The rest depends on the workload; [`Outcome`]
//! has one type for each kind. What there is to draw comes last.

pub(crate) mod backlog;
pub(crate) mod catchup;
pub(crate) mod checkpoint;
pub(crate) mod delayed;
pub(crate) mod disturbance;
pub(crate) mod drain;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod many_queues;
pub(crate) mod origin;
pub(crate) mod parked;
pub(crate) mod throughput;
pub(crate) mod wakeup;

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use self::backlog::Backlog;
use self::catchup::Catchup;
use self::checkpoint::Checkpoint;
use self::delayed::Delayed;
use self::disturbance::Disturbance;
use self::drain::Drain;
use self::idle::Idle;
use self::latency::Latency;
use self::many_queues::ManyQueues;
use self::origin::Origin;
use self::parked::Parked;
use self::throughput::Throughput;
use self::wakeup::Wakeup;
use crate::args::{ClusterArguments, DurabilityArgument, Switch, Workload};
use crate::charts::Charts;
use crate::html;

/// A line of the table: what, and how much.
pub(crate) type Row = (&'static str, String);

/// The result; its fields, and those of the outcome, are the keys of the JSON object.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    origin: Origin,
    workload: Workload,
    nodes: u32,
    /// Sets of queues; `None`: as the node does by itself.
    sets: Option<u32>,
    /// Threads of a node that own queues; `None` likewise.
    cores: Option<u16>,
    /// What a confirmed send means: `synced` on a majority of the nodes, or only `written` there.
    durability: &'static str,
    tls: Switch,
    #[serde(flatten)]
    outcome: Outcome,
    #[serde(flatten)]
    charts: Charts,
}

/// What a workload has found out.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    pub(crate) charts: Charts,
}

impl From<Outcome> for Run {
    fn from(outcome: Outcome) -> Self {
        let charts = Charts::default();
        Run { outcome, charts }
    }
}

/// What came out, by the kind of workload.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    Throughput(Throughput),
    Disturbance(Disturbance),
    Catchup(Catchup),
    Idle(Idle),
    Drain(Drain),
    Delayed(Delayed),
    Latency(Latency),
    ManyQueues(ManyQueues),
    Wakeup(Wakeup),
    Parked(Parked),
    Backlog(Backlog),
    Checkpoint(Checkpoint),
}

impl Report {
    pub(crate) fn new(arguments: &ClusterArguments, run: Run) -> Self {
        Report {
            origin: Origin::here(),
            workload: arguments.workload,
            nodes: arguments.nodes,
            sets: arguments.set_count(),
            cores: arguments.core_count(),
            durability: match arguments.durability {
                DurabilityArgument::Sync => "synced",
                DurabilityArgument::Async => "written",
            },
            tls: arguments.tls,
            outcome: run.outcome,
            charts: run.charts,
        }
    }

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

    /// The result as a page by itself.
    pub(crate) fn page(&self) -> String {
        let (name, mut rows) = (self.workload.name(), self.rows());
        // The page has these at its top.
        let origin = self.origin.rows();
        rows.retain(|row| !origin.contains(row));
        html::run_page(name, &self.origin, &rows, &self.charts)
    }

    fn table(&self) -> String {
        lines(&self.rows())
    }

    /// The lines of the table.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let own =
            |count: Option<u32>| count.map_or("default".to_owned(), |count| count.to_string());
        let text = format!(
            "{}, {}, TLS {}",
            self.workload.name(),
            self.durability,
            self.tls.name(),
        );
        let nodes = format!(
            "{}, sets {}, cores {}",
            self.nodes,
            own(self.sets),
            own(self.cores.map(u32::from))
        );
        let mut rows = vec![("workload", text), ("nodes", nodes)];
        rows.extend(self.origin.rows());
        rows.extend(match &self.outcome {
            Outcome::Throughput(throughput) => throughput.rows(),
            Outcome::Disturbance(disturbance) => disturbance.rows(),
            Outcome::Catchup(catchup) => catchup.rows(),
            Outcome::Idle(idle) => idle.rows(),
            Outcome::Drain(drain) => drain.rows(),
            Outcome::Delayed(delayed) => delayed.rows(),
            Outcome::Latency(latency) => latency.rows(),
            Outcome::ManyQueues(many_queues) => many_queues.rows(),
            Outcome::Wakeup(wakeup) => wakeup.rows(),
            Outcome::Parked(parked) => parked.rows(),
            Outcome::Backlog(backlog) => backlog.rows(),
            Outcome::Checkpoint(checkpoint) => checkpoint.rows(),
        });
        rows
    }
}

/// A table as text.
pub(crate) fn lines(rows: &[Row]) -> String {
    let line = |(name, text): &Row| format!("{name:<15}{text}");
    let lines: Vec<_> = rows.iter().map(line).collect();
    lines.join("\n")
}

/// A ratio, to the thousandth.
pub(crate) fn ratio(over: f64, under: f64) -> f64 {
    rounded(over / under.max(1e-9))
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

/// Milliseconds, to the microsecond.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Verb};
    use crate::meter::Quantiles;

    pub(crate) const QUANTILES: Quantiles = Quantiles {
        p50: 1,
        p90: 1,
        p99: 2,
        p999: 3,
        max: 4,
    };

    pub(crate) fn report(line: &str, outcome: Outcome) -> Report {
        let words = ["sampan-bench", "cluster", "--workload"];
        let words = words.into_iter().chain(line.split_whitespace());
        let Verb::Cluster(arguments) = Arguments::try_parse_from(words).expect("good").verb else {
            panic!("{line} is not about a cluster");
        };
        Report::new(&arguments, outcome.into())
    }

    /// The keys of the JSON object beside those of every report.
    pub(crate) fn further_keys(report: &Report) -> Vec<String> {
        let text = serde_json::to_string(report).expect("plain values");
        let value: serde_json::Value = serde_json::from_str(&text).expect("an object");
        let object = value.as_object().expect("an object");
        let common = [
            "version",
            "revision",
            "date",
            "machine",
            "series",
            "curves",
            "workload",
            "nodes",
            "sets",
            "cores",
            "durability",
            "tls",
        ];
        assert!(common.iter().all(|key| object.contains_key(*key)), "{text}");
        let mut keys: Vec<_> = object.keys().cloned().collect();
        keys.retain(|key| !common.contains(&key.as_str()));
        keys.sort();
        keys
    }

    pub(crate) fn table(report: &Report) -> String {
        report.table()
    }

    #[test]
    fn rates_are_those_of_the_measured_time() {
        assert_eq!(per_second(1_000, Duration::from_millis(500)), 2_000);
        assert_eq!(cpu_per_million(Duration::from_secs(3), 2_000_000), 1.5);
        assert_eq!(cpu_per_million(Duration::from_secs(3), 0), 3_000_000.0);
        assert_eq!(milliseconds(Duration::from_micros(1_234_567)), 1_234.567);
    }
}
