//! What can go wrong with a log, and what to do about it.

use std::io;
use std::sync::Arc;

use sampan_protocol::SetId;

use super::LogId;

/// Why a call to the log did not do what it was asked.
///
/// Cloned for everybody who waits for the same write.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Another process has the log open.
    #[error("log folder {folder} is in use by another process; stop it first")]
    InUse {
        /// The folder of the log.
        folder: String,
    },
    /// The log belongs to another node.
    #[error("{file} belongs to node {found}, this is node {own}; give every node its own data")]
    OtherNode {
        /// The file that says so.
        file: String,
        /// The node in the file.
        found: u64,
        /// The node that opened it.
        own: u64,
    },
    /// The log belongs to another cluster.
    #[error("{file} belongs to cluster {found:032x}, not {own:032x}; check the data folder")]
    OtherCluster {
        /// The file that says so.
        file: String,
        /// The cluster in the file.
        found: u128,
        /// The cluster of the node that opened it.
        own: u128,
    },
    /// A newer release wrote the log.
    #[error("{file} has format version {found}, this release reads up to {known}; use a newer one")]
    NewerFormat {
        /// The file that says so.
        file: String,
        /// The version in the file.
        found: u16,
        /// The newest version known here.
        known: u16,
    },
    /// Bytes that were synced have changed or are gone.
    #[error("{file} is damaged at offset {offset}: {what}; restore it, or rebuild from peers")]
    Damaged {
        /// The file.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// Entries that must be there are in no file.
    #[error("entries {first} to {last} of set {set} are missing from the log in {folder}")]
    EntriesMissing {
        /// The folder of the log.
        folder: String,
        /// The set.
        set: SetId,
        /// First missing index.
        first: u64,
        /// Last missing index.
        last: u64,
    },
    /// A write or sync failed earlier; only opening the log again can tell what is on disk.
    #[error("log is shut after a failed write; restart the node")]
    Latched(#[source] Arc<io::Error>),
    /// The log was closed.
    #[error("log is closed")]
    Closed,
    /// No room for another log file; nothing was written.
    #[error("no room for another log file; free some disk space")]
    Full,
    /// Too much waits to be written; nothing was accepted.
    #[error("{pending_len} bytes wait to be written to the log already")]
    Overloaded {
        /// What waits.
        pending_len: usize,
    },
    /// An entry is longer than a batch may be; nothing was accepted.
    #[error("entry of {len} bytes is over the limit of {len_max}")]
    EntryTooLarge {
        /// Length of the entry.
        len: usize,
        /// The limit.
        len_max: usize,
    },
    /// One more set than a log can describe at the start of a file.
    #[error("log holds {count} sets already")]
    TooManySets {
        /// How many there are.
        count: usize,
    },
    /// The entry does not follow the last one; nothing was accepted.
    #[error("set {set} needs entry {needed} next, not {found}")]
    OutOfOrder {
        /// The set.
        set: SetId,
        /// The index that comes next.
        needed: u64,
        /// The index that came.
        found: u64,
    },
    /// The index is not, or no longer, in the log.
    #[error("set {set} has no entry {index} in the log")]
    NoEntry {
        /// The set.
        set: SetId,
        /// The index.
        index: u64,
    },
    /// Cutting off below what was purged; nothing was accepted.
    #[error("set {set} is purged up to {purged}, beyond index {index}")]
    Purged {
        /// The set.
        set: SetId,
        /// The index asked for.
        index: u64,
        /// Up to where entries are gone.
        purged: LogId,
    },
    /// The payload of an entry can't be understood, though its checksum is right.
    #[error("entry {index} of set {set} can't be decoded: {what}")]
    Payload {
        /// The set.
        set: SetId,
        /// The index.
        index: u64,
        /// What the payload says.
        what: String,
    },
    /// The operating system refused; nothing was changed by this call.
    #[error("{what} failed")]
    Io {
        /// What was being done, to what.
        what: String,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
}

impl LogError {
    /// Wraps an error of the system.
    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        LogError::Io {
            what: what.into(),
            source: Arc::new(source),
        }
    }

    pub(super) fn damaged(file: &str, offset: usize, what: impl Into<String>) -> Self {
        LogError::Damaged {
            file: file.to_owned(),
            offset: offset as u64,
            what: what.into(),
        }
    }
}
