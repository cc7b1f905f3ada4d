//! Whose store it is, how it is tuned, and the limits of its formats.

use sampan_protocol::SetId;
use sampan_protocol::limits::{BODY_LEN_MAX, KEY_LEN_MAX, STORED_HEADERS_LEN_MAX};

/// Name of the index file in the folder of a set.
pub const INDEX_FILE: &str = "store.redb";
/// Name of the index file while it is being made.
pub(super) const NEW_INDEX_FILE: &str = "store.redb.new";
/// What a segment file that nobody can account for is renamed to begins with this.
pub const QUARANTINE_PREFIX: &str = "quarantine-";

/// An extent takes messages until it would be longer than this.
pub const EXTENT_LEN: usize = 64 * 1024;
/// Longest extent: one message of the largest size, with its headers and keys.
pub const EXTENT_LEN_MAX: usize = BODY_LEN_MAX + STORED_HEADERS_LEN_MAX + 2 * KEY_LEN_MAX + 128;
/// The ids of an extent span at most this many, so that its bitmap fits the index.
pub const EXTENT_SPAN_MAX: u64 = 4_096;
/// Longest value in the index file; above it, the file would waste half of what it takes.
pub const VALUE_LEN_MAX: usize = 65_472;
/// Extents are written to a segment in pieces of about this length.
pub(super) const WRITE_LEN: usize = 1024 * 1024;
/// Extents that lie one behind the other are read in one piece up to this length.
pub(super) const READAHEAD_LEN: usize = 256 * 1024;
/// Open segment files of one store; the one that was used longest ago is closed.
pub(super) const OPEN_SEGMENT_COUNT_MAX: usize = 128;
/// Queues whose last read is remembered, to tell a drain from scattered reads.
pub(super) const DRAIN_COUNT_MAX: usize = 1_024;
/// Index rows and state rows of removed queues that one checkpoint takes out.
pub const QUEUE_REMOVAL_COUNT_MAX: usize = 65_536;
/// Sparse segments that one checkpoint rewrites.
pub const REWRITE_COUNT_MAX: usize = 4;
/// A segment is sparse when less than one part in this many is alive.
pub(super) const SPARSE_DIVISOR: u64 = 10;
/// The newest segment is sealed when it is sparse and as long as this part of the longest.
pub(super) const SPARSE_LEN_MIN_DIVISOR: u64 = 32;
/// A chunk of a snapshot takes rows and extents until it is longer than this, unless the options
/// say less.
pub const CHUNK_LEN: usize = 256 * 1024;
/// Longest chunk: one that was nearly full and took the largest extent.
pub const CHUNK_LEN_MAX: usize = CHUNK_LEN + EXTENT_LEN_MAX + 1_024;
/// A snapshot that is received is made durable whenever this much came in, unless the options say
/// otherwise.
pub const SNAPSHOT_SYNC_LEN: usize = 16 * 1024 * 1024;
/// Chunks between two places that a sender can go back to without reading all before.
pub const SNAPSHOT_MARK_SPACING: u64 = 64;
/// Bytes of messages that wait to take the place of damaged ones.
pub const REPAIR_LEN_MAX: usize = 16 * 1024 * 1024;
/// Findings that one check lists; the rest is counted.
pub const FINDING_COUNT_MAX: usize = 100;

/// Whose store it is. A folder of another identity is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// The node.
    pub node: u64,
    /// The cluster.
    pub cluster: u128,
    /// The set.
    pub set: SetId,
}

impl std::fmt::Display for StoreIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "node {} of cluster {:032x}, set {}",
            self.node, self.cluster, self.set
        )
    }
}

/// How a store is tuned.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// A segment file is sealed before it would be longer than this.
    pub segment_len_max: u64,
    /// Memory for pages of the index file.
    pub index_cache_len: usize,
    /// Memory for the extents that were read last.
    pub extent_cache_len: usize,
    /// A chunk of a snapshot takes what comes until it is longer than this; at most [`CHUNK_LEN`].
    pub chunk_len: usize,
    /// A snapshot that is received is made durable whenever this much came in.
    pub snapshot_sync_len: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            segment_len_max: 256 * 1024 * 1024,
            index_cache_len: 16 * 1024 * 1024,
            extent_cache_len: 8 * 1024 * 1024,
            chunk_len: CHUNK_LEN,
            snapshot_sync_len: SNAPSHOT_SYNC_LEN,
        }
    }
}
