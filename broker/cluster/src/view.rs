//! What this node knows of its peers: the latest pulse of each.
//!
//! A pulse is what a node says to each peer several times a second: its board. From the pulses come
//! the answers to operators, the comparison of state hashes, and what the leader of set 0 plans
//! with. A pulse that is not understood is left out; nothing of Raft depends on one.
//!
//! Layout of a pulse (little-endian): version u8 (1), count u16, then per set: number u32, role u8,
//! flags u8 (bit 0 suspect, bit 1 full), voter count u8, learner count u8, leader u64 (0 none),
//! term u64, applied index u64, last index u64, hash index u64, hash u64, the voters and learners
//! u64 each (a leader names them, others none). Spec: spec/peer.md, "Pulse".

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf, BufMut, Bytes};
use sampan_protocol::SetId;

use crate::board::{Board, HashPoint, Role, SetLine};

const VERSION: u8 = 1;
const SUSPECT: u8 = 1;
const FULL: u8 = 2;
const LINE_LEN: usize = 56;

/// What one peer said last.
type Lines = BTreeMap<SetId, SetLine>;

/// The latest pulses. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct View {
    board: Board,
    peers: Arc<Mutex<BTreeMap<u64, Lines>>>,
    mismatch_count: Arc<AtomicU64>,
}

impl View {
    pub(crate) fn new(board: Board) -> Self {
        View {
            board,
            peers: Arc::default(),
            mismatch_count: Arc::default(),
        }
    }

    /// What this node's sets say of themselves.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// This node's pulse.
    pub(crate) fn pulse(&self) -> Bytes {
        let lines = self.board.sets().map(|set| (set, self.board.line(set)));
        let lines: Vec<_> = lines.collect();
        encode(&lines)
    }

    /// Takes in a peer's pulse, and compares its state hashes with this node's.
    pub(crate) fn on_pulse(&self, from: u64, pulse: Bytes) {
        let Some(lines) = decode(pulse) else {
            tracing::debug!(from, "a pulse that is not understood");
            return;
        };
        for (set, line) in &lines {
            self.compare(from, *set, line.hash_point);
            self.board.hear(*set, from, line);
        }
        self.lock().insert(from, lines);
    }

    /// What `node` says of its replica of `set`; this node asks its own board.
    pub(crate) fn line_of(&self, node: u64, set: SetId) -> Option<SetLine> {
        self.lock().get(&node)?.get(&set).cloned()
    }

    /// Replicas whose state hash differed from this node's at the same entry.
    pub(crate) fn mismatch_count(&self) -> u64 {
        self.mismatch_count.load(Ordering::Relaxed)
    }

    fn compare(&self, from: u64, set: SetId, theirs: HashPoint) {
        let is_new = self
            .line_of(from, set)
            .is_none_or(|line| line.hash_point != theirs);
        let Some(ours) = self.board.hash_at(set, theirs.index) else {
            return;
        };
        if is_new && theirs.index > 0 && ours != theirs.hash {
            self.mismatch_count.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                %set, peer = from, index = theirs.index, ours, theirs = theirs.hash,
                "two replicas of a set differ: check both nodes' folders"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Lines>> {
        let peers = self.peers.lock();
        peers.expect("nothing panics while it holds the peers' pulses")
    }
}

fn encode(lines: &[(SetId, SetLine)]) -> Bytes {
    let mut out = Vec::with_capacity(3 + lines.len() * LINE_LEN);
    out.put_u8(VERSION);
    out.put_u16_le(u16::try_from(lines.len()).expect("a node has at most 256 sets"));
    for (set, line) in lines {
        let is_leader = line.role == Role::Leader;
        let named = |nodes: &[u64]| match is_leader {
            true => u8::try_from(nodes.len()).unwrap_or(u8::MAX),
            false => 0,
        };
        let (voters, learners) = (named(&line.voters), named(&line.learners));
        out.put_u32_le(set.0);
        out.put_u8(line.role.number());
        let suspect = if line.is_suspect { SUSPECT } else { 0 };
        out.put_u8(suspect | if line.is_full { FULL } else { 0 });
        out.put_u8(voters);
        out.put_u8(learners);
        out.put_u64_le(line.leader.unwrap_or(0));
        out.put_u64_le(line.term);
        out.put_u64_le(line.applied_index);
        out.put_u64_le(line.last_index);
        out.put_u64_le(line.hash_point.index);
        out.put_u64_le(line.hash_point.hash);
        let named = line.voters.iter().take(usize::from(voters));
        named
            .chain(line.learners.iter().take(usize::from(learners)))
            .for_each(|node| out.put_u64_le(*node));
    }
    out.into()
}

fn decode(mut bytes: Bytes) -> Option<BTreeMap<SetId, SetLine>> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let count = bytes.try_get_u16_le().ok()?;
    let mut lines = BTreeMap::new();
    for _ in 0..count {
        let (set, line) = decode_line(&mut bytes)?;
        lines.insert(set, line);
    }
    bytes.is_empty().then_some(lines)
}

fn decode_line(bytes: &mut Bytes) -> Option<(SetId, SetLine)> {
    if bytes.len() < LINE_LEN {
        return None;
    }
    let set = SetId(bytes.get_u32_le());
    let role = Role::from_number(bytes.get_u8())?;
    let flags = bytes.get_u8();
    let (voter_count, learner_count) = (bytes.get_u8(), bytes.get_u8());
    let leader = bytes.get_u64_le();
    let mut line = SetLine {
        role,
        is_suspect: flags & SUSPECT != 0,
        is_full: flags & FULL != 0,
        leader: (leader != 0).then_some(leader),
        term: bytes.get_u64_le(),
        applied_index: bytes.get_u64_le(),
        last_index: bytes.get_u64_le(),
        hash_point: HashPoint {
            index: bytes.get_u64_le(),
            hash: bytes.get_u64_le(),
        },
        ..SetLine::default()
    };
    for _ in 0..voter_count {
        line.voters.push(bytes.try_get_u64_le().ok()?);
    }
    for _ in 0..learner_count {
        line.learners.push(bytes.try_get_u64_le().ok()?);
    }
    Some((set, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hash: u64) -> SetLine {
        SetLine {
            role: Role::Leader,
            leader: Some(2),
            term: 3,
            applied_index: 4,
            last_index: 5,
            is_suspect: true,
            is_full: true,
            fault: None,
            hash_point: HashPoint { index: 6, hash },
            voters: vec![1, 2, 3],
            learners: vec![4],
            overlay_len: 0,
            checkpoint: crate::board::CheckpointTimes::default(),
        }
    }

    #[test]
    fn a_pulse_comes_back_as_it_was() {
        let lines = [(SetId(0), line(7)), (SetId(5), SetLine::default())];
        let bytes = encode(&lines);
        assert_eq!(decode(bytes.clone()).unwrap(), BTreeMap::from(lines));
        for len in 0..bytes.len() {
            assert_eq!(decode(bytes.slice(..len)), None, "cut at {len}");
        }
    }

    #[test]
    fn a_differing_hash_is_counted_once() {
        let board = Board::new(1);
        let view = View::new(board.clone());
        let points = [line(7).hash_point].into();
        board.publish(SetId(0), line(7), &points);
        view.on_pulse(2, encode(&[(SetId(0), line(7))]));
        assert_eq!(view.mismatch_count(), 0);
        view.on_pulse(2, encode(&[(SetId(0), line(8))]));
        view.on_pulse(2, encode(&[(SetId(0), line(8))]));
        assert_eq!(view.mismatch_count(), 1);
    }
}
