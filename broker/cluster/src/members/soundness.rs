//! What the nodes say of the sets, and whether a set can do without one of them.
//!
//! All of it is what pulses said a moment ago: good enough to refuse what would cost a majority,
//! never a ground for Raft.

use std::collections::BTreeMap;

use sampan_protocol::SetId;

use crate::board::{Role, SetLine};
use crate::reach::Reach;
use crate::status::CanStop;
use crate::view::View;

/// A replica that is further behind its leader could not take part at once.
const LAG_OF_VOTER_MAX: u64 = 2_048;
/// A leader whose wall clock is further from the cluster's time hands over (`set/replica.rs`).
const CLOCK_DISTANCE_MAX_MS: u64 = 500;
/// So many wall clocks can outvote one that is wrong.
const CLOCK_COUNT_MIN: usize = 3;

pub(crate) fn is_connected(reach: &Reach, node: u64) -> bool {
    node == reach.node || reach.peers().is_some_and(|peers| peers.is_connected(node))
}

/// What `node` says of its replica of `set`, this node included; none when it is not connected.
pub(crate) fn line_of(reach: &Reach, view: &View, node: u64, set: SetId) -> Option<SetLine> {
    if node == reach.node {
        return Some(reach.board.line(set));
    }
    is_connected(reach, node)
        .then(|| view.line_of(node, set))
        .flatten()
}

/// Each set whose leader is known, as its leader describes it.
pub(crate) fn led_sets(reach: &Reach, view: &View) -> Vec<(SetId, SetLine)> {
    let led = reach.board.sets();
    led.filter_map(|set| Some((set, leader_line(reach, view, set)?)))
        .collect()
}

/// What the set's leader says of itself: a node that is connected and says that it leads. A replica
/// by itself may believe for long in a leader that is gone.
pub(crate) fn leader_line(reach: &Reach, view: &View, set: SetId) -> Option<SetLine> {
    let leader = reach.board.leader(set)?;
    let line = line_of(reach, view, leader, set)?;
    (line.role == Role::Leader).then_some(line)
}

/// Whether a replica could vote now for what its leader has.
pub(crate) fn is_sound(line: &SetLine, leader: &SetLine) -> bool {
    !line.is_suspect
        && line.role != Role::Stopped
        && line.last_index.saturating_add(LAG_OF_VOTER_MAX) >= leader.last_index
}

/// Whether a replica could lead: it votes, and has room for messages.
pub(crate) fn could_lead(line: &SetLine) -> bool {
    !line.is_suspect && !line.is_full && line.role != Role::Stopped
}

/// Whether a node's wall clock has left the others' by so much that it would hand over at once what
/// it is given to lead. `offsets_ms` as [`Reach::clock_offsets_ms`] has them.
pub(crate) fn has_wrong_clock(offsets_ms: &BTreeMap<u64, i64>, node: u64) -> bool {
    let offset = offsets_ms.get(&node).copied().unwrap_or(0);
    offsets_ms.len() >= CLOCK_COUNT_MIN && offset.unsigned_abs() > CLOCK_DISTANCE_MAX_MS
}

/// One set as this node sees it.
pub(super) struct SetView {
    set: SetId,
    /// Whoever this node takes for the leader, whether it hears from it or not.
    believed: Option<u64>,
    /// What the leader says of itself.
    leader: Option<SetLine>,
    /// What this node's replica says.
    here: SetLine,
    /// The voters that the catalog wants.
    wanted: Vec<u64>,
    /// What the leader's voters say, as far as they are connected.
    lines: BTreeMap<u64, SetLine>,
}

impl SetView {
    pub(super) fn new(reach: &Reach, view: &View, set: SetId) -> Self {
        let leader = leader_line(reach, view, set);
        let voters = leader.iter().flat_map(|leader| &leader.voters);
        let lines = voters.filter_map(|node| Some((*node, line_of(reach, view, *node, set)?)));
        let lines = lines.collect();
        let directory = reach.directory();
        let wanted = directory.map().wanted_voters(set);
        SetView {
            set,
            believed: reach.board.leader(set),
            leader,
            here: reach.board.line(set),
            wanted: wanted.map_or(Vec::new(), |record| record.voters.clone()),
            lines,
        }
    }

    /// How many voters but `node` are connected and sound.
    fn sound_without(&self, node: u64, leader: &SetLine) -> usize {
        let others = leader.voters.iter().filter(|voter| **voter != node);
        let lines = others.filter_map(|voter| self.lines.get(voter));
        lines.filter(|line| is_sound(line, leader)).count()
    }

    /// Why the set could not keep a majority that is connected and sound when `node` is gone for
    /// good. A set without a leader says nothing of its replicas, so its voters are needed.
    pub(super) fn check_without(&self, node: u64, doing: &str) -> Result<(), String> {
        let set = self.set;
        let Some(leader) = &self.leader else {
            let is_named = self.wanted.contains(&node) || self.here.voters.contains(&node);
            return match is_named {
                false => Ok(()),
                true => Err(format!(
                    "set {set} has no leader that is known here, and node {node} votes in it: \
                     {doing} it could cost the set its majority"
                )),
            };
        };
        let count = leader.voters.len();
        if !leader.voters.contains(&node) {
            return Ok(());
        }
        if count == 1 {
            return Err(format!(
                "{doing} node {node} would leave set {set} without a voter"
            ));
        }
        let sound = self.sound_without(node, leader);
        let rest = count - 1;
        if sound <= rest / 2 || sound <= count / 2 && rest > 1 {
            return Err(format!(
                "{doing} node {node} would cost set {set} its majority: of its voters {:?} \
                 only {sound} others are connected and sound",
                leader.voters
            ));
        }
        Ok(())
    }

    /// A node that leads is not lost, whoever says so.
    pub(super) fn check_lost(&self, node: u64) -> Result<(), String> {
        match self.believed == Some(node) {
            false => Ok(()),
            true => Err(format!(
                "node {node} leads set {}, or did a moment ago: it is not lost, or another node \
                 has yet to take over",
                self.set
            )),
        }
    }

    /// Why the set could not do without `node` for a while.
    fn reason_not_to_stop(&self, node: u64) -> Option<String> {
        let set = self.set;
        let Some(leader) = &self.leader else {
            return Some(format!("set {set} has no leader that is known here"));
        };
        if !leader.voters.contains(&node) {
            return None;
        }
        let (sound, count) = (self.sound_without(node, leader), leader.voters.len());
        (sound <= count / 2).then(|| format!("set {set} would keep {sound} of its {count} voters"))
    }
}

/// Whether every set keeps its majority while `node` is stopped.
pub(crate) fn can_stop(reach: &Reach, view: &View, node: u64) -> CanStop {
    let sets = reach.board.sets();
    let reasons: Vec<String> = sets
        .filter_map(|set| SetView::new(reach, view, set).reason_not_to_stop(node))
        .collect();
    CanStop {
        can_stop: reasons.is_empty(),
        reason: reasons.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follower() -> SetLine {
        SetLine {
            role: Role::Follower,
            last_index: 10_000,
            ..SetLine::default()
        }
    }

    /// Node 1 leads; all voters are connected and have everything.
    fn set_of(voters: &[u64]) -> SetView {
        let leader = SetLine {
            role: Role::Leader,
            leader: Some(1),
            voters: voters.to_vec(),
            ..follower()
        };
        let mut lines: BTreeMap<u64, SetLine> =
            voters.iter().map(|node| (*node, follower())).collect();
        lines.insert(1, leader.clone());
        SetView {
            set: SetId(4),
            believed: Some(1),
            leader: Some(leader),
            here: SetLine::default(),
            wanted: voters.to_vec(),
            lines,
        }
    }

    #[test]
    fn a_set_without_a_leader_can_do_without_nobody_whom_it_names() {
        let mut set = set_of(&[1, 2, 3]);
        assert_eq!(set.check_without(3, "removing"), Ok(()));
        set.leader = None;
        assert!(set.check_without(3, "removing").is_err());
        assert_eq!(set.check_without(4, "removing"), Ok(()));
        // What this node's replica knows counts as much as what is wanted.
        set.here.voters = vec![4];
        assert!(set.check_without(4, "removing").is_err());
        assert!(set.reason_not_to_stop(9).is_some());
    }

    #[test]
    fn voters_that_are_away_suspect_stopped_or_far_behind_are_no_majority() {
        let spoilt: [fn(&mut SetView); 4] = [
            |set| drop(set.lines.remove(&2)),
            |set| set.lines.get_mut(&2).unwrap().is_suspect = true,
            |set| set.lines.get_mut(&2).unwrap().role = Role::Stopped,
            |set| set.lines.get_mut(&2).unwrap().last_index -= LAG_OF_VOTER_MAX + 1,
        ];
        for spoil in spoilt {
            let mut set = set_of(&[1, 2, 3]);
            assert_eq!(set.reason_not_to_stop(3), None);
            spoil(&mut set);
            assert!(set.check_without(3, "replacing").is_err());
            assert!(set.reason_not_to_stop(3).is_some());
            // Node 2 itself may go.
            assert_eq!(set.check_without(2, "replacing"), Ok(()));
            assert_eq!(set.reason_not_to_stop(2), None);
        }
    }

    #[test]
    fn the_last_voter_stays_and_the_last_but_one_may_go() {
        assert!(set_of(&[1]).check_without(1, "removing").is_err());
        assert_eq!(set_of(&[1, 2]).check_without(2, "removing"), Ok(()));
        assert_eq!(set_of(&[1, 2]).check_without(3, "removing"), Ok(()));
    }

    #[test]
    fn whoever_leads_is_not_lost() {
        let mut set = set_of(&[1, 2, 3]);
        assert!(set.check_lost(1).is_err());
        assert_eq!(set.check_lost(2), Ok(()));
        // Nor is it when this node by itself hears nothing of it.
        set.leader = None;
        assert!(set.check_lost(1).is_err());
    }

    #[test]
    fn a_replica_that_stopped_or_is_full_or_suspect_does_not_lead() {
        assert!(could_lead(&follower()));
        let spoilt: [fn(&mut SetLine); 3] = [
            |line| line.role = Role::Stopped,
            |line| line.is_full = true,
            |line| line.is_suspect = true,
        ];
        for spoil in spoilt {
            let mut line = follower();
            spoil(&mut line);
            assert!(!could_lead(&line));
        }
    }

    #[test]
    fn a_clock_is_wrong_when_two_others_say_so() {
        let mut offsets = BTreeMap::from([(1, 0), (2, 501)]);
        assert!(!has_wrong_clock(&offsets, 2));
        offsets.insert(3, -500);
        assert!(has_wrong_clock(&offsets, 2));
        assert!(!has_wrong_clock(&offsets, 3));
        assert!(!has_wrong_clock(&offsets, 4), "nothing was heard of it");
        offsets.insert(3, -501);
        assert!(has_wrong_clock(&offsets, 3));
    }
}
