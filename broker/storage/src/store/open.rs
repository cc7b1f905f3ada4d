//! Opens the folder of a set: looks at everything first, changes something only then.
//!
//! Spec: spec/storage.md, "Opening a store".

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sampan_core::RowKey;

use super::current::CURRENT_FILE;
use super::error::StoreError;
use super::extent_entry::ExtentEntry;
use super::generations::{Generations, list, remove_if_there, sync};
use super::index::Index;
use super::inspect::{Inspection, inspect};
use super::meta::Meta;
use super::options::{INDEX_FILE, NEW_INDEX_FILE, QUARANTINE_PREFIX, StoreIdentity, StoreOptions};
use super::segment_account::{SegmentAccount, SegmentAccounts};
use super::segment_header::segment_name;
use super::segments::Segments;
use super::shared::{Committed, Shared};
use super::snapshot_id::INCOMING_FILE;
use crate::io::Folder;
use crate::log::LogId;

/// What a store held when it was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The last entry whose effects are in it; none for a new store.
    pub applied: Option<LogId>,
    /// The same, when it came with a snapshot and no checkpoint was made since. The log then need
    /// not have that entry, nor any before it: it is to be purged up to it. Without this, a store
    /// ahead of its log means that the log lost entries.
    pub snapshot_applied: Option<LogId>,
    /// The membership that was given with it.
    pub membership: Vec<u8>,
    /// The state rows, in the order of their keys, without paged ones: those are read by
    /// [`Reader::read_rows`](super::Reader::read_rows) when the core needs them.
    pub rows: Vec<(RowKey, Bytes)>,
    /// Segment files and generations that nobody could account for, under their new names.
    pub quarantined: Vec<String>,
}

/// Opens the store in the folder of a set, which the caller has locked; makes it when the folder is
/// empty.
pub(super) fn open_store(
    set_folder: Arc<dyn Folder>,
    identity: StoreIdentity,
    options: StoreOptions,
) -> Result<(Arc<Shared>, Recovered), StoreError> {
    let generations = Generations::new(set_folder)?;
    generations.settle()?;
    let number = match generations.current()? {
        Some(number) => number,
        None => make_store(&generations, identity, options)?,
    };
    let folder = generations.existing(number)?;
    let (shared, mut recovered) = open_generation(folder, identity, options)?;
    recovered.quarantined.extend(generations.clear_up(number)?);
    Ok((shared, recovered))
}

/// Makes a new store, or what is left to make of one.
fn make_store(
    generations: &Generations,
    identity: StoreIdentity,
    options: StoreOptions,
) -> Result<u32, StoreError> {
    let number = generations.unfinished_first()?;
    let folder = generations.make(number)?;
    sync(&*folder)?;
    if list(&*folder)?.iter().any(|name| name == INDEX_FILE) {
        let mut ignore = |_: &ExtentEntry| Ok(());
        let cache_len = options.index_cache_len;
        let inspection = inspect(&*folder, cache_len, Some(identity), &mut ignore)?;
        if inspection.meta.applied.is_some() {
            let what = "it is missing beside a store that was in use";
            return Err(StoreError::damaged(CURRENT_FILE, what));
        }
    } else {
        Index::create(&*folder, &Meta::new(identity))?;
    }
    generations.make_current(number)?;
    Ok(number)
}

/// Opens the store in the folder of a generation.
pub(super) fn open_generation(
    folder: Arc<dyn Folder>,
    identity: StoreIdentity,
    options: StoreOptions,
) -> Result<(Arc<Shared>, Recovered), StoreError> {
    // What a process that was killed left is relied on from here on.
    sync(&*folder)?;
    let inspection = examine_generation(&folder, identity, options)?;
    // Nothing was changed up to here.
    let segments = Segments::new(folder.clone(), identity);
    let index = Index::open(folder.clone(), options.index_cache_len)?;
    let Inspection {
        meta,
        segments: accounts,
        rows,
    } = inspection;
    let quarantined = clear_up(&*folder, &segments, &meta, &accounts)?;
    let applied = meta.applied;
    let recovered = Recovered {
        applied,
        snapshot_applied: applied.filter(|_| meta.is_installed),
        membership: meta.membership.clone(),
        rows,
        quarantined,
    };
    let unlinked = dead(&accounts);
    let accounts = SegmentAccounts::restore(accounts, meta.segment_next);
    let committed = Committed {
        meta,
        accounts,
        unlinked,
    };
    let shared = Shared::new(index, segments, options, committed);
    Ok((shared, recovered))
}

/// Finds out whether the store in the folder of a set would open, and changes nothing.
pub(super) fn examine_store(
    set_folder: Arc<dyn Folder>,
    identity: StoreIdentity,
    options: StoreOptions,
) -> Result<(), StoreError> {
    let (_, folder) = current_folder(set_folder)?;
    examine_generation(&folder, identity, options).map(drop)
}

/// The generation that counts, and its folder.
pub(super) fn current_folder(
    set_folder: Arc<dyn Folder>,
) -> Result<(u32, Arc<dyn Folder>), StoreError> {
    let generations = Generations::new(set_folder)?;
    let number = generations.current()?;
    let number = number.ok_or_else(|| StoreError::damaged(CURRENT_FILE, "it is missing"))?;
    Ok((number, generations.existing(number)?))
}

/// Looks at a generation that is complete, and changes nothing.
pub(super) fn examine_generation(
    folder: &Arc<dyn Folder>,
    identity: StoreIdentity,
    options: StoreOptions,
) -> Result<Inspection, StoreError> {
    if !list(&**folder)?.iter().any(|name| name == INDEX_FILE) {
        return Err(StoreError::damaged(INDEX_FILE, "it is missing"));
    }
    let mut ignore = |_: &ExtentEntry| Ok(());
    let cache_len = options.index_cache_len;
    let inspection = inspect(&**folder, cache_len, Some(identity), &mut ignore)?;
    let segments = Segments::new(folder.clone(), identity);
    for (number, account) in living(&inspection.segments) {
        segments.check(number, account.len)?;
    }
    Ok(inspection)
}

fn living(
    accounts: &BTreeMap<u32, SegmentAccount>,
) -> impl Iterator<Item = (u32, SegmentAccount)> + '_ {
    accounts
        .iter()
        .filter(|(_, own)| !own.is_dead())
        .map(|(number, own)| (*number, *own))
}

fn dead(accounts: &BTreeMap<u32, SegmentAccount>) -> Vec<u32> {
    accounts
        .iter()
        .filter(|(_, own)| own.is_dead())
        .map(|(number, _)| *number)
        .collect()
}

/// Removes what a crash left; files that no crash explains are renamed and reported.
fn clear_up(
    folder: &dyn Folder,
    segments: &Segments,
    meta: &Meta,
    accounts: &BTreeMap<u32, SegmentAccount>,
) -> Result<Vec<String>, StoreError> {
    let (mut leftovers, mut quarantined) = (dead(accounts), Vec::new());
    for number in segments.numbers()? {
        if accounts.contains_key(&number) {
            continue;
        }
        if number >= meta.segment_next {
            leftovers.push(number);
            continue;
        }
        let name = segment_name(number);
        let new_name = format!("{QUARANTINE_PREFIX}{name}");
        let renamed = folder.rename(&name, &new_name);
        renamed.map_err(|source| StoreError::io("rename", name, source))?;
        quarantined.push(new_name);
    }
    segments.unlink(&leftovers)?;
    // A crash while the store was made may have left the file under its first name as well. What
    // says that a snapshot is received here means nothing any more.
    for name in [NEW_INDEX_FILE, INCOMING_FILE] {
        remove_if_there(folder, name)?;
    }
    if !quarantined.is_empty() {
        segments.sync_folder()?;
    }
    Ok(quarantined)
}
