//! The index file: one redb database with everything that is not a body.
//!
//! Owns the tables, the ways to open the file, and the translation of redb's failures: an error it
//! reports, and a panic inside it, both become a [`StoreError`]. After a write found no room redb
//! answers nothing until it is reopened, which happens here, behind a lock that readers share.
//!
//! Invariants: at most one handle writes the file. Every transaction that commits is durable and
//! carries the free pages (`set_quick_repair`), so that opening after a crash takes milliseconds.
//! Spec: spec/storage.md, "The index file".

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, TableDefinition,
    WriteTransaction,
};
use sampan_core::RowKey;

use super::backend::{Faults, FileBackend, ScratchBackend};
use super::error::StoreError;
use super::extent_entry::EXTENT_KEY_LEN;
use super::meta::{FORMAT_KEY, INDEX_FORMAT, Meta, STATE_KEY};
use super::options::{INDEX_FILE, NEW_INDEX_FILE};
use super::seal::{Table, seal};
use crate::io::Folder;

/// Extents by queue and last id.
pub(super) const EXTENTS: TableDefinition<&[u8; EXTENT_KEY_LEN], &[u8]> =
    TableDefinition::new("extents");
/// State rows of the core by their key.
pub(super) const ROWS: TableDefinition<&[u8; RowKey::LEN], &[u8]> = TableDefinition::new("rows");
/// Segment files by number.
pub(super) const SEGMENTS: TableDefinition<u32, &[u8]> = TableDefinition::new("segments");
/// Removed queues whose rows are not all gone.
pub(super) const REMOVALS: TableDefinition<u64, &[u8]> = TableDefinition::new("removals");
/// Format version and store state.
pub(super) const META: TableDefinition<u8, &[u8]> = TableDefinition::new("meta");

/// The index file, open.
#[derive(Debug)]
pub(super) struct Index {
    folder: Arc<dyn Folder>,
    cache_len: usize,
    open: RwLock<Option<OpenIndex>>,
}

#[derive(Debug)]
struct OpenIndex {
    /// `None` only while it is dropped.
    database: Option<Database>,
    faults: Arc<Faults>,
}

impl Drop for OpenIndex {
    fn drop(&mut self) {
        let database = self.database.take();
        // A failure to close cleanly loses nothing: the next open repairs from the last commit.
        let closed = guarded(|| {
            drop(database);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::error!(%error, "the index file did not close cleanly");
        }
        self.faults.fence();
    }
}

impl Index {
    /// Opens the file that is there, to read and write it.
    pub(super) fn open(folder: Arc<dyn Folder>, cache_len: usize) -> Result<Self, StoreError> {
        let open = RwLock::new(Some(open_file(&*folder, INDEX_FILE, cache_len)?));
        Ok(Index {
            folder,
            cache_len,
            open,
        })
    }

    /// Makes the file of a new store. It gets its name only when it is complete, so a crash
    /// leaves either nothing or a whole store.
    pub(super) fn create(folder: &dyn Folder, meta: &Meta) -> Result<(), StoreError> {
        let failed = |source| StoreError::io("create", NEW_INDEX_FILE, source);
        if folder
            .list()
            .map_err(failed)?
            .iter()
            .any(|name| name == NEW_INDEX_FILE)
        {
            folder.remove(NEW_INDEX_FILE).map_err(failed)?;
        }
        folder.create(NEW_INDEX_FILE).map_err(failed)?;
        let index = open_file(folder, NEW_INDEX_FILE, 0)?;
        index.write(|transaction| {
            transaction.open_table(EXTENTS).indexed()?;
            transaction.open_table(ROWS).indexed()?;
            transaction.open_table(SEGMENTS).indexed()?;
            transaction.open_table(REMOVALS).indexed()?;
            write_meta(transaction, meta)
        })?;
        drop(index);
        folder.rename(NEW_INDEX_FILE, INDEX_FILE).map_err(failed)?;
        folder.sync().map_err(failed)
    }

    /// Runs `work` in a read transaction.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or(StoreError::Latched)?;
        guarded(|| work(&open.database()?.begin_read().indexed()?))
    }

    /// Begins a read transaction that outlives this call. It keeps pages of the file from being
    /// used again, and sees errors only once the file was opened anew.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or(StoreError::Latched)?;
        guarded(|| open.database()?.begin_read().indexed())
    }

    /// Runs `work` in a write transaction and commits it durably; an error undoes it all.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().ok_or(StoreError::Latched)?.write(work)
    }

    /// Whether nothing failed but a write that found no room.
    pub(super) fn only_full(&self) -> bool {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().is_some_and(|open| open.faults.only_full())
    }

    /// Gives the handle up and opens the file anew, as of the last commit.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        drop(open.take());
        *open = Some(open_file(&*self.folder, INDEX_FILE, self.cache_len)?);
        Ok(())
    }
}

impl OpenIndex {
    fn database(&self) -> Result<&Database, StoreError> {
        self.database.as_ref().ok_or(StoreError::Latched)
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        guarded(|| {
            let mut transaction = self.database()?.begin_write().indexed()?;
            transaction
                .set_durability(Durability::Immediate)
                .indexed()?;
            transaction.set_quick_repair(true);
            let result = work(&transaction)?;
            transaction.commit().indexed()?;
            Ok(result)
        })
    }
}

fn open_file(folder: &dyn Folder, name: &str, cache_len: usize) -> Result<OpenIndex, StoreError> {
    let file = folder
        .open(name)
        .map_err(|source| StoreError::io("open", name, source))?;
    let faults = Arc::new(Faults::default());
    let backend = FileBackend::new(file, faults.clone());
    let database = guarded(|| {
        Builder::new()
            .set_cache_size(cache_len)
            .create_with_backend(backend)
            .indexed()
    });
    let database = match database {
        Err(StoreError::Io { source, .. }) if faults.only_full() => {
            return Err(StoreError::Full {
                file: name.to_owned(),
                source,
            });
        }
        other => other?,
    };
    Ok(OpenIndex {
        database: Some(database),
        faults,
    })
}

/// Opens the file to look at it; nothing is written to it.
pub(super) fn open_scratch(folder: &dyn Folder, cache_len: usize) -> Result<Database, StoreError> {
    let failed = |source| StoreError::io("open", INDEX_FILE, source);
    let file = folder.open(INDEX_FILE).map_err(failed)?;
    if file.is_empty().map_err(failed)? {
        return Err(StoreError::damaged(INDEX_FILE, "it is empty"));
    }
    let backend = ScratchBackend::new(file).map_err(failed)?;
    Builder::new()
        .set_cache_size(cache_len)
        .create_with_backend(backend)
        .indexed()
}

/// Writes format version and state.
pub(super) fn write_meta(transaction: &WriteTransaction, meta: &Meta) -> Result<(), StoreError> {
    let mut table = transaction.open_table(META).indexed()?;
    let format = seal(Table::Meta, &[FORMAT_KEY], &INDEX_FORMAT.to_le_bytes());
    table.insert(FORMAT_KEY, format.as_slice()).indexed()?;
    let state = seal(Table::Meta, &[STATE_KEY], &meta.encode()?);
    table.insert(STATE_KEY, state.as_slice()).indexed()?;
    Ok(())
}

/// Runs `work`, in which redb may panic over a damaged page.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What `work` touched is not used again after a panic: the store latches.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let what = format!("reading it panicked: {}", text.unwrap_or("no message"));
        Err(StoreError::damaged(INDEX_FILE, what))
    })
}

/// Translates redb's errors.
pub(super) trait Indexed<T> {
    /// The result with an error of the store.
    fn indexed(self) -> Result<T, StoreError>;
}

impl<T, E: Into<redb::Error>> Indexed<T> for Result<T, E> {
    fn indexed(self) -> Result<T, StoreError> {
        self.map_err(|error| translate(error.into()))
    }
}

fn translate(error: redb::Error) -> StoreError {
    use std::io::ErrorKind;
    match error {
        redb::Error::Io(source) => match source.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
                StoreError::damaged(INDEX_FILE, source.to_string())
            }
            _ => StoreError::io("read or write", INDEX_FILE, source),
        },
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => StoreError::Latched,
        other => StoreError::damaged(INDEX_FILE, other.to_string()),
    }
}
