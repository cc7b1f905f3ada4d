//! Why a backup cannot be restored.

use std::io;
use std::path::PathBuf;

use sampan_core::RestoreError as RowsError;
use sampan_protocol::SetId;
use sampan_storage::log::LogError;
use sampan_storage::store::StoreError;

/// Why a backup was not restored. Nothing of it is left in the data folder.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is nothing to restore.
    #[error("{} is no backup, or one that was not finished: it has no manifest", .0.display())]
    NoBackup(PathBuf),
    /// A file of the backup is not what was written.
    #[error("{} is damaged: {what}", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Written by a later release.
    #[error("{} is of a newer format: use the release that wrote it", .0.display())]
    Newer(PathBuf),
    /// The data folder has something in it.
    #[error("{} is not empty: name a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// Somebody works in the data folder.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The state in the backup does not fit together.
    #[error("state of set {0}")]
    Rows(SetId, #[source] RowsError),
    /// The core refuses to bring a set to what the catalog says.
    #[error("set {0} cannot be brought to what the catalog says: {1}")]
    Refused(SetId, String),
    /// Writing the store of a set.
    #[error("store of set {0}")]
    Store(SetId, #[source] StoreError),
    /// Writing the log.
    #[error("log of the data folder")]
    Log(#[source] LogError),
    /// A file operation.
    #[error("{}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}
