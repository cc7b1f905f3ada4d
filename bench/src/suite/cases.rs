//! The rows: what is measured, and what it is to be.
//!
//! A ratio has its two steps in the order in which they are measured: first what it is compared
//! with, then what counts. Three nodes have one set and `--cores 1`, which are the defaults.

use anyhow::Context;
use serde_json::Value;

use super::goal::Goal;
use super::step::{Step, Time};

/// A row.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) steps: &'static [Step],
    pub(super) figures: &'static [CaseFigure],
}

/// What is taken from the steps' results.
#[derive(Debug)]
pub(super) struct CaseFigure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    over: Place,
    /// Absent: it is no ratio of two steps.
    under: Option<Place>,
    /// What one of the unit is in the result's.
    unit_len: f64,
    pub(super) goal: Goal,
}

/// A value in a result: which step, and where there.
type Place = (usize, &'static str);

impl CaseFigure {
    pub(super) fn value(&self, steps: &[Value]) -> anyhow::Result<f64> {
        let at = |(step, pointer): Place| {
            let value = steps.get(step).and_then(|result| result.pointer(pointer));
            let value = value.and_then(Value::as_f64);
            value.with_context(|| format!("step {} has no {pointer}", step + 1))
        };
        let under = self.under.map_or(Ok(1.0), at)?;
        Ok(at(self.over)? / under / self.unit_len)
    }
}

const RATE: &str = "/msgs_per_s";
const P50: &str = "/send_us/p50";
const P99: &str = "/send_us/p99";

const CEILING_1: Step = load("ceiling", "ceiling --replicas 1");
const CEILING_3: Step = load("ceiling of three", "ceiling --replicas 3");
const CEILING_SINGLE: Step = load(
    "ceiling of three, one at a time",
    "ceiling --replicas 3 --connections 1 --window 1",
);
const PRODUCE_1: Step = load("produce", "cluster --workload produce --tls off");
const PRODUCE_3: Step = settled(
    "produce",
    "cluster --nodes 3 --workload produce --warm-up 15 --tls off",
);
const PIPELINE_1: Step = load("pipeline", "cluster --workload pipeline --tls off");

const fn load(name: &'static str, line: &'static str) -> Step {
    Step {
        name,
        line,
        quick: "",
        time: Time::Suite,
    }
}

/// A load whose warm-up lasts until logs go on in files that were used before. A node that has just
/// been made fills its first log files with zeros beside the load; the ceiling has its file ready.
const fn settled(name: &'static str, line: &'static str) -> Step {
    Step {
        quick: "--warm-up 1",
        ..load(name, line)
    }
}

const fn at_least(target: f64, beyond: f64) -> Goal {
    Goal::AtLeast {
        target,
        beyond: Some(beyond),
    }
}

const fn under(target: f64, beyond: f64) -> Goal {
    Goal::Under {
        target,
        beyond: Some(beyond),
    }
}

/// The second step's value, as a multiple of the first's.
const fn ratio(over: &'static str, under: &'static str, goal: Goal) -> CaseFigure {
    CaseFigure {
        name: "ratio",
        unit: "",
        over: (1, over),
        under: Some((0, under)),
        unit_len: 1.0,
        goal,
    }
}

/// A value of the only step.
const fn value(
    name: &'static str,
    (unit, unit_len): (&'static str, f64),
    place: &'static str,
    goal: Goal,
) -> CaseFigure {
    CaseFigure {
        name,
        unit,
        over: (0, place),
        under: None,
        unit_len,
        goal,
    }
}

/// All rows.
pub(super) const CASES: &[Case] = &[
    Case {
        id: "produce-1",
        what: "sends on one node, of the ceiling",
        steps: &[CEILING_1, PRODUCE_1],
        figures: &[ratio(RATE, RATE, at_least(0.60, 0.77))],
    },
    Case {
        id: "produce-3",
        what: "sends on three nodes, of the ceiling",
        steps: &[CEILING_3, PRODUCE_3],
        figures: &[ratio(RATE, RATE, at_least(0.70, 0.95))],
    },
    Case {
        id: "tls-1",
        what: "sends on one node with TLS, of those without",
        steps: &[
            PRODUCE_1,
            load("produce, TLS", "cluster --workload produce --tls on"),
        ],
        figures: &[ratio(RATE, RATE, at_least(0.75, 0.90))],
    },
    Case {
        id: "tls-3",
        what: "sends on three nodes with TLS everywhere, of those without",
        steps: &[
            PRODUCE_3,
            settled(
                "produce, TLS",
                "cluster --nodes 3 --workload produce --warm-up 15 --tls on",
            ),
        ],
        figures: &[ratio(RATE, RATE, at_least(0.65, 0.80))],
    },
    Case {
        id: "pipeline-1",
        what: "sent, received and deleted on one node, of the ceiling",
        steps: &[CEILING_1, PIPELINE_1],
        figures: &[ratio(RATE, RATE, at_least(0.35, 0.48))],
    },
    Case {
        id: "pipeline-3",
        what: "sent, received and deleted on three nodes, of the ceiling",
        steps: &[
            CEILING_3,
            load(
                "pipeline",
                "cluster --nodes 3 --workload pipeline --tls off",
            ),
        ],
        figures: &[ratio(RATE, RATE, at_least(0.45, 0.61))],
    },
    Case {
        id: "drain",
        what: "a backlog of 3,000,000 drained after a restart, of pipeline",
        steps: &[
            PIPELINE_1,
            Step {
                name: "drain",
                line: "cluster --workload drain --backlog 3000000 --cold --tls off",
                quick: "--backlog 300000",
                time: Time::None,
            },
        ],
        figures: &[ratio(RATE, RATE, at_least(1.0, 2.0))],
    },
    Case {
        id: "single-3",
        what: "one message at a time on three nodes: p50, of the ceiling's",
        steps: &[
            CEILING_SINGLE,
            load("single", "cluster --nodes 3 --workload single --tls off"),
        ],
        figures: &[ratio(P50, P50, under(1.5, 1.2))],
    },
    Case {
        id: "latency-3",
        what: "2,000 messages/s on three nodes: p99, of the ceiling's p50 one at a time",
        steps: &[
            CEILING_SINGLE,
            Step {
                name: "latency",
                line: "cluster --nodes 3 --workload latency --rate 2000 --tls off",
                quick: "",
                time: Time::Own {
                    seconds: 15,
                    quick: 2,
                },
            },
        ],
        figures: &[ratio(P99, P50, under(5.0, 3.0))],
    },
    Case {
        id: "wakeup",
        what: "a waiting consumer: send to received, of send to confirmed, p50",
        steps: &[load("wakeup", "cluster --workload wakeup --tls off")],
        figures: &[value("ratio", ("", 1.0), "/ratio", under(1.3, 1.1))],
    },
    Case {
        id: "many-queues",
        what: "pipeline on 1,000 queues, of that on one",
        steps: &[Step {
            quick: "--queues 100",
            ..load(
                "many queues",
                "cluster --workload many-queues --queues 1000 --tls off",
            )
        }],
        figures: &[value("ratio", ("", 1.0), "/ratio", at_least(0.7, 0.9))],
    },
    Case {
        id: "small-bodies",
        what: "sends of 64 bytes, of those of 1 KiB",
        steps: &[
            PRODUCE_1,
            load(
                "produce, 64 bytes",
                "cluster --workload produce --body 64 --tls off",
            ),
        ],
        figures: &[ratio(RATE, RATE, at_least(2.0, 4.0))],
    },
    Case {
        id: "parked",
        what: "50,000 receives that wait on 50 connections",
        steps: &[Step {
            name: "parked",
            line: "cluster --workload parked --parked 50000 --connections 50 --tls off",
            quick: "--parked 5000",
            time: Time::Own {
                seconds: 30,
                quick: 5,
            },
        }],
        figures: &[
            value(
                "memory of each",
                ("B", 1.0),
                "/bytes_per_receive",
                under(1_024.0, 512.0),
            ),
            value(
                "of a core",
                ("%", 1.0),
                "/cpu_percent",
                Goal::Under {
                    target: 1.0,
                    beyond: None,
                },
            ),
        ],
    },
    Case {
        id: "backlog",
        what: "memory with 5,000,000 ready messages, of that with 100,000",
        steps: &[Step {
            name: "backlog",
            line: "cluster --workload backlog --backlog 5000000 --tls off",
            quick: "--backlog 500000",
            time: Time::None,
        }],
        figures: &[
            value("ratio", ("", 1.0), "/ratio", under(1.5, 1.1)),
            value(
                "memory",
                ("MB", 1e6),
                "/server_rss_many_bytes",
                Goal::Under {
                    target: 400.0,
                    beyond: None,
                },
            ),
        ],
    },
    Case {
        id: "checkpoint",
        what: "a send while a checkpoint runs, of one while none does, p99",
        steps: &[Step {
            name: "checkpoint",
            line: "cluster --workload checkpoint --tls off",
            quick: "",
            time: Time::Own {
                seconds: 30,
                quick: 6,
            },
        }],
        figures: &[value("ratio", ("", 1.0), "/p99_ratio", under(2.0, 1.3))],
    },
];

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::args::{Arguments, SuiteArguments, Verb};

    #[test]
    fn every_step_is_a_command_that_this_program_takes() {
        for quick in ["", "--quick"] {
            let line = format!("sampan-bench suite --out x {quick}");
            let parsed = Arguments::try_parse_from(line.split_whitespace()).expect("good");
            let Verb::Suite(arguments) = parsed.verb else {
                panic!("{line} is not a suite");
            };
            CASES.iter().for_each(|case| check(case, &arguments));
        }
    }

    fn check(case: &Case, arguments: &SuiteArguments) {
        for step in case.steps {
            let command = step.command(arguments) + " --json";
            let parsed = Arguments::try_parse_from(command.split_whitespace());
            if let Verb::Cluster(cluster) = parsed.expect(&command).verb {
                cluster.check().expect(&command);
            }
        }
        assert!(!case.figures.is_empty() && !case.steps.is_empty());
    }

    #[test]
    fn a_figure_is_a_value_or_a_ratio_of_two_steps() {
        let steps = [
            json!({ "msgs_per_s": 200 }),
            json!({ "msgs_per_s": 150, "a": { "b": 3e6 } }),
        ];
        let figure = ratio(RATE, RATE, at_least(0.5, 0.6));
        assert_eq!(figure.value(&steps).expect("there"), 0.75);
        assert!(figure.value(&steps[..1]).is_err());
        let figure = value("x", ("MB", 1e6), "/a/b", under(5.0, 4.0));
        assert_eq!(figure.value(&steps[1..]).expect("there"), 3.0);
        assert!(figure.value(&steps[..1]).is_err());
    }
}
