//! Watches the space that is left, so that sends are refused before a write fails.
//!
//! Receives and deletes go on while sends are refused: they need little, and they are what makes
//! room again. Refusing ends by itself once there is room, at a somewhat higher mark, so that it
//! does not flutter.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use sampan_storage::io::Folder;

/// How often the space is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// How much room there must be.
#[derive(Clone, Debug)]
pub(super) struct StorageLimits {
    /// Sends are refused with less than this left on the device, in bytes.
    pub(super) free_len_min: u64,
    /// Sends are refused when the data folder holds more than this, in bytes.
    pub(super) used_len_max: Option<u64>,
    /// Bytes of messages kept in memory before they are written to segment files.
    pub(super) overlay_len: Option<u64>,
}

impl StorageLimits {
    /// Whether sends must be refused, given whether they are now.
    fn is_full(&self, free_len: u64, used_len: u64, was_full: bool) -> bool {
        // An eighth more than the mark is wanted before sends are let in again.
        let eighth = |mark: u64| if was_full { mark / 8 } else { 0 };
        let free_mark = self.free_len_min + eighth(self.free_len_min);
        free_len < free_mark
            || self
                .used_len_max
                .is_some_and(|max| used_len > max - eighth(max))
    }
}

/// Starts the thread that watches. It ends when nobody looks at `storage_full` any more.
pub(super) fn start(
    limits: StorageLimits,
    folder: Arc<dyn Folder>,
    data: PathBuf,
    storage_full: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let run = move || {
        while Arc::strong_count(&storage_full) > 1 {
            match look(
                &limits,
                &*folder,
                &data,
                storage_full.load(Ordering::Relaxed),
            ) {
                Ok(is_full) => {
                    if storage_full.swap(is_full, Ordering::Relaxed) != is_full {
                        tracing::warn!(is_full, "whether the storage is full has changed");
                    }
                }
                Err(error) => tracing::warn!(%error, "looking at the space left failed"),
            }
            std::thread::park_timeout(INTERVAL);
        }
    };
    let thread = std::thread::Builder::new().name("storage-watch".to_owned());
    thread
        .spawn(run)
        .context("starting the thread that watches the storage")?;
    Ok(())
}

fn look(
    limits: &StorageLimits,
    folder: &dyn Folder,
    data: &Path,
    was_full: bool,
) -> std::io::Result<bool> {
    let used_len = if limits.used_len_max.is_some() {
        folder_len(data)?
    } else {
        0
    };
    Ok(limits.is_full(folder.available_len()?, used_len, was_full))
}

/// Length of all files below `path`. Files that vanish meanwhile count nothing.
fn folder_len(path: &Path) -> std::io::Result<u64> {
    let mut len = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => len += folder_len(&entry.path())?,
            Ok(metadata) => len += metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StorageLimits = StorageLimits {
        free_len_min: 800,
        used_len_max: Some(8_000),
        overlay_len: None,
    };

    #[test]
    fn sends_are_refused_below_the_free_mark_and_above_the_used_one() {
        assert!(!LIMITS.is_full(800, 8_000, false));
        assert!(LIMITS.is_full(799, 0, false));
        assert!(LIMITS.is_full(9_999, 8_001, false));
    }

    #[test]
    fn sends_are_let_in_again_only_with_some_room() {
        assert!(LIMITS.is_full(899, 0, true));
        assert!(!LIMITS.is_full(900, 0, true));
        assert!(LIMITS.is_full(9_999, 7_001, true));
        assert!(!LIMITS.is_full(9_999, 7_000, true));
    }
}
