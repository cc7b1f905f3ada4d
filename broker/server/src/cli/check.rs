//! `sampan check`: verifies the data folder of a node that does not run.
//!
//! Reads every log batch, every row and every stored body, and changes nothing. Exit codes: 0 all
//! is well, 1 something is damaged, 2 there is nothing to check, or a node has it open.

use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use sampan_protocol::SetId;
use sampan_storage::io::{DiskFolder, Folder};
use sampan_storage::log::LogReport;
use sampan_storage::store::CheckReport;
use sampan_storage::{Finding, FolderReport, check_folder};
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::Output;

/// The file without which a folder is no node's.
const IDENTITY_FILE: &str = "node";

/// Verifies the folder and prints what is found.
pub(crate) fn run(data: &Path, output: &mut Output) -> Result<(), Failure> {
    let unusable =
        |what: &dyn Display| Failure::Usage(format!("cannot check {}: {what}", data.display()));
    if !data.join(IDENTITY_FILE).is_file() {
        return Err(unusable(&"it is no data folder of a node"));
    }
    let folder = DiskFolder::open(data).map_err(|error| unusable(&error))?;
    let folder: Arc<dyn Folder> = Arc::new(folder);
    let report = check_folder(&folder).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => unusable(&"a node runs on it"),
        _ => unusable(&error),
    })?;
    print(&report, output)?;
    match finding_count(&report) {
        0 => Ok(()),
        1 => Err(Failure::Partial("1 finding".to_owned())),
        count => Err(Failure::Partial(format!("{count} findings"))),
    }
}

fn finding_count(report: &FolderReport) -> u64 {
    let listed = u64::try_from(report.findings.len()).unwrap_or(u64::MAX);
    listed.saturating_add(report.more_finding_count)
}

fn print(report: &FolderReport, output: &mut Output) -> Result<(), Failure> {
    for finding in &report.findings {
        output.either(&finding_text(finding), &finding_json(finding))?;
    }
    if let Some(log) = &report.log {
        output.either(&log_text(log), &log_json(log))?;
    }
    for name in &report.quarantined {
        let text = format!("{name}: set aside earlier; the node does not use it");
        output.either(&text, &json!({ "quarantined": name }))?;
    }
    for (set, store) in &report.stores {
        for file in &store.leftovers {
            let text = format!("set {set}: {file} belongs to no checkpoint, and is not needed");
            output.either(&text, &json!({ "set": set.0, "leftover": file }))?;
        }
        output.either(&store_text(*set, store), &store_json(*set, store))?;
    }
    Ok(())
}

fn finding_text(finding: &Finding) -> String {
    match finding.offset {
        Some(offset) => format!("{} at byte {offset}: {}", finding.file, finding.what),
        None => format!("{}: {}", finding.file, finding.what),
    }
}

fn finding_json(finding: &Finding) -> Value {
    json!({ "file": finding.file, "offset": finding.offset, "finding": finding.what })
}

fn log_text(log: &LogReport) -> String {
    let outcome = match (log.findings.is_empty(), log.cut_off) {
        (false, _) => "damaged",
        (true, true) => "sound, but for an unfinished batch at its end, which a start cuts off",
        (true, false) => "sound",
    };
    format!("log: {outcome}: {} files", log.file_count)
}

fn log_json(log: &LogReport) -> Value {
    json!({
        "log_file_count": log.file_count,
        "is_cut_off": log.cut_off,
        "is_clean": log.clean,
    })
}

fn store_text(set: SetId, store: &CheckReport) -> String {
    let outcome = match store.finding_count {
        0 => "sound",
        _ => "damaged",
    };
    format!(
        "set {set}: {outcome}: {} messages, {} extents, {} rows, {} segments",
        store.message_count, store.extent_count, store.row_count, store.segment_count,
    )
}

fn store_json(set: SetId, store: &CheckReport) -> Value {
    json!({
        "set": set.0,
        "applied_index": store.applied.map(|applied| applied.index),
        "message_count": store.message_count,
        "extent_count": store.extent_count,
        "row_count": store.row_count,
        "segment_count": store.segment_count,
        "finding_count": store.finding_count,
    })
}

#[cfg(test)]
mod tests {
    use super::super::args::Format;
    use super::super::output::tests::attempted;
    use super::*;

    fn check(data: &Path) -> (String, Result<(), Failure>) {
        attempted(Format::Table, |output| run(data, output))
    }

    #[test]
    fn what_is_no_nodes_folder_is_wrong_usage_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("none")] {
            let failure = check(&path).1.unwrap_err();
            assert_eq!(failure.exit_code(), 2, "{failure}");
            assert!(failure.to_string().contains("no data folder"), "{failure}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_in_use_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(IDENTITY_FILE), "x").unwrap();
        let opened = DiskFolder::open(folder.path()).unwrap();
        let lock = opened.lock().unwrap();
        let failure = check(folder.path()).1.unwrap_err();
        assert_eq!(failure.exit_code(), 2, "{failure}");
        assert!(failure.to_string().contains("a node runs"), "{failure}");
        drop(lock);
    }

    #[test]
    fn a_folder_without_its_log_has_a_finding() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(IDENTITY_FILE), "x").unwrap();
        let (text, done) = check(folder.path());
        assert_eq!(done.unwrap_err().exit_code(), 1);
        assert_eq!(text, "log: it is missing\n");
    }

    #[test]
    fn a_finding_says_where_it_lies() {
        let mut finding = Finding {
            file: "log/00000001.log".to_owned(),
            offset: Some(4_096),
            what: "checksum".to_owned(),
        };
        let text = finding_text(&finding);
        assert_eq!(text, "log/00000001.log at byte 4096: checksum");
        finding.offset = None;
        assert_eq!(finding_text(&finding), "log/00000001.log: checksum");
    }
}
