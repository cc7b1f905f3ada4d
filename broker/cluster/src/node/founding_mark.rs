//! The file `founding`: this folder makes a new cluster, and not all of its sets are made yet.
//!
//! A set without members is made one of this node alone only while the file is there. Without it,
//! an empty set is one that was lost, and making it anew would forget what others know of it.

use std::io;

use sampan_storage::io::Folder;

const FILE: &str = "founding";

/// The folder is about to become a cluster.
pub(super) fn set(folder: &dyn Folder) -> io::Result<()> {
    if is_set(folder)? {
        return Ok(());
    }
    folder.create(FILE)?.sync_data()?;
    folder.sync()
}

/// Whether sets are still to be made.
pub(super) fn is_set(folder: &dyn Folder) -> io::Result<bool> {
    Ok(folder.list()?.iter().any(|name| name == FILE))
}

/// Every set is made.
pub(super) fn clear(folder: &dyn Folder) -> io::Result<()> {
    if is_set(folder)? {
        folder.remove(FILE)?;
        folder.sync()?;
    }
    Ok(())
}
