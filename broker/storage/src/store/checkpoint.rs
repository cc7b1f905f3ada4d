//! A checkpoint: what a frozen overlay and the core's changed rows put on disk, in one step.
//!
//! The job runs off the set's core. The order is the promise: bodies are written and synced first,
//! then one transaction makes them, every row, every removal and the applied log id valid at once,
//! and only then are files unlinked that nothing names any more. A crash at any point leaves the
//! checkpoint before or this one, never a mixture.
//!
//! Spec: spec/storage.md, "Checkpoints".

use std::fmt;
use std::sync::Arc;

use redb::WriteTransaction;
use sampan_core::RowKey;

use super::apply_removals::{list_queues, remove_messages, remove_queues};
use super::error::StoreError;
use super::extent_index::{Books, ExtentIndex};
use super::index::{Indexed, ROWS, SEGMENTS, write_meta};
use super::meta::Meta;
use super::options::{QUEUE_REMOVAL_COUNT_MAX, VALUE_LEN_MAX};
use super::overlay::Overlay;
use super::removals::Removals;
use super::repairs::RepairKey;
use super::rewrite::rewrite_sparse;
use super::seal::{Table, Tally, seal};
use super::segment_account::SegmentAccounts;
use super::segment_writer::SegmentWriter;
use super::shared::{Committed, Shared};
use super::survivors::{ExtentSink, write_survivors};
use crate::log::LogId;

/// State rows that changed since the last checkpoint; `None` for a row that is gone.
pub type ChangedRows = Box<dyn Iterator<Item = (RowKey, Option<Vec<u8>>)> + Send>;

/// A checkpoint to be run on a thread that may block.
pub struct CheckpointJob {
    pub(super) shared: Arc<Shared>,
    pub(super) frozen: Arc<Overlay>,
    /// What was removed after the freeze, known only when the checkpoint is run again.
    pub(super) gone: Removals,
    pub(super) applied: LogId,
    pub(super) membership: Vec<u8>,
    pub(super) rows: Rows,
    pub(super) pause: Pause,
}

/// What is called between long writes of bodies.
pub(super) type Pause = Box<dyn Fn() + Send + Sync>;

/// The changed rows: encoded on the job's thread, kept for when the job must run again.
pub(super) enum Rows {
    Frozen(ChangedRows),
    Encoded(Vec<(RowKey, Option<Vec<u8>>)>),
}

/// What became of a checkpoint; to be given to `Store::finish_checkpoint`.
#[derive(Debug)]
pub struct CheckpointOutcome {
    pub(super) job: CheckpointJob,
    pub(super) result: Result<(), StoreError>,
}

impl CheckpointOutcome {
    /// Whether the checkpoint is durable.
    pub fn is_durable(&self) -> bool {
        self.result.is_ok()
    }
}

impl fmt::Debug for CheckpointJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointJob")
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl CheckpointJob {
    /// Writes the checkpoint. Blocks on the disk for as long as that takes.
    pub fn run(mut self) -> CheckpointOutcome {
        let rows = match self.rows {
            Rows::Frozen(rows) => rows.collect(),
            Rows::Encoded(rows) => rows,
        };
        self.rows = Rows::Encoded(Vec::new());
        let result = self.write(&rows);
        self.rows = Rows::Encoded(rows);
        CheckpointOutcome { job: self, result }
    }

    /// Has `pause` called between long writes of bodies: whoever syncs to the same disk meanwhile
    /// need not wait for all of them.
    pub fn set_pause(&mut self, pause: impl Fn() + Send + Sync + 'static) {
        self.pause = Box::new(pause);
    }

    /// The log id that the checkpoint stands for.
    pub fn applied(&self) -> LogId {
        self.applied
    }

    fn write(&self, rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let mut committed = self.shared.committed();
        self.shared.check_writable()?;
        let before = committed.clone();
        let written = self.shared.index.write(|transaction| {
            let mut work = Work::new(transaction, self, &before);
            work.rows(rows)?;
            work.finish(&before.accounts)
        });
        match written {
            Ok((after, settled)) => {
                *committed = after;
                self.shared.repairs.settle(&settled);
            }
            Err(error) => return Err(self.shared.settle(error, &mut committed)),
        }
        let dead = self.shared.segments.unpinned(committed.accounts.dead());
        if let Err(error) = self.shared.segments.unlink(&dead) {
            self.shared.latch();
            return Err(error);
        }
        self.shared
            .unreadable()
            .retain(|number| !dead.contains(number));
        committed.unlinked = dead;
        Ok(())
    }
}

/// One checkpoint inside its transaction.
struct Work<'a> {
    transaction: &'a WriteTransaction,
    job: &'a CheckpointJob,
    meta: Meta,
    books: Books,
}

impl<'a> Work<'a> {
    fn new(transaction: &'a WriteTransaction, job: &'a CheckpointJob, before: &Committed) -> Self {
        let mut meta = before.meta.clone();
        meta.applied = Some(job.applied);
        meta.is_installed = false;
        meta.membership.clone_from(&job.membership);
        let mut accounts = before.accounts.clone();
        before
            .unlinked
            .iter()
            .for_each(|number| accounts.strike(*number));
        let books = Books {
            tally: meta.tallies.extents,
            accounts,
        };
        Work {
            transaction,
            job,
            meta,
            books,
        }
    }

    /// Removed queues first, then the rows that changed.
    fn rows(&mut self, rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let removals = self.job.frozen.removals();
        let tallies = &mut self.meta.tallies;
        list_queues(self.transaction, removals, &mut tallies.removals)?;
        remove_queues(
            self.transaction,
            tallies,
            &mut self.books,
            QUEUE_REMOVAL_COUNT_MAX,
        )?;
        let mut table = self.transaction.open_table(ROWS).indexed()?;
        for (key, row) in rows {
            put_row(&mut table, *key, row.as_deref(), &mut tallies.rows)?;
        }
        Ok(())
    }

    /// Messages, segments, and what the checkpoint says of itself.
    fn finish(
        mut self,
        before: &SegmentAccounts,
    ) -> Result<(Committed, Vec<RepairKey>), StoreError> {
        let settled = self.messages()?;
        self.books.accounts.seal_if_dead();
        let tally = &mut self.meta.tallies.segments;
        write_accounts(self.transaction, before, &self.books.accounts, tally)?;
        self.meta.tallies.extents = self.books.tally;
        self.meta.segment_next = self.books.accounts.next;
        write_meta(self.transaction, &self.meta)?;
        let (meta, accounts) = (self.meta, self.books.accounts);
        let unlinked = Vec::new();
        let committed = Committed {
            meta,
            accounts,
            unlinked,
        };
        Ok((committed, settled))
    }

    fn messages(&mut self) -> Result<Vec<RepairKey>, StoreError> {
        let shared = &self.job.shared;
        let frozen = &self.job.frozen;
        let mut index = ExtentIndex::open(self.transaction)?;
        remove_messages(&mut index, frozen.removals(), &mut self.books)?;
        let len_max = shared.options.segment_len_max;
        // It may be the last checkpoint for long: what is sparse now is rewritten now.
        self.books.accounts.seal_if_sparse(len_max);
        let mut writer = SegmentWriter::new(&shared.segments, len_max, &self.books.accounts)
            .with_pause(&self.job.pause);
        let books = &mut self.books;
        let mut sink = ExtentSink {
            writer: &mut writer,
            index: &mut index,
            books,
        };
        let settled = shared.repairs.write(&mut sink)?;
        write_survivors(frozen, &self.job.gone, &mut sink)?;
        rewrite_sparse(shared, &mut sink)?;
        writer.finish()?;
        Ok(settled)
    }
}

/// Writes the accounts that differ from those before.
pub(super) fn write_accounts(
    transaction: &WriteTransaction,
    before: &SegmentAccounts,
    after: &SegmentAccounts,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let mut table = transaction.open_table(SEGMENTS).indexed()?;
    for (number, _) in before
        .iter()
        .filter(|(number, _)| after.account(*number).is_none())
    {
        if let Some(old) = table.remove(number).indexed()? {
            tally.subtract(old.value());
        }
    }
    for (number, account) in after.iter() {
        if before.account(number) == Some(account) {
            continue;
        }
        let value = account.encode(number);
        if let Some(old) = table.insert(number, value.as_slice()).indexed()? {
            tally.subtract(old.value());
        }
        tally.add(&value);
    }
    Ok(())
}

/// Puts a row in, or takes it out.
pub(super) fn put_row(
    table: &mut redb::Table<'_, &'static [u8; RowKey::LEN], &'static [u8]>,
    key: RowKey,
    row: Option<&[u8]>,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let key = key.encode();
    let Some(row) = row else {
        if let Some(old) = table.remove(&key).indexed()? {
            tally.subtract(old.value());
        }
        return Ok(());
    };
    let value = seal(Table::Rows, &key, row);
    if value.len() > VALUE_LEN_MAX {
        return Err(StoreError::TooLong {
            what: "a state row",
            len: row.len(),
            len_max: VALUE_LEN_MAX - 4,
        });
    }
    if let Some(old) = table.insert(&key, value.as_slice()).indexed()? {
        tally.subtract(old.value());
    }
    tally.add(&value);
    Ok(())
}
