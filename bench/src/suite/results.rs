//! What a suite has found out so far: what stands in results.json.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cases::CASES;
use super::goal::{Goal, Verdict, quantity};
use crate::report::origin::Origin;

/// All rows, in the order of the table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
}

/// One row. Each has an origin of its own: rows may be measured again one by one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) what: String,
    /// Too short to say anything.
    pub(crate) quick: bool,
    #[serde(flatten)]
    pub(crate) origin: Origin,
    pub(crate) figures: Vec<Figure>,
    /// The steps of a turn in the middle.
    pub(crate) samples: Vec<Sample>,
}

/// One figure of all turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: String,
    #[serde(flatten)]
    pub(crate) goal: Goal,
    /// By turn.
    pub(crate) values: Vec<f64>,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Of the median.
    pub(crate) verdict: Verdict,
}

/// What one step said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) result: Value,
}

impl Figure {
    /// Of at least one value.
    pub(super) fn of(name: &str, unit: &str, goal: Goal, values: Vec<f64>) -> Self {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        // Of two in the middle, the mean.
        let median = f64::midpoint(middle((sorted.len() - 1) / 2), middle(sorted.len() / 2));
        Figure {
            name: name.to_owned(),
            unit: unit.to_owned(),
            goal,
            median,
            min: middle(0),
            max: middle(sorted.len() - 1),
            verdict: goal.verdict(median),
            values,
        }
    }

    /// One of its values.
    pub(crate) fn text(&self, value: f64) -> String {
        quantity(value, &self.unit)
    }

    /// The turn whose value is nearest to the median.
    pub(super) fn typical(&self) -> usize {
        let off = |value: &f64| (value - self.median).abs();
        let turns = self.values.iter().map(off).enumerate();
        let nearest = turns.min_by(|a, b| a.1.total_cmp(&b.1));
        nearest.map_or(0, |(turn, _)| turn)
    }
}

impl Results {
    /// What was measured before; nothing when there is no such file.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        if !file.exists() {
            return Ok(Results::default());
        }
        let text = std::fs::read(file)?;
        let read = serde_json::from_slice(&text);
        read.with_context(|| format!("{} is no results.json of this version", file.display()))
    }

    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Puts a row in its place, and in the place of an older one.
    pub(super) fn put(&mut self, row: Row) {
        self.rows.retain(|older| older.id != row.id);
        self.rows.push(row);
        let place = |row: &Row| CASES.iter().position(|case| case.id == row.id);
        self.rows
            .sort_by_key(|row| place(row).unwrap_or(usize::MAX));
    }

    /// How many figures meet their targets, and how many there are.
    pub(crate) fn met(&self) -> (usize, usize) {
        let figures = || self.rows.iter().flat_map(|row| &row.figures);
        let met = figures().filter(|figure| figure.verdict != Verdict::NotMet);
        (met.count(), figures().count())
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut lines =
            vec![["row", "measured", "spread", "target", "beyond", ""].map(str::to_owned)];
        for row in &self.rows {
            lines.extend(row.figures.iter().map(|figure| line(row, figure)));
        }
        let width = |column: usize| {
            let widths = lines.iter().map(|line| line[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..6).map(width).collect();
        let padded = |line: &[String; 6]| {
            let cells = line.iter().zip(&widths);
            let cells: Vec<_> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        };
        let lines: Vec<_> = lines.iter().map(padded).collect();
        let (met, count) = self.met();
        format!("{}\n{met} of {count} met", lines.join("\n"))
    }
}

fn line(row: &Row, figure: &Figure) -> [String; 6] {
    let Figure { goal, unit, .. } = figure;
    let name = match figure.name.as_str() {
        "ratio" => row.id.clone(),
        name => format!("{}, {name}", row.id),
    };
    let beyond = goal.beyond().map(|beyond| goal.text(beyond, unit));
    let quick = if row.quick { " (quick)" } else { "" };
    [
        name,
        quantity(figure.median, unit),
        format!(
            "{} to {}",
            quantity(figure.min, ""),
            quantity(figure.max, "")
        ),
        goal.text(goal.target(), unit),
        beyond.unwrap_or_default(),
        format!("{}{quick}", figure.verdict.text()),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    const GOAL: Goal = Goal::AtLeast {
        target: 0.6,
        beyond: Some(0.77),
    };

    pub(crate) fn row(id: &str, values: &[f64]) -> Row {
        let result = json!({
            "msgs_per_s": 400_000,
            "series": [{"name": "produce", "interval_s": 0.1, "per_s": [1, 5, 3]}],
            "curves": [{"name": "send", "points": [[0.0, 10], [50.0, 20], [100.0, 900]]}],
        });
        Row {
            id: id.to_owned(),
            what: "sends <on> one node".to_owned(),
            quick: false,
            origin: Origin::here(),
            figures: vec![Figure::of("ratio", "", GOAL, values.to_vec())],
            samples: vec![Sample {
                name: "produce".to_owned(),
                command: "sampan-bench cluster".to_owned(),
                result,
            }],
        }
    }

    #[test]
    fn the_median_counts_and_a_turn_near_it_is_typical() {
        let figure = Figure::of("ratio", "", GOAL, vec![0.9, 0.5, 0.7]);
        assert_eq!((figure.median, figure.min, figure.max), (0.7, 0.5, 0.9));
        assert_eq!((figure.verdict, figure.typical()), (Verdict::Met, 2));
        let figure = Figure::of("ratio", "", GOAL, vec![0.5, 1.5]);
        assert_eq!((figure.median, figure.verdict), (1.0, Verdict::Beyond));
        let figure = Figure::of("ratio", "", GOAL, vec![0.5]);
        assert_eq!((figure.median, figure.verdict), (0.5, Verdict::NotMet));
    }

    #[test]
    fn a_row_that_is_measured_again_takes_the_place_of_the_older_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("results.json");
        let mut results = Results::read(&file).expect("none is fine");
        results.put(row("drain", &[0.5]));
        results.put(row("produce-1", &[0.5]));
        results.write(&file).expect("written");
        let mut results = Results::read(&file).expect("readable");
        results.put(row("drain", &[0.8]));
        let ids: Vec<_> = results.rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["produce-1", "drain"]);
        assert_eq!(results.rows[1].figures[0].values, [0.8]);
        assert_eq!(results.met(), (1, 2));
    }

    #[test]
    fn the_table_has_measured_spread_target_and_verdict() {
        let mut results = Results::default();
        results.put(row("produce-1", &[0.5, 0.7, 0.8]));
        let text = results.table();
        let line = "produce-1  0.70      0.50 to 0.80  at least 0.60  at least 0.77  met";
        assert!(text.contains(line), "{text}");
        assert!(text.ends_with("1 of 1 met"), "{text}");
    }
}
