//! The extent index inside a transaction, with its books.
//!
//! Every row that comes or goes passes here, so that the tally and the segments' accounts cannot
//! disagree with the table.
//!
//! Spec: spec/storage.md, "The index file".

use redb::{ReadableTable, WriteTransaction};
use sampan_protocol::QueueId;

use super::error::StoreError;
use super::extent_entry::{EXTENT_KEY_LEN, ExtentEntry, extent_key};
use super::index::{EXTENTS, Indexed};
use super::seal::Tally;
use super::segment_account::SegmentAccounts;

/// The books that follow the index.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) tally: Tally,
    pub(super) accounts: SegmentAccounts,
}

/// The extent table of a write transaction.
pub(super) struct ExtentIndex<'t> {
    table: redb::Table<'t, &'static [u8; EXTENT_KEY_LEN], &'static [u8]>,
}

impl<'t> ExtentIndex<'t> {
    /// Opens the table.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(ExtentIndex {
            table: transaction.open_table(EXTENTS).indexed()?,
        })
    }

    /// Puts `entry` in, in place of the one with the same key.
    pub(super) fn insert(
        &mut self,
        books: &mut Books,
        entry: &ExtentEntry,
    ) -> Result<(), StoreError> {
        let (key, value) = (entry.key(), entry.encode());
        if let Some(old) = self.table.insert(&key, value.as_slice()).indexed()? {
            strike(books, &key, old.value())?;
        }
        books.tally.add(&value);
        books.accounts.add(entry);
        Ok(())
    }

    /// Takes the row with this key out.
    pub(super) fn remove(
        &mut self,
        books: &mut Books,
        key: &[u8; EXTENT_KEY_LEN],
    ) -> Result<(), StoreError> {
        if let Some(old) = self.table.remove(key).indexed()? {
            strike(books, key, old.value())?;
        }
        Ok(())
    }

    /// The first extent of `queue` that ends at `id` or behind it.
    pub(super) fn at_or_after(
        &self,
        queue: QueueId,
        id: u64,
    ) -> Result<Option<ExtentEntry>, StoreError> {
        let (from, to) = (extent_key(queue, id), extent_key(queue, u64::MAX));
        let row = self
            .table
            .range::<&[u8; EXTENT_KEY_LEN]>(&from..=&to)
            .indexed()?
            .next();
        let Some(row) = row else { return Ok(None) };
        let (key, value) = row.indexed()?;
        ExtentEntry::decode(key.value(), value.value()).map(Some)
    }

    /// The extent of `queue` that ends with `last`.
    pub(super) fn ending_with(
        &self,
        queue: QueueId,
        last: u64,
    ) -> Result<Option<ExtentEntry>, StoreError> {
        let key = extent_key(queue, last);
        let value = self.table.get(&key).indexed()?;
        value
            .map(|value| ExtentEntry::decode(&key, value.value()))
            .transpose()
    }
}

fn strike(books: &mut Books, key: &[u8], old: &[u8]) -> Result<(), StoreError> {
    books.accounts.subtract(&ExtentEntry::decode(key, old)?);
    books.tally.subtract(old);
    Ok(())
}
