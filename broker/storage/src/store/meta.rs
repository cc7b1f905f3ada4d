//! The one row that says what a checkpoint is: whose store, as of which log id, with how much in
//! each table.
//!
//! It is written last in the transaction of every checkpoint. Whoever opens the store compares
//! the tallies with what the tables really hold.
//!
//! Spec: spec/storage.md, "The index file".

use bytes::{Buf, BufMut};
use sampan_protocol::SetId;

use super::error::StoreError;
use super::options::{INDEX_FILE, StoreIdentity, VALUE_LEN_MAX};
use super::seal::Tally;
use crate::log::LogId;

/// The format of the index file that this release writes.
pub const INDEX_FORMAT: u32 = 1;
/// Key of the format version in the meta table.
pub(super) const FORMAT_KEY: u8 = 0;
/// Key of the store's state in the meta table.
pub(super) const STATE_KEY: u8 = 1;
/// Key of how far a snapshot was received, in the meta table of a generation that receives one.
pub(super) const PROGRESS_KEY: u8 = 2;
const FIXED_LEN: usize = 8 + 16 + 4 + 4 + 4 + 24 + 4 * 16 + 4;

/// Tallies of the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tallies {
    pub(super) extents: Tally,
    pub(super) segments: Tally,
    pub(super) rows: Tally,
    pub(super) removals: Tally,
}

/// The state of a store as of its last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) identity: StoreIdentity,
    /// The last entry whose effects are in the store; none before the first checkpoint.
    pub(super) applied: Option<LogId>,
    /// Whether `applied` came with a snapshot and no checkpoint followed: the log need not have
    /// the entry, nor any before it.
    pub(super) is_installed: bool,
    /// The members as of `applied`; the store does not look into it.
    pub(super) membership: Vec<u8>,
    /// Segment files from this number on are leftovers of a checkpoint that did not commit.
    pub(super) segment_next: u32,
    pub(super) tallies: Tallies,
}

impl Meta {
    /// The state of a store without anything.
    pub(super) fn new(identity: StoreIdentity) -> Self {
        Meta {
            identity,
            applied: None,
            is_installed: false,
            membership: Vec::new(),
            segment_next: 1,
            tallies: Tallies::default(),
        }
    }

    /// The content of the row, not yet sealed.
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let len = FIXED_LEN + self.membership.len();
        if len > VALUE_LEN_MAX - 4 {
            let (len, len_max) = (self.membership.len(), VALUE_LEN_MAX - 4 - FIXED_LEN);
            return Err(StoreError::TooLong {
                what: "a membership",
                len,
                len_max,
            });
        }
        let mut out = Vec::with_capacity(len);
        out.put_u64_le(self.identity.node);
        out.put_u128_le(self.identity.cluster);
        out.put_u32_le(self.identity.set.0);
        out.put_u32_le(self.segment_next);
        out.put_u32_le(match (self.applied, self.is_installed) {
            (None, _) => 0,
            (Some(_), false) => 1,
            (Some(_), true) => 2,
        });
        let applied = self.applied.unwrap_or(LogId {
            term: 0,
            node: 0,
            index: 0,
        });
        out.put_u64_le(applied.term);
        out.put_u64_le(applied.node);
        out.put_u64_le(applied.index);
        let Tallies {
            extents,
            segments,
            rows,
            removals,
        } = self.tallies;
        for tally in [extents, segments, rows, removals] {
            out.put_u64_le(tally.count);
            out.put_u64_le(tally.sum);
        }
        out.put_u32_le(u32::try_from(self.membership.len()).expect("checked above"));
        out.extend_from_slice(&self.membership);
        Ok(out)
    }

    /// The row's content, checked.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::decode_content(bytes)
            .ok_or_else(|| StoreError::damaged(INDEX_FILE, "the state row contradicts itself"))
    }

    fn decode_content(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < FIXED_LEN {
            return None;
        }
        let (node, cluster) = (bytes.get_u64_le(), bytes.get_u128_le());
        let identity = StoreIdentity {
            node,
            cluster,
            set: SetId(bytes.get_u32_le()),
        };
        let segment_next = bytes.get_u32_le();
        let has_applied = bytes.get_u32_le();
        let (term, node, index) = (bytes.get_u64_le(), bytes.get_u64_le(), bytes.get_u64_le());
        let applied = match has_applied {
            0 => None,
            1 | 2 => Some(LogId { term, node, index }),
            _ => return None,
        };
        let mut tally = || Tally {
            count: bytes.get_u64_le(),
            sum: bytes.get_u64_le(),
        };
        let (extents, segments, rows, removals) = (tally(), tally(), tally(), tally());
        let tallies = Tallies {
            extents,
            segments,
            rows,
            removals,
        };
        let membership_len = usize::try_from(bytes.get_u32_le()).ok()?;
        let membership = bytes.to_vec();
        let meta = Meta {
            identity,
            applied,
            is_installed: has_applied == 2,
            membership,
            segment_next,
            tallies,
        };
        (bytes.len() == membership_len && segment_next > 0).then_some(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_row_comes_back_as_it_went_in() {
        let identity = StoreIdentity {
            node: 1,
            cluster: 2,
            set: SetId(3),
        };
        let mut meta = Meta::new(identity);
        assert_eq!(Meta::decode(&meta.encode().unwrap()).unwrap(), meta);
        meta.applied = Some(LogId {
            term: 4,
            node: 5,
            index: 6,
        });
        meta.is_installed = true;
        meta.membership = vec![1, 2, 3];
        meta.tallies.rows = Tally { count: 8, sum: 9 };
        let bytes = meta.encode().unwrap();
        assert_eq!(Meta::decode(&bytes).unwrap(), meta);
        for len in 0..bytes.len() {
            assert!(Meta::decode(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn a_membership_over_the_limit_is_refused() {
        let identity = StoreIdentity {
            node: 1,
            cluster: 2,
            set: SetId(3),
        };
        let mut meta = Meta::new(identity);
        meta.membership = vec![0; VALUE_LEN_MAX];
        assert!(matches!(meta.encode(), Err(StoreError::TooLong { .. })));
    }
}
