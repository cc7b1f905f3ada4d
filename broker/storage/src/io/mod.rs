//! Files and folders as the log and the store see them.
//!
//! Two traits and nothing else stand between the formats and the operating system: [`DiskFolder`]
//! is the real thing, [`SimulatedDisk`] lives in memory and crashes on command. A trait of our own
//! keeps the promises small enough to simulate: what is not synced may be lost, torn or kept, in
//! any combination; what is synced stays. Using the standard library directly would leave the
//! order of writes and syncs untested.
//!
//! Invariants: a file's content is durable after [`File::sync_data`]; its name is durable after
//! [`Folder::sync`] of the folder. Neither implies the other.
//! Spec: spec/storage.md, "Files and folders".

mod boot;
mod direct;
mod disk;
#[cfg(feature = "simulation")]
mod recording;
mod simulated;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use boot::machine_boot_id;
pub use disk::DiskFolder;
#[cfg(feature = "simulation")]
pub use recording::RecordingFolder;
pub use simulated::SimulatedDisk;

/// A folder: names of files and of folders below it.
pub trait Folder: Send + Sync + fmt::Debug {
    /// The names of its files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;

    /// The names of its folders, sorted.
    fn folders(&self) -> io::Result<Vec<String>>;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Creates an empty file. The name must be free. Durable after [`Folder::sync`].
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Renames a file, replacing what had the name `to`. Durable after [`Folder::sync`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`Folder::sync`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The folder `name` below this one; made, durably, when it is missing.
    fn folder(&self, name: &str) -> io::Result<Arc<dyn Folder>>;

    /// Moves the folder `name` into the folder `into` below this one, as `to`, durably; a crash
    /// leaves it at one place or the other. Nobody has it open. `into` is there, `to` is not.
    fn move_folder(&self, name: &str, into: &str, to: &str) -> io::Result<()>;

    /// Removes the folder `name`, which is empty and synced, durably.
    fn remove_folder(&self, name: &str) -> io::Result<()>;

    /// Makes creations, removals and renames of files durable.
    fn sync(&self) -> io::Result<()>;

    /// Claims the folder for as long as the result lives.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when somebody else holds it.
    fn lock(&self) -> io::Result<FolderLock>;

    /// Bytes that can still be written to the device below.
    fn available_len(&self) -> io::Result<u64>;

    /// Where the folder is, for messages to people.
    fn path(&self) -> PathBuf;
}

/// An open file. Handles of one file see each other's writes at once.
pub trait File: Send + Sync + fmt::Debug {
    /// Fills `buffer` from `offset` on; a file that ends before is an error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; the file grows when it must.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes content and length durable. After an error nothing is known about either.
    fn sync_data(&self) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is 0.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file off, or extends it by zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// Proof that a folder is claimed; given up when dropped.
pub struct FolderLock {
    _held: Box<dyn Send + Sync>,
}

impl FolderLock {
    /// A lock that is given up when `held` is dropped.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        FolderLock {
            _held: Box::new(held),
        }
    }
}

impl fmt::Debug for FolderLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FolderLock")
    }
}

/// Whether an error says that the device, or what its user may take of it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
