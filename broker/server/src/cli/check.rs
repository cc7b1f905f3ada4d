//! `sampan check`: verifies the data folder of a node that does not run.
//!
//! Reads every log batch, every row and every stored body, and changes nothing. Exit codes: 0 all
//! is well, 1 something is damaged, 2 there is nothing to check, or a node has it open.

use std::path::Path;
use std::sync::Arc;

use sampan_storage::io::{DiskFolder, Folder};
use sampan_storage::store;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::Output;

/// How the folders of sets begin.
const SET_PREFIX: &str = "set-";

/// Verifies the folder and prints what is found.
pub(crate) fn run(data: &Path, output: &mut Output) -> Result<(), Failure> {
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::Usage(format!("cannot check {}: {error}", data.display()))
    };
    if !data.join("identity").exists() {
        return Err(unusable(&"it is no data folder of a node"));
    }
    let folder: Arc<dyn Folder> =
        Arc::new(DiskFolder::open(data).map_err(|error| unusable(&error))?);
    let lock = folder.lock().map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => unusable(&"a node runs on it"),
        _ => unusable(&error),
    })?;
    let mut finding_count = 0;
    let mut sets = folder.folders().map_err(|error| unusable(&error))?;
    sets.retain(|name| name.starts_with(SET_PREFIX));
    sets.sort();
    for name in sets {
        let set = folder.folder(&name).map_err(|error| unusable(&error))?;
        finding_count += check_set(&name, &set, output)?;
    }
    drop(lock);
    match finding_count {
        0 => Ok(()),
        count => Err(Failure::Partial(format!("{count} findings"))),
    }
}

/// Verifies the store of a set; how much is damaged.
fn check_set(name: &str, set: &Arc<dyn Folder>, output: &mut Output) -> Result<u64, Failure> {
    let report = match store::check(set) {
        Ok(report) => report,
        Err(error) => {
            print_finding(name, &chain(&error), output)?;
            return Ok(1);
        }
    };
    for finding in &report.findings {
        print_finding(name, finding, output)?;
    }
    for leftover in &report.leftovers {
        let text = format!("{name}: {leftover} belongs to no checkpoint; it is not needed");
        output.either(&text, &json!({ "folder": name, "leftover": leftover }))?;
    }
    let text = format!(
        "{name}: {} messages, {} extents, {} rows, {} segments: {}",
        report.message_count,
        report.extent_count,
        report.row_count,
        report.segment_count,
        match report.finding_count {
            0 => "clean".to_owned(),
            count => format!("{count} findings"),
        }
    );
    output.either(&text, &summary(name, &report))?;
    Ok(report.finding_count)
}

fn summary(name: &str, report: &store::CheckReport) -> Value {
    json!({
        "folder": name,
        "applied_index": report.applied.map(|applied| applied.index),
        "message_count": report.message_count,
        "extent_count": report.extent_count,
        "row_count": report.row_count,
        "segment_count": report.segment_count,
        "finding_count": report.finding_count,
    })
}

fn print_finding(name: &str, finding: &str, output: &mut Output) -> Result<(), Failure> {
    let text = format!("{name}: {finding}");
    output.either(&text, &json!({ "folder": name, "finding": finding }))
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
