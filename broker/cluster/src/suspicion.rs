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

mod file;
mod hard_state;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use sampan_protocol::SetId;
use sampan_storage::io::Folder;

use self::file::SmallFile;
pub(crate) use self::hard_state::{HardState, Voters};

const FILE: SmallFile = SmallFile {
    name: "suspect",
    name_new: "suspect.new",
    magic: b"SMPSUSP1",
};
const COUNT_LEN: usize = 4;

/// The suspect replicas of a node. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Suspicion {
    inner: Arc<Inner>,
    hard_state: HardState,
}

#[derive(Debug)]
struct Inner {
    folder: Arc<dyn Folder>,
    sets: Mutex<BTreeSet<SetId>>,
    /// What the file says.
    written: Mutex<BTreeSet<SetId>>,
    /// Held while the file is written, so that its last content is the last state.
    writing: Mutex<()>,
}

impl Suspicion {
    /// What the folder says.
    pub(crate) fn open(folder: Arc<dyn Folder>) -> io::Result<Self> {
        let sets = match FILE.read(&*folder)? {
            Some(content) => decode(&content).ok_or_else(|| FILE.damaged(&*folder))?,
            None => BTreeSet::new(),
        };
        Ok(Suspicion {
            hard_state: HardState::open(folder.clone())?,
            inner: Arc::new(Inner {
                folder,
                sets: Mutex::new(sets.clone()),
                written: Mutex::new(sets),
                writing: Mutex::new(()),
            }),
        })
    }

    /// Whether the replica of `set` may have lost entries.
    pub(crate) fn is_suspect(&self, set: SetId) -> bool {
        self.sets().contains(&set)
    }

    /// Whether that would be known after a restart, too. Others hear of it only then: what they do
    /// for a suspect makes it look sound to them.
    pub(crate) fn is_written_down(&self, set: SetId) -> bool {
        self.written().contains(&set)
    }

    /// The suspect replicas.
    pub(crate) fn all(&self) -> BTreeSet<SetId> {
        self.sets().clone()
    }

    /// What this node's replicas know besides their logs.
    pub(crate) fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    /// Suspects more replicas. Blocks until that is synced; after an error they are suspect until
    /// this process ends, and the next call tries to write it down again.
    pub(crate) fn raise(&self, sets: impl IntoIterator<Item = SetId>) -> io::Result<()> {
        let sets: BTreeSet<SetId> = sets.into_iter().collect();
        // In memory first: no vote may be granted while the file is written.
        self.sets().extend(&sets);
        let writing = self.writing();
        // Again: one of them may have been absolved in between, of what was known before.
        let wanted = {
            let mut all = self.sets();
            all.extend(&sets);
            all.clone()
        };
        if wanted != *self.written() {
            self.write(&wanted)?;
            *self.written() = wanted;
        }
        drop(writing);
        Ok(())
    }

    /// The replica of `set` has everything again. Blocks until that is synced.
    pub(crate) fn absolve(&self, set: SetId) -> io::Result<()> {
        let writing = self.writing();
        let mut wanted = self.all();
        if wanted.remove(&set) {
            self.write(&wanted)?;
            self.sets().remove(&set);
            *self.written() = wanted;
        }
        drop(writing);
        Ok(())
    }

    fn write(&self, sets: &BTreeSet<SetId>) -> io::Result<()> {
        let content = (!sets.is_empty()).then(|| encode(sets));
        FILE.replace(&*self.inner.folder, content.as_deref())
    }

    fn sets(&self) -> MutexGuard<'_, BTreeSet<SetId>> {
        let sets = self.inner.sets.lock();
        sets.expect("nothing panics while it holds the set of suspects")
    }

    fn written(&self) -> MutexGuard<'_, BTreeSet<SetId>> {
        let written = self.inner.written.lock();
        written.expect("nothing panics while it holds what is written")
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        let writing = self.inner.writing.lock();
        writing.expect("nothing panics while it writes the suspects")
    }
}

fn encode(sets: &BTreeSet<SetId>) -> Vec<u8> {
    let count = u32::try_from(sets.len()).expect("a node has at most 256 sets");
    let mut bytes = count.to_le_bytes().to_vec();
    for set in sets {
        bytes.extend_from_slice(&set.0.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<BTreeSet<SetId>> {
    let (count, sets) = bytes.split_at_checked(COUNT_LEN)?;
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    if sets.len() != number(count)? as usize * 4 {
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
    fn what_is_not_a_list_of_sets_is_refused() {
        let bytes = encode(&BTreeSet::from([SetId(1), SetId(7)]));
        assert_eq!(decode(&bytes), Some(BTreeSet::from([SetId(1), SetId(7)])));
        for at in 0..bytes.len() {
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
