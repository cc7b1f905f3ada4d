//! Who a data folder belongs to: the file `node`, written once, never changed.
//!
//! It is called `node.new` until log and stores of a new folder are made, and renamed then.
//!
//! A folder without that file is new only when it is empty: one that has a log or stores and no
//! identity was damaged or is not ours, and is refused rather than taken over.
//!
//! The incarnation is drawn when the folder is made, and known to the cluster: a node that comes
//! with another one has lost its folder, whatever its id says.
//!
//! Layout (little-endian): magic "SMPNODE1", node u64, cluster u128, incarnation u128, set count
//! u32, reserved u32, CRC32C u32 of everything before it. Spec: spec/storage.md, "The data folder".

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use sampan_protocol::SetId;
use sampan_storage::io::Folder;

const FILE: &str = "node";
const FILE_NEW: &str = "node.new";
const MAGIC: &[u8; 8] = b"SMPNODE1";
const LEN: usize = 60;
/// Most sets of a cluster.
pub(crate) const SET_COUNT_MAX: u32 = 256;

/// The identity of a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) node: u64,
    pub(crate) cluster: u128,
    pub(crate) incarnation: u128,
    pub(crate) set_count: u32,
}

/// Why a data folder's identity was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The folder has content but no identity.
    #[error("{} has files but no identity file `node`: restore it, or use an empty folder", .0.display())]
    Missing(PathBuf),
    /// The identity file cannot be what was written.
    #[error("{} is damaged: restore the file from a backup of this node", .0.display())]
    Damaged(PathBuf),
    /// Written by a later version.
    #[error("{} is of a newer format: use the version of Sampan that wrote it", .0.display())]
    Newer(PathBuf),
    /// Another process uses the folder.
    #[error("{} is in use by another process: stop that one first", .0.display())]
    InUse(PathBuf),
    /// A file operation.
    #[error("{}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

impl Identity {
    /// An identity for a new cluster of one node.
    pub(crate) fn new(node: u64, random: fn() -> u64, set_count: u32) -> Self {
        Identity {
            node,
            cluster: draw(random),
            incarnation: draw(random),
            set_count: set_count.clamp(1, SET_COUNT_MAX),
        }
    }

    /// The sets of the folder.
    pub(crate) fn sets(&self) -> impl Iterator<Item = SetId> + use<> {
        (0..self.set_count).map(SetId)
    }

    /// The identity in `folder`; `None` for one that is new, or was not made to the end.
    pub(crate) fn find(folder: &Arc<dyn Folder>) -> Result<Option<Self>, IdentityError> {
        let failed = |error| IdentityError::Io(folder.path(), error);
        let files = folder.list().map_err(failed)?;
        if files.iter().any(|name| name == FILE) {
            return Identity::read(folder, FILE).map(Some);
        }
        let is_begun = files.iter().any(|name| name == FILE_NEW);
        if !is_begun && !folder.folders().map_err(failed)?.is_empty() {
            return Err(IdentityError::Missing(folder.path()));
        }
        Ok(None)
    }

    /// Writes the identity down for a folder that is being made, unless that was begun before.
    pub(crate) fn begin(&self, folder: &Arc<dyn Folder>) -> io::Result<()> {
        if Identity::begun(folder).is_ok() {
            return Ok(());
        }
        // What cannot be read was not synced, so nothing was made after it.
        if folder.list()?.iter().any(|name| name == FILE_NEW) {
            folder.remove(FILE_NEW)?;
        }
        let file = folder.create(FILE_NEW)?;
        file.write_all_at(&self.encode(), 0)?;
        file.sync_data()?;
        folder.sync()
    }

    /// The identity of a folder that is being made.
    pub(crate) fn begun(folder: &Arc<dyn Folder>) -> Result<Self, IdentityError> {
        Identity::read(folder, FILE_NEW)
    }

    /// Everything of a new folder is there.
    pub(crate) fn finish(folder: &Arc<dyn Folder>) -> io::Result<()> {
        folder.rename(FILE_NEW, FILE)?;
        folder.sync()
    }

    fn read(folder: &Arc<dyn Folder>, name: &str) -> Result<Self, IdentityError> {
        let path = folder.path().join(name);
        let failed = |error| IdentityError::Io(path.clone(), error);
        let file = folder.open(name).map_err(failed)?;
        if file.len().map_err(failed)? != LEN as u64 {
            return Err(IdentityError::Damaged(path));
        }
        let mut bytes = [0; LEN];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        if bytes[..7] == MAGIC[..7] && bytes[7] > MAGIC[7] {
            return Err(IdentityError::Newer(path));
        }
        Identity::decode(&bytes).ok_or(IdentityError::Damaged(path))
    }

    fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.node.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.cluster.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.incarnation.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.set_count.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..LEN - 4]);
        bytes[LEN - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; LEN]) -> Option<Self> {
        let number = |at: usize| u32::from_le_bytes(take(bytes, at));
        if &bytes[..8] != MAGIC || number(LEN - 4) != crc32c::crc32c(&bytes[..LEN - 4]) {
            return None;
        }
        let identity = Identity {
            node: u64::from_le_bytes(take(bytes, 8)),
            cluster: u128::from_le_bytes(take(bytes, 16)),
            incarnation: u128::from_le_bytes(take(bytes, 32)),
            set_count: number(48),
        };
        (1..=SET_COUNT_MAX)
            .contains(&identity.set_count)
            .then_some(identity)
    }
}

/// A random id: the chance that two of them are the same is none.
pub(crate) fn draw(random: fn() -> u64) -> u128 {
    u128::from(random()) << 64 | u128::from(random())
}

fn take<const N: usize>(bytes: &[u8; LEN], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("the layout is shorter than the file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sampan_storage::io::DiskFolder;

    fn folder() -> (tempfile::TempDir, Arc<dyn Folder>) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Arc::new(DiskFolder::open(temp.path()).unwrap());
        (temp, folder)
    }

    const FRESH: Identity = Identity {
        node: 1,
        cluster: 1 << 100,
        incarnation: 5 << 90,
        set_count: 2,
    };

    #[test]
    fn a_folder_keeps_the_identity_it_was_given() {
        let (_temp, folder) = folder();
        assert_eq!(Identity::find(&folder).unwrap(), None);
        FRESH.begin(&folder).unwrap();
        assert_eq!(Identity::find(&folder).unwrap(), None);
        let other = Identity {
            node: 7,
            cluster: 3,
            incarnation: 4,
            set_count: 9,
        };
        other.begin(&folder).unwrap();
        assert_eq!(Identity::begun(&folder).unwrap(), FRESH);
        folder.folder("log").unwrap();
        Identity::finish(&folder).unwrap();
        assert_eq!(Identity::find(&folder).unwrap(), Some(FRESH));
    }

    #[test]
    fn an_identity_that_was_not_synced_is_written_again() {
        let (temp, folder) = folder();
        std::fs::write(temp.path().join(FILE_NEW), &FRESH.encode()[..10]).unwrap();
        FRESH.begin(&folder).unwrap();
        assert_eq!(Identity::begun(&folder).unwrap(), FRESH);
    }

    #[test]
    fn a_folder_with_content_and_no_identity_is_refused() {
        let (_temp, folder) = folder();
        folder.folder("log").unwrap();
        assert!(matches!(
            Identity::find(&folder),
            Err(IdentityError::Missing(_))
        ));
    }

    #[test]
    fn an_identity_with_any_byte_changed_is_refused() {
        for at in 0..LEN {
            let mut bytes = FRESH.encode();
            bytes[at] ^= 0x40;
            assert_eq!(Identity::decode(&bytes), None, "byte {at}");
        }
        assert_eq!(Identity::decode(&FRESH.encode()), Some(FRESH));
    }

    #[test]
    fn an_identity_of_a_newer_format_is_refused_as_such() {
        let (temp, folder) = folder();
        let mut bytes = FRESH.encode();
        bytes[7] = b'2';
        std::fs::write(temp.path().join(FILE), bytes).unwrap();
        assert!(matches!(
            Identity::find(&folder),
            Err(IdentityError::Newer(_))
        ));
    }
}
