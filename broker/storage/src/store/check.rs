//! Verifies a whole store that nobody has open: every value, every extent, every body.
//!
//! Goes on after a finding as far as that makes sense, so that one report names all damaged
//! files; changes nothing.
//!
//! Spec: spec/storage.md, "Checking a store".

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::disk_reader::check_extent;
use super::error::StoreError;
use super::extent_entry::ExtentEntry;
use super::generations::generation_name;
use super::inspect::{Inspection, inspect};
use super::open::current_folder;
use super::options::{FINDING_COUNT_MAX, QUARANTINE_PREFIX, StoreIdentity, StoreOptions};
use super::segment_extent::Extent;
use super::segment_header::segment_name;
use super::segments::Segments;
use crate::io::Folder;
use crate::log::LogId;

/// What a check found.
#[derive(Debug)]
pub struct CheckReport {
    /// Folder of the generation that counts.
    pub generation: String,
    /// Whose store it is.
    pub identity: StoreIdentity,
    /// The last entry whose effects are in it.
    pub applied: Option<LogId>,
    /// State rows that were verified.
    pub row_count: u64,
    /// Extents that were verified.
    pub extent_count: u64,
    /// Living messages that were verified, bodies included.
    pub message_count: u64,
    /// Segment files with something alive.
    pub segment_count: u64,
    /// Files that belong to no checkpoint: leftovers of a crash, or quarantined.
    pub leftovers: Vec<String>,
    /// What is damaged, at most [`FINDING_COUNT_MAX`] of it.
    pub findings: Vec<StoreError>,
    /// How much is damaged.
    pub finding_count: u64,
}

impl CheckReport {
    fn note(&mut self, error: StoreError) {
        self.finding_count += 1;
        if self.findings.len() < FINDING_COUNT_MAX {
            self.findings.push(error);
        }
    }
}

/// Verifies the store in the folder of a set, which must not be open.
///
/// # Errors
///
/// The index file cannot be read as a whole; damage in segment files is listed in the report.
pub fn check(set_folder: &Arc<dyn Folder>) -> Result<CheckReport, StoreError> {
    let (number, folder) = current_folder(set_folder.clone())?;
    let folder = &folder;
    let cache_len = StoreOptions::default().index_cache_len;
    let inspection = inspect(&**folder, cache_len, None, &mut |_| Ok(()))?;
    let identity = inspection.meta.identity;
    let segments = Segments::new(folder.clone(), identity);
    let mut report = CheckReport {
        generation: generation_name(number),
        identity,
        applied: inspection.meta.applied,
        row_count: inspection.meta.tallies.rows.count,
        extent_count: 0,
        message_count: 0,
        segment_count: 0,
        leftovers: leftovers(&**folder, &segments, &inspection)?,
        findings: Vec::new(),
        finding_count: 0,
    };
    for (number, account) in inspection.segments.iter().filter(|(_, own)| !own.is_dead()) {
        report.segment_count += 1;
        if let Err(error) = segments.check(*number, account.len) {
            report.note(error);
        }
    }
    inspect(&**folder, cache_len, Some(identity), &mut |entry| {
        match check_entry(&segments, entry) {
            Ok(()) => {
                report.extent_count += 1;
                report.message_count += u64::from(entry.alive_count);
            }
            Err(error) => report.note(error),
        }
        Ok(())
    })?;
    Ok(report)
}

fn leftovers(
    folder: &dyn Folder,
    segments: &Segments,
    inspection: &Inspection,
) -> Result<Vec<String>, StoreError> {
    let is_living = |number| {
        inspection
            .segments
            .get(number)
            .is_some_and(|own| !own.is_dead())
    };
    let mut names: Vec<String> = segments
        .numbers()?
        .iter()
        .filter(|number| !is_living(number))
        .map(|number| segment_name(*number))
        .collect();
    let all = folder.list();
    let all = all.map_err(|source| StoreError::io("list", "the store's folder", source))?;
    names.extend(
        all.into_iter()
            .filter(|name| name.starts_with(QUARANTINE_PREFIX)),
    );
    Ok(names)
}

/// Reads one extent and compares every body with its checksum.
fn check_entry(segments: &Segments, entry: &ExtentEntry) -> Result<(), StoreError> {
    let name = segment_name(entry.place.segment);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => {
            let what = "it is missing or cut short";
            StoreError::damaged_at(name.as_str(), entry.place.offset, what)
        }
        _ => StoreError::io("read", name.as_str(), source),
    };
    let file = segments.file(entry.place.segment).map_err(failed)?;
    let mut bytes = vec![0; entry.place.len as usize];
    file.read_exact_at(&mut bytes, entry.place.offset)
        .map_err(failed)?;
    let extent = check_extent(entry, Bytes::from(bytes))?;
    check_bodies(&extent).map_err(|id| {
        let what = format!("the body of message {id} is not as sent");
        StoreError::damaged_at(name.as_str(), entry.place.offset, what)
    })?;
    let living = extent
        .messages()
        .filter(|message| entry.is_alive(message.id))
        .count();
    if living != usize::from(entry.alive_count) {
        let what = "an extent lacks messages that the index names";
        return Err(StoreError::damaged_at(name, entry.place.offset, what));
    }
    Ok(())
}

fn check_bodies(extent: &Extent) -> Result<(), u64> {
    for message in extent.messages() {
        let content = extent.content(&message);
        let body_start = content.len() - message.record.body_len as usize;
        if crc32c::crc32c(&content[body_start..]) != message.record.body_crc32c {
            return Err(message.id);
        }
    }
    Ok(())
}
