//! The checksum that every value in the index file carries, and the tally over all of them.
//!
//! redb does not check its pages when it reads them. So each value starts with a CRC32C over its
//! table, key and content; a value found under another key is as wrong as a changed one. A lookup
//! that misses a row because a branch page was damaged finds no wrong checksum, so the store also
//! keeps, per table, a count and an order-free sum over all checksums, and compares them whenever
//! it is opened.
//!
//! Spec: spec/storage.md, "The index file".

use super::error::StoreError;
use super::options::INDEX_FILE;

const CRC_LEN: usize = 4;

/// Which table a value belongs to. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    /// Format version and store state.
    Meta = 1,
    /// Extents of messages.
    Extents = 2,
    /// Segment files.
    Segments = 3,
    /// State rows of the core.
    Rows = 4,
    /// Removed queues whose rows are not all gone.
    Removals = 5,
}

/// A value with its checksum in front.
pub(super) fn seal(table: Table, key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(CRC_LEN + content.len());
    value.extend_from_slice(&checksum(table, key, content).to_le_bytes());
    value.extend_from_slice(content);
    value
}

/// The content of a value, if its checksum is right.
pub(super) fn unseal<'a>(
    table: Table,
    key: &[u8],
    value: &'a [u8],
) -> Result<&'a [u8], StoreError> {
    if let Some((crc, content)) = value.split_first_chunk::<CRC_LEN>()
        && u32::from_le_bytes(*crc) == checksum(table, key, content)
    {
        return Ok(content);
    }
    Err(StoreError::damaged(
        INDEX_FILE,
        format!("wrong checksum in table {table:?}"),
    ))
}

fn checksum(table: Table, key: &[u8], content: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&[table as u8]);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, key), content)
}

/// Count of the rows of one table, and a sum over their checksums that does not depend on order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) sum: u64,
}

impl Tally {
    /// A sealed value came in.
    pub(super) fn add(&mut self, value: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(spread(value));
    }

    /// A sealed value went out.
    pub(super) fn subtract(&mut self, value: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(spread(value));
    }
}

/// The checksum of a sealed value, spread over 64 bits so that sums of few do not meet.
fn spread(value: &[u8]) -> u64 {
    let crc = value
        .first_chunk::<CRC_LEN>()
        .map_or(0, |crc| u32::from_le_bytes(*crc));
    let mut mixed = u64::from(crc).wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_under_another_key_or_in_another_table_is_damage() {
        let value = seal(Table::Rows, b"key", b"content");
        assert_eq!(unseal(Table::Rows, b"key", &value).unwrap(), b"content");
        assert!(unseal(Table::Rows, b"kez", &value).is_err());
        assert!(unseal(Table::Meta, b"key", &value).is_err());
        assert!(unseal(Table::Rows, b"key", &value[..2]).is_err());
    }

    #[test]
    fn a_tally_does_not_depend_on_the_order() {
        let values = [b"a", b"b", b"c"].map(|key| seal(Table::Rows, key, key));
        let mut forward = Tally::default();
        let mut backward = Tally::default();
        values.iter().for_each(|value| forward.add(value));
        values.iter().rev().for_each(|value| backward.add(value));
        assert_eq!(forward, backward);
        forward.subtract(&values[1]);
        assert_ne!(forward, backward);
        backward.subtract(&values[1]);
        assert_eq!(forward, backward);
    }
}
