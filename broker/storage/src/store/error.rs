//! What can go wrong with a queue store.

use std::io;

use sampan_protocol::{MessageId, QueueId};
use thiserror::Error;

use crate::io::is_full;

/// A fault of the queue store of one set.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk has no room. What was committed is intact; the checkpoint can be run again.
    #[error("no room on the disk for {file}")]
    Full {
        /// The file that could not grow.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Reading or writing failed. After a failed write or sync the store is latched.
    #[error("cannot {doing} {file}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A write or sync failed before; nothing is done until the store is opened again.
    #[error("the store is latched after an earlier failure, until it is opened again")]
    Latched,
    /// A snapshot took the place of the store that this checkpoint belongs to.
    #[error("a snapshot took the place of this store")]
    Replaced,
    /// The folder has the layout of a build before the first release.
    #[error("{file} lies where no release puts it; start with an empty data folder")]
    FlatLayout {
        /// The file that says so.
        file: String,
    },
    /// What the file holds is not what was written.
    #[error("{file} is damaged{}: {what}; repair this replica from its peers", at(.offset))]
    Damaged {
        /// The damaged file.
        file: String,
        /// Where in the file, when that is known.
        offset: Option<u64>,
        /// What is wrong with it.
        what: String,
    },
    /// Messages cannot be read; the others of their queue can.
    #[error("{file} is damaged{}: {what}; {} messages of queue {queue} are to be replaced",
        at(&Some(*.offset)), .ids.len())]
    DamagedMessages {
        /// The damaged file.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What is wrong with it.
        what: String,
        /// The queue.
        queue: QueueId,
        /// Every living message that lies there, at most `EXTENT_SPAN_MAX`.
        ids: Vec<MessageId>,
    },
    /// A message that was to take the place of a damaged one is not as it was sent.
    #[error("message {id} of queue {queue} does not match its own record")]
    WrongReplacement {
        /// The queue.
        queue: QueueId,
        /// The message.
        id: MessageId,
    },
    /// A chunk of a snapshot is not as it was sent; nothing was taken from it.
    #[error("chunk {number} of the snapshot is refused: {what}")]
    WrongChunk {
        /// The chunk that was expected.
        number: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A chunk of a snapshot came at the wrong time; nothing was taken from it.
    #[error("chunk {found} of the snapshot came where {expected} is next")]
    ChunkOutOfOrder {
        /// The chunk that was expected.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The last chunk of a snapshot did not come yet.
    #[error("chunk {next} of the snapshot and all that follow are missing")]
    SnapshotIncomplete {
        /// The chunk that is next.
        next: u64,
    },
    /// The folder belongs to another node, cluster or set.
    #[error("{file} belongs to {found}, not to {expected}; start with the folder of this node")]
    ForeignIdentity {
        /// The file that says so.
        file: String,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// The folder was written by a newer release.
    #[error("{file} has format {found}, newer than {known}; start the release that wrote it")]
    NewerFormat {
        /// The file that says so.
        file: String,
        /// Its format.
        found: u32,
        /// The newest format that this release knows.
        known: u32,
    },
    /// A value is longer than the index can hold.
    #[error("{what} of {len} bytes is over the limit of {len_max}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        len_max: usize,
    },
    /// A checkpoint is running, or failed and must be run again first.
    #[error("another checkpoint is not finished")]
    CheckpointUnfinished,
}

impl StoreError {
    /// Whether the disk had no room: the checkpoint can be run again later.
    pub fn is_full(&self) -> bool {
        matches!(self, StoreError::Full { .. })
    }

    /// Whether a file holds something else than was written.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            StoreError::Damaged { .. } | StoreError::DamagedMessages { .. }
        )
    }

    pub(super) fn damaged(file: impl Into<String>, what: impl Into<String>) -> Self {
        StoreError::Damaged {
            file: file.into(),
            offset: None,
            what: what.into(),
        }
    }

    pub(super) fn damaged_at(
        file: impl Into<String>,
        offset: u64,
        what: impl Into<String>,
    ) -> Self {
        StoreError::Damaged {
            file: file.into(),
            offset: Some(offset),
            what: what.into(),
        }
    }

    /// The error of an operation on a file, told apart by whether there was room.
    pub(super) fn io(doing: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        let file = file.into();
        if is_full(&source) {
            return StoreError::Full { file, source };
        }
        StoreError::Io {
            doing,
            file,
            source,
        }
    }
}

fn at(offset: &Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(" at byte {offset}"))
}
