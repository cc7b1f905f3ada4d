//! Verifies the log of a stopped node: every header, every batch, the chain. Changes nothing.
//!
//! The walk is that of recovery and stops at the first damage, for behind it nobody can say what
//! belongs where. The other files are still looked at one by one, so that one report names all
//! that fail by themselves.
//!
//! Spec: spec/storage.md, "Checking a data folder".

use std::collections::BTreeMap;

use sampan_protocol::SetId;

use super::file_header::{FileHeader, file_name, number_in};
use super::limits::{FILE_LEN_MAX, PAGE_LEN};
use super::open::walk;
use super::{LogError, LogIdentity, SetLogState};
use crate::io::Folder;

/// What a check of a log found.
#[derive(Debug)]
pub struct LogReport {
    /// Whose log it is; `None` for one without files.
    pub identity: Option<LogIdentity>,
    /// Files with a name of the log.
    pub file_count: usize,
    /// The log ends in a batch that is not whole: opening it cuts that off.
    pub cut_off: bool,
    /// The end is known to have been synced.
    pub clean: bool,
    /// What it holds of each set, as far as the walk came.
    pub sets: BTreeMap<SetId, SetLogState>,
    /// What is damaged.
    pub findings: Vec<LogError>,
}

/// Verifies the log in `folder`, which nobody has open.
///
/// # Errors
///
/// The folder or a file cannot be read. Damage is listed in the report.
pub fn check(folder: &dyn Folder) -> Result<LogReport, LogError> {
    let path = folder.path().display().to_string();
    let reading = |error| LogError::io(format!("reading {path}"), error);
    let mut generations: Vec<u64> = folder
        .list()
        .map_err(reading)?
        .iter()
        .filter_map(|name| number_in(name, "log"))
        .collect();
    generations.sort_unstable();
    let mut report = LogReport {
        identity: None,
        file_count: generations.len(),
        cut_off: false,
        clean: true,
        sets: BTreeMap::new(),
        findings: Vec::new(),
    };
    for generation in generations {
        match check_header(folder, generation, report.identity) {
            Ok(identity) => report.identity = report.identity.or(Some(identity)),
            Err(error @ LogError::Io { .. }) => return Err(error),
            Err(error) => report.findings.push(error),
        }
    }
    if let Some(identity) = report.identity {
        walk_all(folder, &path, identity, &mut report)?;
    }
    Ok(report)
}

/// The header of one file by itself.
fn check_header(
    folder: &dyn Folder,
    generation: u64,
    own: Option<LogIdentity>,
) -> Result<LogIdentity, LogError> {
    let name = file_name(generation);
    let place = folder.path().join(&name).display().to_string();
    let reading = |error| LogError::io(format!("reading {place}"), error);
    let file = folder.open(&name).map_err(reading)?;
    let len = file.len().map_err(reading)?;
    if !(PAGE_LEN as u64..=FILE_LEN_MAX).contains(&len) {
        return Err(LogError::damaged(&place, 0, "no log file has this length"));
    }
    let mut page = vec![0; PAGE_LEN];
    file.read_exact_at(&mut page, 0).map_err(reading)?;
    let own = match own {
        Some(own) => own,
        None => FileHeader::identity_in(&page, &place)?,
    };
    let header = FileHeader::decode(&page, &place, own)?;
    if header.generation != generation || header.file_len != len {
        let what = "its name or length is not what its header says";
        return Err(LogError::damaged(&place, 0, what));
    }
    Ok(header.identity)
}

fn walk_all(
    folder: &dyn Folder,
    path: &str,
    identity: LogIdentity,
    report: &mut LogReport,
) -> Result<(), LogError> {
    match walk(folder, path, identity) {
        Ok(found) => {
            report.cut_off = found.walker.cut_off;
            report.clean = found.walker.closed && !found.walker.cut_off;
            let sets = found.walker.sets.into_iter();
            report.sets = sets.map(|(set, walked)| (set, walked.state)).collect();
        }
        Err(error @ LogError::Io { .. }) => return Err(error),
        Err(error) => {
            report.clean = false;
            // A header that fails is found by both.
            let text = error.to_string();
            if !report
                .findings
                .iter()
                .any(|known| known.to_string() == text)
            {
                report.findings.push(error);
            }
        }
    }
    Ok(())
}
