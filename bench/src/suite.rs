//! `sampan-bench suite`: the project's targets, each measured several times, in turn.
//!
//! Each step is a run of this very program with `--json`, so that what is measured in a suite is
//! what anybody can measure by hand, and no step starts with the memory of another. The steps of a
//! row follow each other at once: a ratio is that of two figures of the same minute. The rows have
//! their turns one after the other, so that an hour in which the machine is slow hits all of them.
//!
//! What is there is written down after each row: an interrupted suite keeps what it has.

mod cases;
mod goal;
mod results;
mod step;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use self::cases::{CASES, Case};
pub(crate) use self::goal::Verdict;
pub(crate) use self::results::{Figure, Results, Row, Sample};
use crate::args::SuiteArguments;
use crate::html;
use crate::progress;
use crate::report::origin::Origin;

/// Measures, writes, and prints the table.
pub(crate) async fn run(arguments: &SuiteArguments) -> anyhow::Result<()> {
    let cases = chosen(&arguments.only)?;
    if arguments.list {
        return print(&list(&cases, arguments));
    }
    std::fs::create_dir_all(&arguments.out)?;
    let file = arguments.out.join("results.json");
    let mut results = Results::read(&file)?;
    let mut turns: BTreeMap<&str, Vec<Vec<Value>>> = BTreeMap::new();
    let mut failures = Vec::new();
    for turn in 1..=arguments.runs() {
        for case in &cases {
            let text = format!("turn {turn} of {}: {}", arguments.runs(), case.id);
            match measure(case, arguments, &text).await {
                Ok(steps) => turns.entry(case.id).or_default().push(steps),
                Err(error) => {
                    failures.push(format!("{text}: {error:#}"));
                    continue;
                }
            }
            results.put(row(case, arguments, &turns[case.id])?);
            write(&arguments.out, &results)?;
        }
    }
    progress::end();
    print(&results.table())?;
    if !failures.is_empty() {
        bail!("{} failed\n{}", failures.len(), failures.join("\n"));
    }
    Ok(())
}

fn chosen(only: &[String]) -> anyhow::Result<Vec<&'static Case>> {
    let known = |id: &String| CASES.iter().any(|case| case.id == id);
    if let Some(unknown) = only.iter().find(|id| !known(id)) {
        let ids: Vec<_> = CASES.iter().map(|case| case.id).collect();
        bail!("there is no row {unknown}; there are {}", ids.join(", "));
    }
    let is_chosen = |case: &&Case| only.is_empty() || only.iter().any(|id| id == case.id);
    Ok(CASES.iter().filter(is_chosen).collect())
}

fn list(cases: &[&Case], arguments: &SuiteArguments) -> String {
    let mut text = String::new();
    for case in cases {
        text += &format!("{}: {}\n", case.id, case.what);
        for step in case.steps {
            text += &format!("    {}\n", step.command(arguments));
        }
    }
    text.trim_end().to_owned()
}

async fn measure(
    case: &Case,
    arguments: &SuiteArguments,
    text: &str,
) -> anyhow::Result<Vec<Value>> {
    let mut results = Vec::new();
    for step in case.steps {
        progress::say(format!("{text}: {}", step.name));
        let result = step.run(arguments).await;
        results.push(result.with_context(|| step.name.to_owned())?);
    }
    Ok(results)
}

/// What is known of a row after some turns.
fn row(case: &Case, arguments: &SuiteArguments, turns: &[Vec<Value>]) -> anyhow::Result<Row> {
    let mut figures = Vec::new();
    for figure in case.figures {
        let values: Result<Vec<f64>, _> = turns.iter().map(|steps| figure.value(steps)).collect();
        let values = values.with_context(|| format!("{}: {}", case.id, figure.name))?;
        figures.push(Figure::of(figure.name, figure.unit, figure.goal, values));
    }
    let typical = figures.first().map_or(0, Figure::typical);
    let steps = case.steps.iter().zip(&turns[typical]);
    let samples = steps.map(|(step, result)| Sample {
        name: step.name.to_owned(),
        command: step.command(arguments),
        result: result.clone(),
    });
    Ok(Row {
        id: case.id.to_owned(),
        what: case.what.to_owned(),
        quick: arguments.quick,
        origin: Origin::here(),
        figures,
        samples: samples.collect(),
    })
}

fn write(folder: &Path, results: &Results) -> anyhow::Result<()> {
    results.write(&folder.join("results.json"))?;
    let page = html::suite_page(results);
    std::fs::write(folder.join("report.html"), page).context("cannot write report.html")
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::results::tests::row;
    use super::*;

    /// One row that meets its target, and one that does not.
    pub(crate) fn results() -> Results {
        let mut results = Results::default();
        results.put(row("produce-1", &[0.5, 0.7, 0.8]));
        results.put(row("drain", &[0.5]));
        results
    }

    #[test]
    fn rows_are_chosen_by_name_in_the_order_of_the_table() {
        let ids = |only: &[&str]| {
            let only: Vec<_> = only.iter().map(|id| (*id).to_owned()).collect();
            chosen(&only).map(|cases| cases.iter().map(|case| case.id).collect::<Vec<_>>())
        };
        let both = ids(&["drain", "produce-1"]).expect("known");
        assert_eq!(both, ["produce-1", "drain"]);
        assert_eq!(ids(&[]).expect("all").len(), CASES.len());
        let error = ids(&["produce-9"]).expect_err("unknown").to_string();
        assert!(error.contains("no row produce-9") && error.contains("pipeline-3"));
    }
}
