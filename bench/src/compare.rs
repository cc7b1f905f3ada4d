//! `sampan-bench compare`: two results side by side, and in what their conditions differ.
//!
//! A ratio of two figures says something only if the same was measured: another workload, or
//! another step of a suite, is refused. Other conditions may differ, for that may be the very
//! question; they are named.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use crate::args::CompareArguments;

/// What says how was measured; the rest are figures.
const CONDITIONS: [&str; 24] = [
    "version",
    "revision",
    "machine",
    "nodes",
    "replicas",
    "sets",
    "cores",
    "durability",
    "tls",
    "body_bytes",
    "connections",
    "window",
    "queues",
    "burst",
    "rate",
    "consumers",
    "cold",
    "due_rate",
    "waiting",
    "parked",
    "rounds",
    "pause_s",
    "backlog_gb",
    "quick",
];
/// Neither the one nor the other.
const NEITHER: [&str; 4] = ["workload", "date", "series", "curves"];

/// Reads both and prints.
pub(crate) fn run(arguments: &CompareArguments) -> anyhow::Result<()> {
    let text = compare(&read(&arguments.before)?, &read(&arguments.after)?)?;
    let mut stdout = std::io::stdout().lock();
    std::io::Write::write_all(&mut stdout, text.as_bytes())?;
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let value = serde_json::from_slice(&text);
    value.with_context(|| format!("{} is no JSON object", file.display()))
}

/// Both as a table.
fn compare(before: &Value, after: &Value) -> anyhow::Result<String> {
    match (before.get("rows"), after.get("rows")) {
        (Some(before), Some(after)) => suites(before, after),
        (None, None) => runs(before, after),
        _ => bail!("one is the result of a suite, the other that of one run"),
    }
}

fn runs(before: &Value, after: &Value) -> anyhow::Result<String> {
    let (name_before, name_after) = (workload(before)?, workload(after)?);
    if name_before != name_after {
        bail!("the one measured {name_before}, the other {name_after}");
    }
    let mut lines = vec![header(&name_before)];
    let (before_figures, after_figures) = (figures(before), figures(after));
    for (name, value) in &before_figures {
        if let Some((_, other)) = after_figures.iter().find(|(other, _)| other == name) {
            lines.push(line(name, *value, *other));
        }
    }
    Ok(table(&lines) + &differences(before, after))
}

/// A ceiling has no workload of its own.
fn workload(result: &Value) -> anyhow::Result<String> {
    match (result.get("workload"), result.get("replicas")) {
        (Some(Value::String(name)), _) => Ok(name.clone()),
        (None, Some(_)) => Ok("ceiling".to_owned()),
        _ => bail!("this is no result of sampan-bench"),
    }
}

fn suites(before: &Value, after: &Value) -> anyhow::Result<String> {
    let (before, after) = (rows(before)?, rows(after)?);
    let (mut lines, mut notes) = (vec![header("suite")], String::new());
    for row in &before {
        let id = &row["id"];
        let Some(other) = after.iter().find(|other| other["id"] == *id) else {
            continue;
        };
        let name = id.as_str().unwrap_or_default();
        if commands(row) != commands(other) {
            notes += &format!("{name}: not comparable, its steps differ\n");
            continue;
        }
        for figure in row["figures"].as_array().into_iter().flatten() {
            let of_other = other["figures"].as_array().into_iter().flatten();
            let mut same = of_other.filter(|other| other["name"] == figure["name"]);
            let values = figure["median"].as_f64();
            let values = values.zip(same.next().and_then(|other| other["median"].as_f64()));
            let figure = figure["name"].as_str().unwrap_or_default();
            lines.extend(values.map(|(a, b)| line(&format!("{name} {figure}"), a, b)));
        }
        let differ = differences(row, other);
        if !notes.contains(&differ) {
            notes += &format!("{name}, {differ}");
        }
    }
    if lines.len() == 1 {
        bail!("they have no row in common that was measured alike\n{notes}");
    }
    Ok(table(&lines) + &notes)
}

fn rows(rows: &Value) -> anyhow::Result<Vec<Value>> {
    rows.as_array().cloned().context("the rows are no list")
}

fn commands(row: &Value) -> Vec<&Value> {
    let samples = row["samples"].as_array().into_iter().flatten();
    samples.map(|sample| &sample["command"]).collect()
}

/// All numbers that are neither conditions nor drawn, by their place.
fn figures(result: &Value) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    if let Value::Object(object) = result {
        add_figures(object, "", &mut found);
    }
    found
}

fn add_figures(object: &Map<String, Value>, within: &str, found: &mut Vec<(String, f64)>) {
    let is_figure =
        |key: &&String| !CONDITIONS.contains(&key.as_str()) && !NEITHER.contains(&key.as_str());
    for key in object.keys().filter(is_figure) {
        match &object[key] {
            Value::Number(number) => {
                found.extend(
                    number
                        .as_f64()
                        .map(|number| (format!("{within}{key}"), number)),
                );
            }
            Value::Object(object) => add_figures(object, &format!("{within}{key}."), found),
            _ => {}
        }
    }
}

/// A line for each condition that is not the same; empty when all are.
fn differences(before: &Value, after: &Value) -> String {
    let mut text = String::new();
    for key in CONDITIONS {
        let (before, after) = (&before[key], &after[key]);
        if before != after {
            text += &format!("{key} differs: {before} and {after}\n");
        }
    }
    text
}

type Line = [String; 4];

fn header(name: &str) -> Line {
    [name, "before", "after", "ratio"].map(str::to_owned)
}

fn line(name: &str, before: f64, after: f64) -> Line {
    let number = |value: f64| {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let ratio = match before {
        0.0 => String::new(),
        before => format!("{:.3}", after / before),
    };
    [name.to_owned(), number(before), number(after), ratio]
}

fn table(lines: &[Line]) -> String {
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].len())
            .max()
            .unwrap_or(0)
    };
    let (name, before, after) = (width(0), width(1), width(2));
    let lines = lines.iter().map(|[a, b, c, d]| {
        format!("{a:name$}  {b:>before$}  {c:>after$}  {d}")
            .trim_end()
            .to_owned()
            + "\n"
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(workload: &str, rate: u64, tls: &str) -> Value {
        json!({
            "version": "0.1.0", "workload": workload, "tls": tls, "date": "x",
            "machine": { "cores": 2 }, "msgs_per_s": rate, "send_us": { "p50": 10 },
            "series": [{ "interval_s": 0.1, "per_s": [1] }],
        })
    }

    #[test]
    fn figures_stand_side_by_side_and_differing_conditions_are_named() {
        let (before, after) = (run("produce", 100, "off"), run("produce", 150, "on"));
        let text = compare(&before, &after).expect("alike");
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect();
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&lines[0]), ["produce", "before", "after", "ratio"]);
        assert_eq!(words(&lines[1]), ["msgs_per_s", "100", "150", "1.500"]);
        assert_eq!(words(&lines[2]), ["send_us.p50", "10", "10", "1.000"]);
        assert_eq!(lines[3..], ["tls differs: \"off\" and \"on\""]);
    }

    #[test]
    fn what_was_not_the_same_workload_is_refused() {
        let produce = run("produce", 1, "on");
        let error = compare(&produce, &run("pipeline", 1, "on")).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "the one measured produce, the other pipeline"
        );
        assert!(compare(&produce, &json!({ "rows": [] })).is_err());
        assert!(compare(&json!({}), &produce).is_err());
        let ceiling = json!({ "replicas": 1, "msgs_per_s": 5 });
        assert!(compare(&ceiling, &produce).is_err());
        assert!(compare(&ceiling, &ceiling).is_ok());
    }

    fn suite(id: &str, command: &str, median: f64, revision: &str) -> Value {
        json!({ "rows": [{
            "id": id, "revision": revision, "quick": false,
            "figures": [{ "name": "ratio", "median": median }],
            "samples": [{ "command": command }],
        }] })
    }

    #[test]
    fn rows_of_two_suites_are_compared_by_name_when_their_steps_are_the_same() {
        let before = suite("drain", "a", 1.0, "1");
        let text = compare(&before, &suite("drain", "a", 2.0, "2")).expect("alike");
        assert!(text.contains("drain ratio"), "{text}");
        assert!(
            text.contains("2.000") && text.contains("revision differs"),
            "{text}"
        );
        for other in [suite("drain", "b", 2.0, "1"), suite("other", "a", 2.0, "1")] {
            let error = compare(&before, &other).expect_err("refused").to_string();
            assert!(error.contains("no row in common"), "{error}");
        }
    }
}
