//! Opens the folder of a set: looks at everything first, changes something only then.
//!
//! Spec: spec/storage.md, "Opening a store".

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sampan_core::RowKey;

use super::error::StoreError;
use super::index::Index;
use super::inspect::{Inspection, inspect};
use super::meta::Meta;
use super::options::{INDEX_FILE, NEW_INDEX_FILE, QUARANTINE_PREFIX, StoreIdentity, StoreOptions};
use super::segment_account::{SegmentAccount, SegmentAccounts};
use super::segment_header::segment_name;
use super::segments::Segments;
use super::shared::{Committed, Shared};
use crate::io::Folder;
use crate::log::LogId;

/// What a store held when it was opened.
#[derive(Debug)]
pub struct Recovered {
    /// The last entry whose effects are in it; none for a new store.
    pub applied: Option<LogId>,
    /// The membership that was given with it.
    pub membership: Vec<u8>,
    /// The state rows, in the order of their keys, without paged ones: those are read by
    /// [`Reader::read_row`](super::Reader::read_row) when the core needs them.
    pub rows: Vec<(RowKey, Bytes)>,
    /// Segment files that nobody could account for, under their new names.
    pub quarantined: Vec<String>,
}

/// Opens the store in `folder`, which the caller has locked; makes it when the folder is empty.
pub(super) fn open_store(
    folder: Arc<dyn Folder>,
    identity: StoreIdentity,
    options: StoreOptions,
) -> Result<(Arc<Shared>, Recovered), StoreError> {
    let segments = Segments::new(folder.clone(), identity);
    create_if_new(&*folder, &segments, identity)?;
    let inspection = inspect(
        &*folder,
        options.index_cache_len,
        Some(identity),
        &mut |_| Ok(()),
    )?;
    for (number, account) in living(&inspection.segments) {
        segments.check(number, account.len)?;
    }
    // Nothing was changed up to here.
    let index = Index::open(folder.clone(), options.index_cache_len)?;
    let Inspection {
        meta,
        segments: accounts,
        rows,
    } = inspection;
    let quarantined = clear_up(&*folder, &segments, &meta, &accounts)?;
    let applied = meta.applied;
    let membership = meta.membership.clone();
    let unlinked = dead(&accounts);
    let accounts = SegmentAccounts::restore(accounts, meta.segment_next);
    let shared = Shared::new(
        index,
        segments,
        options,
        Committed {
            meta,
            accounts,
            unlinked,
        },
    );
    Ok((
        shared,
        Recovered {
            applied,
            membership,
            rows,
            quarantined,
        },
    ))
}

/// Finds out whether the store in `folder` would open, and changes nothing.
pub(super) fn examine_store(
    folder: Arc<dyn Folder>,
    identity: StoreIdentity,
    options: StoreOptions,
) -> Result<(), StoreError> {
    let names = folder.list();
    let names = names.map_err(|source| StoreError::io("list", "the store's folder", source))?;
    if !names.iter().any(|name| name == INDEX_FILE) {
        return Err(StoreError::damaged(INDEX_FILE, "it is missing"));
    }
    let inspection = inspect(
        &*folder,
        options.index_cache_len,
        Some(identity),
        &mut |_| Ok(()),
    )?;
    let segments = Segments::new(folder, identity);
    for (number, account) in living(&inspection.segments) {
        segments.check(number, account.len)?;
    }
    Ok(())
}

fn create_if_new(
    folder: &dyn Folder,
    segments: &Segments,
    identity: StoreIdentity,
) -> Result<(), StoreError> {
    let names = folder.list();
    let names = names.map_err(|source| StoreError::io("list", "the store's folder", source))?;
    if names.iter().any(|name| name == INDEX_FILE) {
        return Ok(());
    }
    if !segments.numbers()?.is_empty() {
        return Err(StoreError::damaged(
            INDEX_FILE,
            "it is missing beside its segment files",
        ));
    }
    Index::create(folder, &Meta::new(identity))
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
    remove_new_index(folder)?;
    if !quarantined.is_empty() {
        segments.sync_folder()?;
    }
    Ok(quarantined)
}

/// A crash while the store was made may have left the file under its first name as well.
fn remove_new_index(folder: &dyn Folder) -> Result<(), StoreError> {
    match folder.remove(NEW_INDEX_FILE) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| StoreError::io("remove", NEW_INDEX_FILE, source)),
    }
}
