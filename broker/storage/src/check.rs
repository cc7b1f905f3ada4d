//! Verifies the log and all stores of a stopped node, and says of each fault where it lies.
//!
//! Looks at one part after the other and goes on after a fault, so that one report shows all of
//! them; changes nothing. Whether log and stores fit together is for those who know what an applied
//! entry means; the report has what it takes to tell.
//!
//! Spec: spec/storage.md, "Checking a data folder".

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use sampan_protocol::SetId;

use crate::io::{Folder, FolderLock};
use crate::log::{self, LogError, LogReport};
use crate::quarantine::QUARANTINE_FOLDER;
use crate::store::{self, CheckReport, StoreError};

/// Folder of the log in a data folder.
pub const LOG_FOLDER: &str = "log";

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, as a path inside the data folder where that is known.
    pub file: String,
    /// Where in the file, when that is known.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// What a check of a data folder found.
#[derive(Debug)]
pub struct FolderReport {
    /// The log, unless it cannot be read at all.
    pub log: Option<LogReport>,
    /// The stores by set, without those whose index cannot be read.
    pub stores: BTreeMap<SetId, CheckReport>,
    /// Every fault, in the order of the parts: log, then sets.
    pub findings: Vec<Finding>,
    /// Faults that were only counted.
    pub more_finding_count: u64,
    /// Folders that were set aside earlier.
    pub quarantined: Vec<String>,
    _lock: FolderLock,
}

impl FolderReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Verifies the data folder of a node that is stopped; claims it meanwhile.
///
/// # Errors
///
/// [`io::ErrorKind::WouldBlock`] while the node runs; what the system says of the folder itself.
pub fn check_folder(data_folder: &Arc<dyn Folder>) -> io::Result<FolderReport> {
    let lock = data_folder.lock()?;
    let mut report = FolderReport {
        log: None,
        stores: BTreeMap::new(),
        findings: Vec::new(),
        more_finding_count: 0,
        quarantined: Vec::new(),
        _lock: lock,
    };
    let folders = data_folder.folders()?;
    if folders.iter().any(|name| name == LOG_FOLDER) {
        report.check_log(&*data_folder.folder(LOG_FOLDER)?);
    } else {
        report.note(LOG_FOLDER, None, "it is missing");
    }
    for name in &folders {
        if let Some(set) = set_of(name) {
            report.check_store(set, name, &data_folder.folder(name)?);
        }
    }
    if folders.iter().any(|name| name == QUARANTINE_FOLDER) {
        report.quarantined = data_folder.folder(QUARANTINE_FOLDER)?.folders()?;
    }
    Ok(report)
}

fn set_of(folder: &str) -> Option<SetId> {
    let number = folder.strip_prefix("set-")?.parse().ok()?;
    (format!("set-{number:04}") == folder).then_some(SetId(number))
}

impl FolderReport {
    fn note(&mut self, file: impl Into<String>, offset: Option<u64>, what: impl Into<String>) {
        self.findings.push(Finding {
            file: file.into(),
            offset,
            what: what.into(),
        });
    }

    fn check_log(&mut self, folder: &dyn Folder) {
        match log::check(folder) {
            Ok(mut found) => {
                for error in std::mem::take(&mut found.findings) {
                    self.note_log(&error);
                }
                self.log = Some(found);
            }
            Err(error) => self.note_log(&error),
        }
    }

    fn note_log(&mut self, error: &LogError) {
        match error {
            LogError::Damaged { file, offset, what } => {
                let name = file.rsplit('/').next().unwrap_or(file);
                self.note(format!("{LOG_FOLDER}/{name}"), Some(*offset), what.as_str());
            }
            other => self.note(LOG_FOLDER, None, chain(other)),
        }
    }

    fn check_store(&mut self, set: SetId, name: &str, folder: &Arc<dyn Folder>) {
        match store::check(folder) {
            Ok(mut found) => {
                let place = format!("{name}/{}", found.generation);
                for error in std::mem::take(&mut found.findings) {
                    self.note_store(&place, &error);
                }
                let listed = found.finding_count.min(store::FINDING_COUNT_MAX as u64);
                self.more_finding_count += found.finding_count - listed;
                if found.identity.set != set {
                    self.note(place, None, format!("it is of set {}", found.identity.set));
                }
                self.stores.insert(set, found);
            }
            Err(error) => self.note_store(name, &error),
        }
    }

    fn note_store(&mut self, place: &str, error: &StoreError) {
        match error {
            StoreError::Damaged { file, offset, what } => {
                self.note(format!("{place}/{file}"), *offset, what.as_str());
            }
            other => self.note(place, None, chain(other)),
        }
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
