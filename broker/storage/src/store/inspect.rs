//! Looks at a whole index file without changing it: every value, every tally, every account.
//!
//! Opening a store and checking one both begin here. Only when all of this holds is the file
//! opened for writing, so a folder that is foreign, newer or damaged stays as it was found. The
//! pass reads the index, which is a few thousandths of what the bodies take.
//!
//! Spec: spec/storage.md, "Opening a store".

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use sampan_core::RowKey;
use sampan_protocol::{MessageId, QueueId};

use super::apply_removals::is_row_of_queue;
use super::error::StoreError;
use super::extent_entry::ExtentEntry;
use super::index::{EXTENTS, Indexed, META, REMOVALS, ROWS, SEGMENTS, guarded, open_scratch};
use super::meta::{FORMAT_KEY, INDEX_FORMAT, Meta, STATE_KEY};
use super::options::{INDEX_FILE, StoreIdentity};
use super::seal::{Table, Tally, unseal};
use super::segment_account::SegmentAccount;
use super::segment_header::SEGMENT_HEADER_LEN;
use crate::io::Folder;

/// What an intact index file holds.
#[derive(Debug)]
pub(super) struct Inspection {
    pub(super) meta: Meta,
    pub(super) segments: BTreeMap<u32, SegmentAccount>,
    /// State rows, without the paged ones, which are read when they are needed.
    pub(super) rows: Vec<(RowKey, Bytes)>,
}

/// Reads and checks the index file in `folder`; `identity` must match when it is given.
pub(super) fn inspect(
    folder: &dyn Folder,
    cache_len: usize,
    identity: Option<StoreIdentity>,
    each: &mut dyn FnMut(&ExtentEntry) -> Result<(), StoreError>,
) -> Result<Inspection, StoreError> {
    guarded(|| {
        let mut database = open_scratch(folder, cache_len)?;
        let inspection = inspect_database(&database, identity, each)?;
        // Pages that redb takes for free must not be in use: later checkpoints write there.
        if database.check_integrity().indexed()? {
            return Ok(inspection);
        }
        Err(StoreError::damaged(
            INDEX_FILE,
            "its account of free pages is wrong",
        ))
    })
}

fn inspect_database(
    database: &Database,
    identity: Option<StoreIdentity>,
    each: &mut dyn FnMut(&ExtentEntry) -> Result<(), StoreError>,
) -> Result<Inspection, StoreError> {
    let transaction = database.begin_read().indexed()?;
    let meta = read_meta(&transaction)?;
    if let Some(expected) = identity
        && meta.identity != expected
    {
        let (found, expected) = (meta.identity.to_string(), expected.to_string());
        return Err(StoreError::ForeignIdentity {
            file: INDEX_FILE.to_owned(),
            found,
            expected,
        });
    }
    let segments = read_segments(&transaction, &meta)?;
    let removed = read_removals(&transaction, &meta)?;
    let rows = read_rows(&transaction, &meta, &removed)?;
    read_extents(&transaction, &meta, &segments, each)?;
    Ok(Inspection {
        meta,
        segments,
        rows,
    })
}

pub(super) fn read_meta(transaction: &ReadTransaction) -> Result<Meta, StoreError> {
    let table = transaction.open_table(META).indexed()?;
    let missing = || StoreError::damaged(INDEX_FILE, "a row of its state is missing");
    let format = table.get(FORMAT_KEY).indexed()?.ok_or_else(missing)?;
    let format = unseal(Table::Meta, &[FORMAT_KEY], format.value())?;
    let format = format
        .try_into()
        .map(u32::from_le_bytes)
        .map_err(|_| missing())?;
    if format > INDEX_FORMAT {
        let (file, known) = (INDEX_FILE.to_owned(), INDEX_FORMAT);
        return Err(StoreError::NewerFormat {
            file,
            found: format,
            known,
        });
    }
    let state = table.get(STATE_KEY).indexed()?.ok_or_else(missing)?;
    Meta::decode(unseal(Table::Meta, &[STATE_KEY], state.value())?)
}

/// Counts the rows of a table while they are read, and compares at the end.
struct Counted {
    what: &'static str,
    expected: Tally,
    found: Tally,
}

impl Counted {
    fn new(what: &'static str, expected: Tally) -> Self {
        Counted {
            what,
            expected,
            found: Tally::default(),
        }
    }

    /// Stops at the first row too many, so that a damaged tree cannot lead in circles.
    fn add(&mut self, value: &[u8]) -> Result<(), StoreError> {
        self.found.add(value);
        if self.found.count > self.expected.count {
            Err(self.wrong())
        } else {
            Ok(())
        }
    }

    fn finish(self) -> Result<(), StoreError> {
        if self.found == self.expected {
            Ok(())
        } else {
            Err(self.wrong())
        }
    }

    fn wrong(&self) -> StoreError {
        let what = format!("{} are missing, doubled or old", self.what);
        StoreError::damaged(INDEX_FILE, what)
    }
}

pub(super) fn read_segments(
    transaction: &ReadTransaction,
    meta: &Meta,
) -> Result<BTreeMap<u32, SegmentAccount>, StoreError> {
    let mut counted = Counted::new("segments", meta.tallies.segments);
    let mut segments = BTreeMap::new();
    for row in transaction
        .open_table(SEGMENTS)
        .indexed()?
        .iter()
        .indexed()?
    {
        let (key, value) = row.indexed()?;
        counted.add(value.value())?;
        segments.insert(
            key.value(),
            SegmentAccount::decode(key.value(), value.value())?,
        );
    }
    counted.finish()?;
    if segments.keys().any(|number| *number >= meta.segment_next) {
        return Err(StoreError::damaged(
            INDEX_FILE,
            "a segment has a number not yet given",
        ));
    }
    Ok(segments)
}

pub(super) fn read_removals(
    transaction: &ReadTransaction,
    meta: &Meta,
) -> Result<BTreeSet<QueueId>, StoreError> {
    let mut counted = Counted::new("removals", meta.tallies.removals);
    let mut removed = BTreeSet::new();
    for row in transaction
        .open_table(REMOVALS)
        .indexed()?
        .iter()
        .indexed()?
    {
        let (key, value) = row.indexed()?;
        counted.add(value.value())?;
        unseal(Table::Removals, &key.value().to_be_bytes(), value.value())?;
        removed.insert(QueueId(key.value()));
    }
    counted.finish()?;
    Ok(removed)
}

fn read_rows(
    transaction: &ReadTransaction,
    meta: &Meta,
    removed: &BTreeSet<QueueId>,
) -> Result<Vec<(RowKey, Bytes)>, StoreError> {
    let mut counted = Counted::new("state rows", meta.tallies.rows);
    let mut rows = Vec::new();
    for row in transaction.open_table(ROWS).indexed()?.iter().indexed()? {
        let (key, value) = row.indexed()?;
        counted.add(value.value())?;
        let content = unseal(Table::Rows, key.value(), value.value())?;
        let key = RowKey::decode(*key.value());
        let is_removed = is_row_of_queue(key) && removed.contains(&key.queue);
        if !key.is_paged() && !is_removed {
            rows.push((key, Bytes::copy_from_slice(content)));
        }
    }
    counted.finish()?;
    Ok(rows)
}

fn read_extents(
    transaction: &ReadTransaction,
    meta: &Meta,
    segments: &BTreeMap<u32, SegmentAccount>,
    each: &mut dyn FnMut(&ExtentEntry) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut counted = Counted::new("extents", meta.tallies.extents);
    let mut found: BTreeMap<u32, SegmentAccount> = segments
        .iter()
        .map(|(number, account)| {
            (
                *number,
                SegmentAccount {
                    len: account.len,
                    ..Default::default()
                },
            )
        })
        .collect();
    let mut before: Option<(QueueId, u64)> = None;
    for row in transaction
        .open_table(EXTENTS)
        .indexed()?
        .iter()
        .indexed()?
    {
        let (key, value) = row.indexed()?;
        counted.add(value.value())?;
        let entry = ExtentEntry::decode(key.value(), value.value())?;
        check_entry(&entry, before, &mut found)?;
        before = Some((entry.queue, entry.last));
        each(&entry)?;
    }
    counted.finish()?;
    if found == *segments {
        return Ok(());
    }
    Err(StoreError::damaged(
        INDEX_FILE,
        "extents and segments do not agree",
    ))
}

fn check_entry(
    entry: &ExtentEntry,
    before: Option<(QueueId, u64)>,
    found: &mut BTreeMap<u32, SegmentAccount>,
) -> Result<(), StoreError> {
    let wrong = |what| Err(StoreError::damaged(INDEX_FILE, what));
    if before.is_some_and(|(queue, last)| queue == entry.queue && last >= entry.first) {
        return wrong("two extents overlap");
    }
    if MessageId(entry.first).space() != MessageId(entry.last).space() {
        return wrong("an extent mixes kinds of ids");
    }
    let Some(account) = found.get_mut(&entry.place.segment) else {
        return wrong("an extent names an unknown segment");
    };
    let end = entry.place.offset + u64::from(entry.place.len);
    if entry.place.offset < SEGMENT_HEADER_LEN as u64 || end > account.len {
        return wrong("an extent lies outside its segment");
    }
    account.live_len += entry.live_len();
    account.extent_count += 1;
    Ok(())
}
