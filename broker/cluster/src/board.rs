//! What each set of this node says of itself, for everybody else on the node to read.
//!
//! A set's core thread writes its line when something changes, a few times a second at most; the
//! other threads read it: to know who leads, to tell peers, to answer operators. Nothing on the way
//! of a message reads or writes it but for the leader's number, which is an atomic.
//!
//! A node that is no member of a set is told nothing by the set's leader, and would believe in the
//! last one that it followed, or in none. So it also takes in what peers say of themselves: of two
//! leaders, the one of the higher term; and only for as long as it goes on saying so.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sampan_protocol::SetId;

/// A peer that has not said again within this time that it leads is not believed any more.
const HEARD_AGE_MAX: Duration = Duration::from_secs(1);
/// Hash points that a set remembers for comparison with its peers.
pub(crate) const HASH_POINT_COUNT: usize = 64;

/// A replica's part in its set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is no member, or has stopped.
    #[default]
    Stopped,
    /// It follows without a vote.
    Learner,
    /// It follows.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

impl Role {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Role::Stopped => "stopped",
            Role::Learner => "learner",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Role::Stopped => 0,
            Role::Learner => 1,
            Role::Follower => 2,
            Role::Candidate => 3,
            Role::Leader => 4,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Role::Stopped,
            1 => Role::Learner,
            2 => Role::Follower,
            3 => Role::Candidate,
            4 => Role::Leader,
            _ => return None,
        })
    }
}

/// Why a replica is of no use until its node is started again. Peers are not told: to them, one
/// that has stopped has no role, and one whose store is shut has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its consensus has ended, after an error that it does not outlive.
    Stopped,
    /// Its store does nothing more since a write or sync failed.
    StoreLatched,
    /// Nobody writes its checkpoints any more.
    NoCheckpointer,
}

impl Fault {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Fault::Stopped => "has stopped after an error",
            Fault::StoreLatched => "has a store that is shut since a write or sync failed",
            Fault::NoCheckpointer => "has nobody who writes its checkpoints",
        }
    }
}

/// The state hash of a replica after one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HashPoint {
    /// The entry; 0 for none yet.
    pub(crate) index: u64,
    /// The hash after it.
    pub(crate) hash: u64,
}

/// When a replica's latest checkpoint began, and when one last ended, whether it went well or not:
/// milliseconds since the Unix epoch, by the wall clock; 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckpointTimes {
    pub(crate) begun_ms: u64,
    pub(crate) ended_ms: u64,
}

/// What a replica says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetLine {
    pub(crate) role: Role,
    /// As far as this replica knows.
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
    /// 0 before the first.
    pub(crate) applied_index: u64,
    /// The last entry of the log here, synced or not.
    pub(crate) last_index: u64,
    pub(crate) is_suspect: bool,
    /// It has no room for further messages, or a fault: another replica leads better.
    pub(crate) is_full: bool,
    pub(crate) fault: Option<Fault>,
    pub(crate) hash_point: HashPoint,
    pub(crate) voters: Vec<u64>,
    pub(crate) learners: Vec<u64>,
    pub(crate) overlay_len: u64,
    /// Peers are not told.
    pub(crate) checkpoint: CheckpointTimes,
}

/// A peer that says that it leads a set.
#[derive(Clone, Copy, Debug)]
struct Heard {
    leader: u64,
    term: u64,
    at: Instant,
}

/// One line per set. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    sets: Arc<[Place]>,
}

#[derive(Debug, Default)]
struct Place {
    /// 0 for none. By the line, or by what a peer says of itself.
    leader: AtomicU64,
    line: Mutex<SetLine>,
    /// A peer that says that it leads. Locked before the line where both are.
    heard: Mutex<Option<Heard>>,
    hash_points: Mutex<VecDeque<HashPoint>>,
}

impl Place {
    /// Leader and term by this replica itself, or by a peer of a higher term.
    fn known(&self, heard: Option<Heard>) -> (Option<u64>, u64) {
        let line = lock(&self.line);
        let is_later = |heard: &Heard| {
            heard.term > line.term || heard.term == line.term && line.leader.is_none()
        };
        match heard.filter(is_later) {
            Some(heard) => (Some(heard.leader), heard.term),
            None => (line.leader, line.term),
        }
    }

    /// Whoever calls holds the lock of `heard`, so that the last one to settle knows all.
    fn settle(&self, heard: Option<Heard>) {
        let (leader, _) = self.known(heard);
        self.leader.store(leader.unwrap_or(0), Ordering::Release);
    }
}

impl Board {
    pub(crate) fn new(set_count: u32) -> Self {
        let places = (0..set_count).map(|_| Place::default());
        Board {
            sets: places.collect(),
        }
    }

    pub(crate) fn set_count(&self) -> usize {
        self.sets.len()
    }

    /// All sets by number.
    pub(crate) fn sets(&self) -> impl Iterator<Item = SetId> + use<> {
        (0..u32::try_from(self.sets.len()).unwrap_or(u32::MAX)).map(SetId)
    }

    /// Who leads the set, as far as this node knows.
    pub(crate) fn leader(&self, set: SetId) -> Option<u64> {
        let leader = self.place(set)?.leader.load(Ordering::Acquire);
        (leader != 0).then_some(leader)
    }

    /// Who leads the set and in which term, as far as this node knows.
    pub(crate) fn leader_and_term(&self, set: SetId) -> (Option<u64>, u64) {
        let place = self.place(set);
        place.map_or((None, 0), |place| place.known(*lock(&place.heard)))
    }

    /// A peer says whether it leads the set.
    pub(crate) fn hear(&self, set: SetId, peer: u64, line: &SetLine) {
        let Some(place) = self.place(set) else { return };
        let mut heard = lock(&place.heard);
        match (line.role, *heard) {
            (Role::Leader, Some(before)) if before.term > line.term => return,
            (Role::Leader, _) => {
                *heard = Some(Heard {
                    leader: peer,
                    term: line.term,
                    at: Instant::now(),
                });
            }
            (_, Some(before)) if before.leader == peer => *heard = None,
            _ => return,
        }
        place.settle(*heard);
    }

    /// Forgets leaders that have said nothing for too long. To be called often.
    pub(crate) fn forget_silent(&self) {
        for place in self.sets.iter() {
            let mut heard = lock(&place.heard);
            if heard.is_some_and(|heard| heard.at.elapsed() > HEARD_AGE_MAX) {
                *heard = None;
                place.settle(None);
            }
        }
    }

    /// What the set says of itself.
    pub(crate) fn line(&self, set: SetId) -> SetLine {
        let line = self.place(set).map(|place| lock(&place.line).clone());
        line.unwrap_or_default()
    }

    /// The set's core thread says something new; `points` are the newest of its state hashes.
    pub(crate) fn publish(&self, set: SetId, line: SetLine, points: &VecDeque<HashPoint>) {
        let Some(place) = self.place(set) else { return };
        lock(&place.hash_points).clone_from(points);
        *lock(&place.line) = line;
        let heard = lock(&place.heard);
        place.settle(*heard);
    }

    /// This replica's hash after the entry `index`, while it is remembered.
    pub(crate) fn hash_at(&self, set: SetId, index: u64) -> Option<u64> {
        let points = lock(&self.place(set)?.hash_points);
        let point = points.iter().find(|point| point.index == index)?;
        Some(point.hash)
    }

    fn place(&self, set: SetId) -> Option<&Place> {
        self.sets.get(set.0 as usize)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("nothing panics while it holds a line of the board")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_was_published_last() {
        let board = Board::new(2);
        assert_eq!(board.leader(SetId(1)), None);
        let line = SetLine {
            leader: Some(3),
            term: 7,
            ..SetLine::default()
        };
        board.publish(SetId(1), line.clone(), &VecDeque::new());
        assert_eq!(board.leader(SetId(1)), Some(3));
        assert_eq!(board.line(SetId(1)), line);
        assert_eq!(board.line(SetId(9)), SetLine::default());
    }

    #[test]
    fn a_peer_that_leads_is_believed_when_its_term_is_later() {
        let (board, set) = (Board::new(1), SetId(0));
        let line = |role, leader, term| SetLine {
            role,
            leader,
            term,
            ..SetLine::default()
        };
        let publish = |leader, term| {
            board.publish(set, line(Role::Follower, leader, term), &VecDeque::new());
        };
        board.hear(set, 3, &line(Role::Follower, Some(1), 4));
        assert_eq!(board.leader(set), None);
        board.hear(set, 3, &line(Role::Leader, Some(3), 4));
        assert_eq!(board.leader_and_term(set), (Some(3), 4));
        publish(Some(1), 3);
        assert_eq!(board.leader(set), Some(3));
        publish(Some(2), 5);
        assert_eq!(board.leader_and_term(set), (Some(2), 5));
        board.hear(set, 1, &line(Role::Leader, Some(1), 4));
        assert_eq!(board.leader(set), Some(2));
        publish(None, 4);
        assert_eq!(board.leader(set), Some(1));
        board.hear(set, 1, &line(Role::Follower, None, 4));
        assert_eq!(board.leader(set), None);
    }

    #[test]
    fn a_hash_is_found_by_its_entry() {
        let board = Board::new(1);
        let point = |index| HashPoint {
            index,
            hash: index * 10,
        };
        let points = (1..=HASH_POINT_COUNT as u64).map(point).collect();
        board.publish(SetId(0), SetLine::default(), &points);
        assert_eq!(board.hash_at(SetId(0), 7), Some(70));
        assert_eq!(board.hash_at(SetId(0), 700), None);
    }
}
