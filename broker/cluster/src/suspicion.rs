//! Which replicas of this node may have lost entries that they once acknowledged.
//!
//! A suspect replica grants no vote and does not campaign until the set's leader has brought it to
//! where the leader was, and says so. Suspecting a sound replica costs a few seconds without its
//! vote; trusting one that has lost entries can lose an acknowledged message. So everything that
//! could have cost entries raises suspicion: a log that was cut off or damaged, a machine that
//! stopped without closing the log, a log shorter than what the leader saw of it, a new folder
//! under an old id.
//!
//! The suspicion is written down before what causes it is repaired, so a crash in between does not
//! forget it. The file `suspect` holds the sets; without suspects there is no file.
//!
//! Layout (little-endian): magic "SMPSUSP1", count u32, set u32 each, CRC32C u32 of everything
//! before it. Spec: spec/storage.md, "Suspect replicas".

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use sampan_protocol::SetId;
use sampan_storage::io::Folder;

const FILE: &str = "suspect";
const FILE_NEW: &str = "suspect.new";
const MAGIC: &[u8; 8] = b"SMPSUSP1";
const HEAD_LEN: usize = 12;
const CHECKSUM_LEN: usize = 4;
/// More sets than any node has.
const FILE_LEN_MAX: u64 = 64 * 1024;

/// The suspect replicas of a node. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Suspicion {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: Arc<dyn Folder>,
    sets: Mutex<BTreeSet<SetId>>,
    /// Held while the file is written, so that its last content is the last state.
    writing: Mutex<()>,
}

impl Suspicion {
    /// What the folder says.
    pub(crate) fn open(folder: Arc<dyn Folder>) -> io::Result<Self> {
        let sets = read(&*folder)?;
        Ok(Suspicion {
            inner: Arc::new(Inner {
                folder,
                sets: Mutex::new(sets),
                writing: Mutex::new(()),
            }),
        })
    }

    /// Whether the replica of `set` may have lost entries.
    pub(crate) fn is_suspect(&self, set: SetId) -> bool {
        self.sets().contains(&set)
    }

    /// The suspect replicas.
    pub(crate) fn all(&self) -> BTreeSet<SetId> {
        self.sets().clone()
    }

    /// Suspects more replicas. Blocks until that is synced.
    pub(crate) fn raise(&self, sets: impl IntoIterator<Item = SetId>) -> io::Result<()> {
        let writing = self.writing();
        let before = self.all();
        let mut after = before.clone();
        after.extend(sets);
        // In memory first: no vote may be granted while the file is written.
        *self.sets() = after.clone();
        if after != before {
            write(&*self.inner.folder, &after)?;
        }
        drop(writing);
        Ok(())
    }

    /// The replica of `set` has everything again. Blocks until that is synced.
    pub(crate) fn absolve(&self, set: SetId) -> io::Result<()> {
        let writing = self.writing();
        let mut after = self.all();
        if after.remove(&set) {
            write(&*self.inner.folder, &after)?;
            *self.sets() = after;
        }
        drop(writing);
        Ok(())
    }

    fn sets(&self) -> MutexGuard<'_, BTreeSet<SetId>> {
        let sets = self.inner.sets.lock();
        sets.expect("nothing panics while it holds the set of suspects")
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        let writing = self.inner.writing.lock();
        writing.expect("nothing panics while it writes the suspects")
    }
}

fn read(folder: &dyn Folder) -> io::Result<BTreeSet<SetId>> {
    if !folder.list()?.iter().any(|name| name == FILE) {
        return Ok(BTreeSet::new());
    }
    let file = folder.open(FILE)?;
    let damaged = || {
        let text = format!("{} is damaged", folder.path().join(FILE).display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let len = file.len()?;
    if len > FILE_LEN_MAX {
        return Err(damaged());
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| damaged())?];
    file.read_exact_at(&mut bytes, 0)?;
    decode(&bytes).ok_or_else(damaged)
}

fn write(folder: &dyn Folder, sets: &BTreeSet<SetId>) -> io::Result<()> {
    let files = folder.list()?;
    let is_there = |name: &str| files.iter().any(|file| file == name);
    if is_there(FILE_NEW) {
        folder.remove(FILE_NEW)?;
    }
    if sets.is_empty() {
        if is_there(FILE) {
            folder.remove(FILE)?;
        }
        return folder.sync();
    }
    let file = folder.create(FILE_NEW)?;
    file.write_all_at(&encode(sets), 0)?;
    file.sync_data()?;
    folder.rename(FILE_NEW, FILE)?;
    folder.sync()
}

fn encode(sets: &BTreeSet<SetId>) -> Vec<u8> {
    let count = u32::try_from(sets.len()).expect("a node has at most 256 sets");
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&count.to_le_bytes());
    for set in sets {
        bytes.extend_from_slice(&set.0.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<BTreeSet<SetId>> {
    let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_LEN)?)?;
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    if number(checksum)? != crc32c::crc32c(content) || content.get(..8)? != MAGIC {
        return None;
    }
    let count = number(content.get(8..HEAD_LEN)?)? as usize;
    let sets = content.get(HEAD_LEN..)?;
    if sets.len() != count * 4 {
        return None;
    }
    sets.chunks_exact(4)
        .map(|set| number(set).map(SetId))
        .collect()
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

    #[test]
    fn suspicion_lasts_until_it_is_absolved() {
        let (_temp, folder) = folder();
        let suspicion = Suspicion::open(folder.clone()).unwrap();
        suspicion.raise([SetId(3), SetId(0)]).unwrap();
        let again = Suspicion::open(folder.clone()).unwrap();
        assert_eq!(again.all(), BTreeSet::from([SetId(0), SetId(3)]));
        again.absolve(SetId(0)).unwrap();
        let again = Suspicion::open(folder.clone()).unwrap();
        assert!(again.is_suspect(SetId(3)) && !again.is_suspect(SetId(0)));
        again.absolve(SetId(3)).unwrap();
        assert!(Suspicion::open(folder).unwrap().all().is_empty());
    }

    #[test]
    fn a_file_with_any_byte_changed_is_refused() {
        let bytes = encode(&BTreeSet::from([SetId(1), SetId(7)]));
        assert!(decode(&bytes).is_some());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(decode(&changed), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
