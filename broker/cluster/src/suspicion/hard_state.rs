//! What a replica must not forget, though its log may: the vote it gave, and the newest voters of
//! its set that it heard of.
//!
//! A log that was cut off or set aside has lost its end, and the vote with it. Whoever forgets that
//! it elected another leader helps an older one to acknowledge what that other leader removes. And
//! what is left of the log may name voters of long ago: in the worst case this node alone, which
//! would elect itself and acknowledge what no other node knows of. So both are written down outside
//! the log, before the log has them.
//!
//! An entry may never get into the log after its voters were written down, or be replaced there.
//! What was noted for it is forgotten when the log is known to be whole without it.
//!
//! Layout of the file `hard-state` (little-endian) between magic "SMPHARD1" and checksum: count
//! u32; for each set its number u32; the vote: term u64, node u64 (0 and 0: none); the voters: term
//! u64 and index u64 of the entry, count of voters u16, their node ids u64. Spec: spec/storage.md,
//! "Suspect replicas".

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf, BufMut};
use sampan_protocol::SetId;
use sampan_storage::io::Folder;

use super::file::SmallFile;
use crate::raft::types::{Fatal, Membership, RaftLogId, SetRaft};

const FILE: SmallFile = SmallFile {
    name: "hard-state",
    name_new: "hard-state.new",
    magic: b"SMPHARD1",
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

    /// Whether the entry that made them voters came after that of `others`.
    pub(crate) fn are_newer_than(&self, others: &Voters) -> bool {
        self.entry > others.entry
    }

    /// Whether `node` is all of them.
    pub(crate) fn are_only(&self, node: u64) -> bool {
        self.nodes.iter().eq([&node])
    }
}

/// What is known of one set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Term, and the node that got the vote.
    vote: Option<(u64, u64)>,
    voters: Option<Voters>,
}

type Sets = BTreeMap<SetId, Known>;

/// See the head of the file. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct HardState {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: Arc<dyn Folder>,
    /// What is to be written, and how many changes made it so.
    wanted: Mutex<(u64, Sets)>,
    /// How many changes the file has. Held while it is written.
    written: Mutex<u64>,
}

impl HardState {
    /// What the folder says.
    pub(super) fn open(folder: Arc<dyn Folder>) -> io::Result<Self> {
        let sets = match FILE.read(&*folder)? {
            Some(content) => decode(&content).ok_or_else(|| FILE.damaged(&*folder))?,
            None => Sets::new(),
        };
        Ok(HardState {
            inner: Arc::new(Inner {
                folder,
                wanted: Mutex::new((0, sets)),
                written: Mutex::new(0),
            }),
        })
    }

    /// The vote that this replica gave last: term and node.
    pub(crate) fn vote(&self, set: SetId) -> Option<(u64, u64)> {
        self.wanted().1.get(&set)?.vote
    }

    /// The newest voters that were noted.
    pub(crate) fn voters(&self, set: SetId) -> Option<Voters> {
        self.wanted().1.get(&set)?.voters.clone()
    }

    /// Noted voters that are newer than `voters`.
    pub(crate) fn newer_than(&self, set: SetId, voters: &Voters) -> Option<Voters> {
        self.voters(set)
            .filter(|known| known.are_newer_than(voters))
    }

    /// Notes a vote, unless it is known or of an older term. Blocks until that is synced.
    pub(crate) fn note_vote(&self, set: SetId, term: u64, node: u64) -> io::Result<()> {
        self.change(set, |known| {
            if known.vote.is_none_or(|(before, _)| before < term) {
                known.vote = Some((term, node));
            }
        })
    }

    /// Notes voters, unless newer ones are known. Blocks until that is synced.
    pub(crate) fn note_voters(&self, set: SetId, voters: &Voters) -> io::Result<()> {
        self.change(set, |known| {
            let is_newer = |before: &Voters| before.entry < voters.entry;
            if known.voters.as_ref().is_none_or(is_newer) {
                known.voters = Some(voters.clone());
            }
        })
    }

    /// `lost` never were voters: these are the newest. Something noted since then stays. Blocks
    /// until that is synced.
    pub(crate) fn forget(&self, set: SetId, lost: &Voters, newest: &Voters) -> io::Result<()> {
        self.change(set, |known| {
            if known.voters.as_ref() == Some(lost) {
                known.voters = Some(newest.clone());
            }
        })
    }

    /// Writes what `change` makes of a set. Of several that wait one writes for all: an election of
    /// many sets at once costs two syncs, not two for each.
    fn change(&self, set: SetId, change: impl FnOnce(&mut Known)) -> io::Result<()> {
        let own = {
            let mut wanted = self.wanted();
            let (count, sets) = &mut *wanted;
            let known = sets.entry(set).or_default();
            let before = known.clone();
            change(known);
            if *known != before {
                *count += 1;
            }
            *count
        };
        let mut written = self.written();
        if *written >= own {
            return Ok(());
        }
        let (count, content) = {
            let wanted = self.wanted();
            (wanted.0, encode(&wanted.1))
        };
        FILE.replace(&*self.inner.folder, Some(&content))?;
        *written = count;
        Ok(())
    }

    fn wanted(&self) -> MutexGuard<'_, (u64, Sets)> {
        let wanted = self.inner.wanted.lock();
        wanted.expect("nothing panics while it holds the hard state")
    }

    fn written(&self) -> MutexGuard<'_, u64> {
        let written = self.inner.written.lock();
        written.expect("nothing panics while it writes the hard state")
    }
}

fn encode(sets: &Sets) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32_le(u32::try_from(sets.len()).expect("a node has at most 256 sets"));
    for (set, known) in sets {
        let (term, node) = known.vote.unwrap_or_default();
        let voters = known.voters.clone().unwrap_or_default();
        out.put_u32_le(set.0);
        out.put_u64_le(term);
        out.put_u64_le(node);
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

fn decode(mut bytes: &[u8]) -> Option<Sets> {
    let two =
        |bytes: &mut &[u8]| Some((bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?));
    let count = bytes.try_get_u32_le().ok()?;
    let mut sets = Sets::new();
    for _ in 0..count {
        let set = SetId(bytes.try_get_u32_le().ok()?);
        let (vote, entry) = (two(&mut bytes)?, two(&mut bytes)?);
        let node_count = bytes.try_get_u16_le().ok()?;
        let nodes = (0..node_count).map(|_| bytes.try_get_u64_le().ok());
        let nodes: BTreeSet<u64> = nodes.collect::<Option<_>>()?;
        let known = Known {
            vote: (vote != (0, 0)).then_some(vote),
            voters: (!nodes.is_empty()).then_some(Voters { entry, nodes }),
        };
        sets.insert(set, known);
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

    fn folder() -> (tempfile::TempDir, Arc<dyn Folder>) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Arc::new(DiskFolder::open(temp.path()).unwrap());
        (temp, folder)
    }

    #[test]
    fn the_newest_voters_are_known_after_a_restart_until_they_are_forgotten() {
        let (_temp, folder) = folder();
        let known = HardState::open(folder.clone()).unwrap();
        let (alone, three) = (voters((1, 1), &[1]), voters((1, 9), &[1, 2, 3]));
        known.note_voters(SET, &three).unwrap();
        known.note_voters(SET, &alone).unwrap();
        let known = HardState::open(folder.clone()).unwrap();
        assert_eq!(known.newer_than(SET, &alone), Some(three.clone()));
        assert_eq!(known.newer_than(SET, &three), None);
        assert_eq!(known.newer_than(SetId(4), &alone), None);
        known.forget(SET, &alone, &alone).unwrap();
        assert_eq!(known.newer_than(SET, &alone), Some(three.clone()), "not it");
        known.forget(SET, &three, &alone).unwrap();
        let known = HardState::open(folder).unwrap();
        assert_eq!(known.newer_than(SET, &alone), None);
    }

    #[test]
    fn an_entry_of_a_later_term_is_newer_even_at_a_lower_index() {
        let (_temp, folder) = folder();
        let known = HardState::open(folder).unwrap();
        known.note_voters(SET, &voters((2, 30), &[1, 2])).unwrap();
        let replacing = voters((3, 20), &[1, 3]);
        known.note_voters(SET, &replacing).unwrap();
        assert_eq!(known.newer_than(SET, &replacing), None);
    }

    #[test]
    fn a_vote_is_known_after_a_restart_and_one_of_an_older_term_changes_nothing() {
        let (_temp, folder) = folder();
        let known = HardState::open(folder.clone()).unwrap();
        known.note_vote(SET, 5, 2).unwrap();
        known.note_vote(SET, 4, 1).unwrap();
        known.note_vote(SetId(0), 1, 3).unwrap();
        let known = HardState::open(folder).unwrap();
        assert_eq!(known.vote(SET), Some((5, 2)));
        assert_eq!(known.vote(SetId(0)), Some((1, 3)));
        assert_eq!((known.vote(SetId(9)), known.voters(SET)), (None, None));
    }

    #[test]
    fn changes_of_many_sets_at_once_are_all_written() {
        let (_temp, folder) = folder();
        let known = HardState::open(folder.clone()).unwrap();
        std::thread::scope(|scope| {
            for set in 0..32 {
                let known = known.clone();
                scope.spawn(move || known.note_vote(SetId(set), u64::from(set) + 1, 7).unwrap());
            }
        });
        let known = HardState::open(folder).unwrap();
        for set in 0..32 {
            assert_eq!(known.vote(SetId(set)), Some((u64::from(set) + 1, 7)));
        }
    }

    #[test]
    fn what_is_not_a_list_of_sets_is_refused() {
        let known = |vote, voters| Known { vote, voters };
        let sets = Sets::from([
            (SetId(0), known(None, Some(voters((1, 2), &[1, 2, 3])))),
            (SetId(7), known(Some((4, 2)), Some(voters((4, 5), &[2])))),
            (SetId(8), known(Some((1, 1)), None)),
        ]);
        let bytes = encode(&sets);
        assert_eq!(decode(&bytes), Some(sets));
        for at in 0..bytes.len() {
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
        assert_eq!(decode(&[&bytes[..], &[0]].concat()), None);
    }
}
