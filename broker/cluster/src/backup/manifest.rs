//! The file `manifest` of a backup: which cluster, at which entry of the catalog, and which
//! snapshot of each set.
//!
//! It is written last, so a folder without it is no backup; and it names each set's snapshot by its
//! checksum, so that parts of two backups are never taken for one.
//!
//! Layout (little-endian): magic "SMPNBKP1", cluster u128, node u64, incarnation u128, index of
//! the catalog u64, length of the release u16 and the release, count of sets u32, for each: term
//! u64, index u64, CRC32C of the snapshot's id u32; CRC32C u32 of everything before it.
//! Spec: spec/storage.md, "Backup".

use std::io;
use std::path::PathBuf;

use bytes::{Buf, BufMut};
use sampan_storage::io::Folder;
use sampan_storage::store::SnapshotId;

use super::error::RestoreError;
use crate::identity::SET_COUNT_MAX;

pub(super) const FILE: &str = "manifest";
const FILE_NEW: &str = "manifest.new";
const MAGIC: &[u8; 8] = b"SMPNBKP1";
/// Longest name of a release that is written down.
const RELEASE_LEN_MAX: usize = 255;
/// Longer than any manifest: 256 sets of 20 bytes, a release, and the rest.
const MANIFEST_LEN_MAX: u64 = 16 * 1024;
const CHECKSUM_LEN: usize = 4;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) cluster: u128,
    /// The node that took it, and its data folder.
    pub(super) node: u64,
    pub(super) incarnation: u128,
    /// The entry of set 0 up to which its state goes: what all sets are brought to.
    pub(super) catalog_index: u64,
    /// For people.
    pub(super) release: String,
    /// By number.
    pub(super) sets: Vec<SetInBackup>,
}

/// One set's snapshot in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SetInBackup {
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) id_checksum: u32,
}

impl SetInBackup {
    pub(super) fn new(id: &SnapshotId) -> Self {
        SetInBackup {
            term: id.applied.term,
            index: id.applied.index,
            id_checksum: crc32c::crc32c(&id.encode()),
        }
    }
}

impl Manifest {
    /// Writes it into `folder`, synced with its name and every name before it.
    pub(super) fn write(&self, folder: &dyn Folder) -> io::Result<()> {
        let file = folder.create(FILE_NEW)?;
        file.write_all_at(&self.encode(), 0)?;
        file.sync_data()?;
        folder.rename(FILE_NEW, FILE)?;
        folder.sync()
    }

    pub(super) fn read(folder: &dyn Folder) -> Result<Self, RestoreError> {
        let path = folder.path().join(FILE);
        let failed = |error: io::Error| RestoreError::Io(path.clone(), error);
        let file = folder.open(FILE).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RestoreError::NoBackup(folder.path()),
            _ => failed(error),
        })?;
        let len = file.len().map_err(failed)?;
        if len > MANIFEST_LEN_MAX {
            return Err(damaged(&path));
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| damaged(&path))?];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        match bytes.get(..MAGIC.len()) {
            Some(magic) if magic[..7] == MAGIC[..7] && magic[7] > MAGIC[7] => {
                Err(RestoreError::Newer(path))
            }
            _ => Manifest::decode(&bytes).ok_or_else(|| damaged(&path)),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut end = self.release.len().min(RELEASE_LEN_MAX);
        while !self.release.is_char_boundary(end) {
            end -= 1;
        }
        let mut out = MAGIC.to_vec();
        out.put_u128_le(self.cluster);
        out.put_u64_le(self.node);
        out.put_u128_le(self.incarnation);
        out.put_u64_le(self.catalog_index);
        out.put_u16_le(u16::try_from(end).expect("cut to 255 bytes above"));
        out.put_slice(&self.release.as_bytes()[..end]);
        out.put_u32_le(u32::try_from(self.sets.len()).expect("a cluster has at most 256 sets"));
        for set in &self.sets {
            out.put_u64_le(set.term);
            out.put_u64_le(set.index);
            out.put_u32_le(set.id_checksum);
        }
        let checksum = crc32c::crc32c(&out);
        out.put_u32_le(checksum);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, mut checksum) =
            bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_LEN)?)?;
        if checksum.get_u32_le() != crc32c::crc32c(content) {
            return None;
        }
        let mut rest = content.strip_prefix(MAGIC)?;
        let mut manifest = Manifest {
            cluster: rest.try_get_u128_le().ok()?,
            node: rest.try_get_u64_le().ok()?,
            incarnation: rest.try_get_u128_le().ok()?,
            catalog_index: rest.try_get_u64_le().ok()?,
            release: String::new(),
            sets: Vec::new(),
        };
        let len = usize::from(rest.try_get_u16_le().ok()?);
        let (release, mut rest) = rest.split_at_checked(len)?;
        manifest.release = String::from_utf8(release.to_vec()).ok()?;
        let count = rest.try_get_u32_le().ok()?;
        if !(1..=SET_COUNT_MAX).contains(&count) {
            return None;
        }
        for _ in 0..count {
            manifest.sets.push(SetInBackup {
                term: rest.try_get_u64_le().ok()?,
                index: rest.try_get_u64_le().ok()?,
                id_checksum: rest.try_get_u32_le().ok()?,
            });
        }
        rest.is_empty().then_some(manifest)
    }
}

fn damaged(path: &std::path::Path) -> RestoreError {
    RestoreError::Damaged {
        file: PathBuf::from(path),
        what: "it is not what was written".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sampan_storage::io::{DiskFolder, SimulatedDisk};

    fn manifest() -> Manifest {
        let set = |index| SetInBackup {
            term: 4,
            index,
            id_checksum: 77,
        };
        Manifest {
            cluster: 9 << 90,
            node: 3,
            incarnation: 5 << 70,
            catalog_index: 12,
            release: "0.1.0".to_owned(),
            sets: vec![set(12), set(900)],
        }
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_written() {
        let folder = SimulatedDisk::new().root();
        manifest().write(&*folder).unwrap();
        assert_eq!(Manifest::read(&*folder).unwrap(), manifest());
    }

    #[test]
    fn a_manifest_with_any_byte_changed_or_missing_is_refused() {
        let bytes = manifest().encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Manifest::decode(&changed), None, "byte {at}");
            assert_eq!(Manifest::decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_folder_without_a_manifest_is_no_backup_and_a_newer_one_is_said_to_be() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DiskFolder::open(temp.path()).unwrap();
        let read = Manifest::read(&folder);
        assert!(matches!(read, Err(RestoreError::NoBackup(_))));
        std::fs::write(temp.path().join(FILE), "SMPNBKP2 and more").unwrap();
        let read = Manifest::read(&folder);
        assert!(matches!(read, Err(RestoreError::Newer(_))));
    }

    #[test]
    fn a_release_of_any_length_is_cut_to_whole_letters() {
        let long = Manifest {
            release: "é".repeat(200),
            ..manifest()
        };
        let back = Manifest::decode(&long.encode()).unwrap();
        assert_eq!(back.release, "é".repeat(127));
    }
}
