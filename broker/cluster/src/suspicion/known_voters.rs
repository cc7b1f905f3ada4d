//! The newest voters of each set that this node heard of, kept outside its log.
//!
//! A log that was cut off or set aside may have lost a change of members with its end. What is left
//! then names voters of long ago: in the worst case this node alone, which would elect itself and
//! acknowledge what no other node knows of. So the voters are written down before the entry that
//! makes them voters is, and a log that knows of older ones only is known to have lost something.
//!
//! An entry that was never committed may be replaced in the log; what was written down of it stays
//! until the next change. Then a sound replica is suspect after its next start, for seconds.
//!
//! Layout of the file `voters` (little-endian) between magic "SMPVOTE1" and checksum: count u32;
//! for each set its number u32, term u64 and index u64 of the entry, count of voters u16, their
//! node ids u64. Spec: spec/storage.md, "Suspect replicas".

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf, BufMut};
use sampan_protocol::SetId;
use sampan_storage::io::Folder;

use super::file::SmallFile;
use crate::raft::types::{Fatal, Membership, RaftLogId, SetRaft};

const FILE: SmallFile = SmallFile {
    name: "voters",
    name_new: "voters.new",
    magic: b"SMPVOTE1",
};

/// Voters, and the entry that made them so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Voters {
    /// Term and index; zeros for the members that a set begins with.
    entry: (u64, u64),
    nodes: BTreeSet<u64>,
}

impl Voters {
    /// All voters of `membership`, those of both configurations while it is joint.
    pub(crate) fn of(entry: Option<&RaftLogId>, membership: &Membership) -> Self {
        let entry = entry.map(|id| (id.committed_leader_id().term, id.index));
        Voters {
            entry: entry.unwrap_or_default(),
            nodes: membership.voter_ids().collect(),
        }
    }

    /// Those that a replica goes by. Asked of openraft: what it publishes may be a moment old.
    pub(crate) async fn effective(raft: &SetRaft) -> Result<Self, Fatal> {
        raft.with_raft_state(|state| {
            let effective = state.membership_state.effective();
            Voters::of(effective.log_id().as_ref(), effective.membership())
        })
        .await
    }

    /// Their node ids.
    pub(crate) fn nodes(&self) -> &BTreeSet<u64> {
        &self.nodes
    }
}

/// See the head of the file. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct KnownVoters {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: Arc<dyn Folder>,
    sets: Mutex<BTreeMap<SetId, Voters>>,
    /// Held while the file is written, so that its last content is the last state.
    writing: Mutex<()>,
}

impl KnownVoters {
    /// What the folder says.
    pub(super) fn open(folder: Arc<dyn Folder>) -> io::Result<Self> {
        let sets = match FILE.read(&*folder)? {
            Some(content) => decode(&content).ok_or_else(|| FILE.damaged(&*folder))?,
            None => BTreeMap::new(),
        };
        Ok(KnownVoters {
            inner: Arc::new(Inner {
                folder,
                sets: Mutex::new(sets),
                writing: Mutex::new(()),
            }),
        })
    }

    /// Notes voters, unless newer ones are known. Blocks until that is synced.
    pub(crate) fn note(&self, set: SetId, voters: &Voters) -> io::Result<()> {
        let is_newer = |known: &Voters| known.entry < voters.entry;
        if self.sets().get(&set).is_none_or(is_newer) {
            self.replace(set, voters)?;
        }
        Ok(())
    }

    /// `lost` were never committed: these are the newest. Something noted since then stays. Blocks
    /// until that is synced.
    pub(crate) fn forget(&self, set: SetId, lost: &Voters, newest: &Voters) -> io::Result<()> {
        if self.sets().get(&set) == Some(lost) {
            self.replace(set, newest)?;
        }
        Ok(())
    }

    fn replace(&self, set: SetId, voters: &Voters) -> io::Result<()> {
        let writing = self.writing();
        let mut after = self.sets().clone();
        after.insert(set, voters.clone());
        FILE.replace(&*self.inner.folder, Some(&encode(&after)))?;
        *self.sets() = after;
        drop(writing);
        Ok(())
    }

    /// Voters that this node has heard of and that are newer than `voters`.
    pub(crate) fn newer_than(&self, set: SetId, voters: &Voters) -> Option<Voters> {
        let sets = self.sets();
        let known = sets.get(&set)?;
        (known.entry > voters.entry).then(|| known.clone())
    }

    fn sets(&self) -> MutexGuard<'_, BTreeMap<SetId, Voters>> {
        let sets = self.inner.sets.lock();
        sets.expect("nothing panics while it holds the known voters")
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        let writing = self.inner.writing.lock();
        writing.expect("nothing panics while it writes the known voters")
    }
}

fn encode(sets: &BTreeMap<SetId, Voters>) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32_le(u32::try_from(sets.len()).expect("a node has at most 256 sets"));
    for (set, voters) in sets {
        out.put_u32_le(set.0);
        out.put_u64_le(voters.entry.0);
        out.put_u64_le(voters.entry.1);
        let count = u16::try_from(voters.nodes.len());
        out.put_u16_le(count.expect("a membership that was decoded or proposed has fewer nodes"));
        for node in &voters.nodes {
            out.put_u64_le(*node);
        }
    }
    out
}

fn decode(mut bytes: &[u8]) -> Option<BTreeMap<SetId, Voters>> {
    let count = bytes.try_get_u32_le().ok()?;
    let mut sets = BTreeMap::new();
    for _ in 0..count {
        let set = SetId(bytes.try_get_u32_le().ok()?);
        let entry = (bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?);
        let node_count = bytes.try_get_u16_le().ok()?;
        let nodes = (0..node_count).map(|_| bytes.try_get_u64_le().ok());
        let nodes = nodes.collect::<Option<_>>()?;
        sets.insert(set, Voters { entry, nodes });
    }
    (!bytes.has_remaining()).then_some(sets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sampan_storage::io::DiskFolder;

    const SET: SetId = SetId(3);

    fn voters(entry: (u64, u64), nodes: &[u64]) -> Voters {
        Voters {
            entry,
            nodes: nodes.iter().copied().collect(),
        }
    }

    #[test]
    fn the_newest_voters_are_known_after_a_restart_until_they_are_forgotten() {
        let temp = tempfile::tempdir().unwrap();
        let folder: Arc<dyn Folder> = Arc::new(DiskFolder::open(temp.path()).unwrap());
        let known = KnownVoters::open(folder.clone()).unwrap();
        let (alone, three) = (voters((1, 1), &[1]), voters((1, 9), &[1, 2, 3]));
        known.note(SET, &three).unwrap();
        known.note(SET, &alone).unwrap();
        let known = KnownVoters::open(folder.clone()).unwrap();
        assert_eq!(known.newer_than(SET, &alone), Some(three.clone()));
        assert_eq!(known.newer_than(SET, &three), None);
        assert_eq!(known.newer_than(SetId(4), &alone), None);
        known.forget(SET, &alone, &alone).unwrap();
        assert_eq!(known.newer_than(SET, &alone), Some(three.clone()), "not it");
        known.forget(SET, &three, &alone).unwrap();
        let known = KnownVoters::open(folder).unwrap();
        assert_eq!(known.newer_than(SET, &alone), None);
    }

    #[test]
    fn an_entry_of_a_later_term_is_newer_even_at_a_lower_index() {
        let temp = tempfile::tempdir().unwrap();
        let folder: Arc<dyn Folder> = Arc::new(DiskFolder::open(temp.path()).unwrap());
        let known = KnownVoters::open(folder).unwrap();
        known.note(SET, &voters((2, 30), &[1, 2])).unwrap();
        let replacing = voters((3, 20), &[1, 3]);
        known.note(SET, &replacing).unwrap();
        assert_eq!(known.newer_than(SET, &replacing), None);
    }

    #[test]
    fn what_is_not_a_list_of_voters_is_refused() {
        let sets = BTreeMap::from([
            (SetId(0), voters((1, 2), &[1, 2, 3])),
            (SetId(7), voters((4, 5), &[2])),
        ]);
        let bytes = encode(&sets);
        assert_eq!(decode(&bytes), Some(sets));
        for at in 0..bytes.len() {
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
        assert_eq!(decode(&[&bytes[..], &[0]].concat()), None);
    }
}
