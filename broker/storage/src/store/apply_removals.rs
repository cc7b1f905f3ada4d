//! Applies removed messages and removed queues to the index.
//!
//! A removed queue may have millions of rows. One checkpoint takes out a bounded number of them
//! and the queue stays listed in the table of removals until none is left; readers and the next
//! start treat a listed queue as gone. Taking them all out at once would make a checkpoint, and
//! the memory it needs, as long as the backlog.
//!
//! Spec: spec/storage.md, "Checkpoints".

use redb::{ReadableTable, WriteTransaction};
use sampan_core::RowKey;
use sampan_protocol::QueueId;

use super::error::StoreError;
use super::extent_entry::{EXTENT_KEY_LEN, extent_key};
use super::extent_index::{Books, ExtentIndex};
use super::index::{EXTENTS, Indexed, REMOVALS, ROWS};
use super::meta::Tallies;
use super::ranges::RangeSet;
use super::removals::Removals;
use super::seal::{Table, Tally, seal, unseal};

/// The state rows that go with a queue. Rows of lower kinds belong to the set.
pub(super) fn is_row_of_queue(key: RowKey) -> bool {
    key.kind >= RowKey::QUEUE
}

/// Lists the removed queues, so that a bounded part of their rows can follow now and later.
pub(super) fn list_queues(
    transaction: &WriteTransaction,
    removals: &Removals,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let mut table = transaction.open_table(REMOVALS).indexed()?;
    for queue in removals.queues() {
        let value = seal(Table::Removals, &queue.0.to_be_bytes(), &[]);
        if table.insert(queue.0, value.as_slice()).indexed()?.is_none() {
            tally.add(&value);
        }
    }
    Ok(())
}

/// Takes out at most `row_count_max` rows of listed queues; a queue without rows is struck.
pub(super) fn remove_queues(
    transaction: &WriteTransaction,
    tallies: &mut Tallies,
    books: &mut Books,
    row_count_max: usize,
) -> Result<(), StoreError> {
    let mut left = row_count_max;
    loop {
        let Some(queue) = first_listed(transaction)? else {
            return Ok(());
        };
        left -= remove_extents(transaction, queue, books, left)?;
        left -= remove_rows(transaction, queue, &mut tallies.rows, left)?;
        if left == 0 {
            return Ok(());
        }
        let mut table = transaction.open_table(REMOVALS).indexed()?;
        if let Some(old) = table.remove(queue.0).indexed()? {
            tallies.removals.subtract(old.value());
        }
    }
}

fn first_listed(transaction: &WriteTransaction) -> Result<Option<QueueId>, StoreError> {
    let table = transaction.open_table(REMOVALS).indexed()?;
    let Some((key, value)) = table.first().indexed()? else {
        return Ok(None);
    };
    unseal(Table::Removals, &key.value().to_be_bytes(), value.value())?;
    Ok(Some(QueueId(key.value())))
}

fn remove_extents(
    transaction: &WriteTransaction,
    queue: QueueId,
    books: &mut Books,
    count_max: usize,
) -> Result<usize, StoreError> {
    let (from, to) = (extent_key(queue, 0), extent_key(queue, u64::MAX));
    let mut keys: Vec<[u8; EXTENT_KEY_LEN]> = Vec::new();
    {
        let table = transaction.open_table(EXTENTS).indexed()?;
        for row in table
            .range::<&[u8; EXTENT_KEY_LEN]>(&from..=&to)
            .indexed()?
            .take(count_max)
        {
            keys.push(*row.indexed()?.0.value());
        }
    }
    let mut index = ExtentIndex::open(transaction)?;
    for key in &keys {
        index.remove(books, key)?;
    }
    Ok(keys.len())
}

fn remove_rows(
    transaction: &WriteTransaction,
    queue: QueueId,
    tally: &mut Tally,
    count_max: usize,
) -> Result<usize, StoreError> {
    let from = RowKey {
        queue,
        kind: RowKey::QUEUE,
        number: 0,
    }
    .encode();
    let to = RowKey {
        queue,
        kind: u8::MAX,
        number: u64::MAX,
    }
    .encode();
    let mut table = transaction.open_table(ROWS).indexed()?;
    let mut keys: Vec<[u8; RowKey::LEN]> = Vec::new();
    for row in table
        .range::<&[u8; RowKey::LEN]>(&from..=&to)
        .indexed()?
        .take(count_max)
    {
        keys.push(*row.indexed()?.0.value());
    }
    for key in &keys {
        if let Some(old) = table.remove(key).indexed()? {
            tally.subtract(old.value());
        }
    }
    Ok(keys.len())
}

/// Takes single messages out of the extents that hold them.
pub(super) fn remove_messages(
    index: &mut ExtentIndex<'_>,
    removals: &Removals,
    books: &mut Books,
) -> Result<(), StoreError> {
    for (queue, ids) in removals.ranges() {
        remove_from_queue(index, queue, ids, books)?;
    }
    Ok(())
}

/// Every extent that is hit is read and written once, however many ranges hit it.
fn remove_from_queue(
    index: &mut ExtentIndex<'_>,
    queue: QueueId,
    ids: &RangeSet,
    books: &mut Books,
) -> Result<(), StoreError> {
    let mut from = 0;
    loop {
        let Some(range) = ids.overlapping(from..u64::MAX).next() else {
            return Ok(());
        };
        let Some(mut entry) = index.at_or_after(queue, range.start.max(from))? else {
            return Ok(());
        };
        if entry.first >= range.end {
            from = entry.first;
            continue;
        }
        let before = entry.alive_count;
        for hit in ids.overlapping(entry.first..entry.last + 1) {
            entry.remove(&hit);
        }
        if entry.alive_count == 0 {
            index.remove(books, &entry.key())?;
        } else if entry.alive_count != before {
            index.insert(books, &entry)?;
        }
        from = entry.last + 1;
    }
}
