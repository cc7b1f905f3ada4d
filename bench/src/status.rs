//! What a cluster says of itself, as far as a measurement needs it. Spec: spec/admin.md, "Answers".

use serde::Deserialize;

/// Entries that a replica may be behind and still count as up to date. A node tells its place every
/// 200 ms, so of a busy set, with up to a thousand entries a second, this is what a status cannot
/// know.
pub(crate) const LAG_UNDER_WAY_MAX: u64 = 256;

/// The cluster as one node sees it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) nodes: Vec<NodeStatus>,
    pub(crate) sets: Vec<SetStatus>,
}

/// One node.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NodeStatus {
    pub(crate) is_connected: bool,
}

/// One set.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SetStatus {
    pub(crate) set: u32,
    pub(crate) leader: Option<u64>,
    pub(crate) voters: Vec<u64>,
    pub(crate) replicas: Vec<ReplicaStatus>,
}

/// One replica of a set.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReplicaStatus {
    pub(crate) node: u64,
    pub(crate) lag: Option<u64>,
    pub(crate) is_suspect: bool,
}

impl Status {
    /// Whether every set has a leader and so many voters, all of them up to date.
    pub(crate) fn is_whole(&self, voter_count: usize) -> bool {
        let is_whole = |set: &SetStatus| {
            set.leader.is_some()
                && set.voters.len() == voter_count
                && set.voters.iter().all(|voter| set.has_caught_up(*voter))
        };
        self.nodes.len() >= voter_count
            && self.nodes.iter().all(|node| node.is_connected)
            && !self.sets.is_empty()
            && self.sets.iter().all(is_whole)
    }

    /// Whether a node is up to date in every set.
    pub(crate) fn has_caught_up(&self, node: u64) -> bool {
        !self.sets.is_empty() && self.sets.iter().all(|set| set.has_caught_up(node))
    }

    /// A set by its number.
    pub(crate) fn set(&self, number: u32) -> Option<&SetStatus> {
        self.sets.iter().find(|set| set.set == number)
    }
}

impl SetStatus {
    fn has_caught_up(&self, node: u64) -> bool {
        // The leader need not be listed.
        let replica = self.replicas.iter().find(|replica| replica.node == node);
        match replica {
            Some(replica) => {
                !replica.is_suspect && replica.lag.is_some_and(|lag| lag <= LAG_UNDER_WAY_MAX)
            }
            None => self.leader == Some(node),
        }
    }

    /// A voter that does not lead.
    pub(crate) fn follower(&self) -> Option<u64> {
        let mut voters = self.voters.iter().copied();
        voters.find(|voter| Some(*voter) != self.leader)
    }

    /// Who comes after the leader.
    pub(crate) fn next_leader(&self) -> Option<u64> {
        let leader = self.leader?;
        let mut voters = self.voters.iter().copied();
        let above = voters.clone().filter(|voter| *voter > leader).min();
        above.or_else(|| voters.find(|voter| *voter != leader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(lag: Option<u64>) -> Status {
        let value = serde_json::json!({
            "cluster": "ab", "this_node": 1,
            "nodes": [{"node": 1, "is_connected": true}, {"node": 2, "is_connected": true}],
            "sets": [{ "set": 3, "leader": 1, "term": 1, "voters": [1, 2], "learners": [],
                "replicas": [{ "node": 2, "lag": lag, "is_suspect": false }] }],
        });
        serde_json::from_value(value).expect("as specified")
    }

    #[test]
    fn a_cluster_is_whole_when_every_voter_is_up_to_date() {
        assert!(status(Some(0)).is_whole(2));
        assert!(!status(Some(0)).is_whole(3));
        assert!(!status(Some(LAG_UNDER_WAY_MAX + 1)).is_whole(2));
        assert!(!status(None).is_whole(2));
        let mut cut_off = status(Some(0));
        cut_off.nodes[1].is_connected = false;
        assert!(!cut_off.is_whole(2));
    }

    #[test]
    fn the_next_leader_and_a_follower_are_never_the_leader() {
        let mut status = status(Some(0));
        let set = status.set(3).expect("there");
        assert_eq!((set.follower(), set.next_leader()), (Some(2), Some(2)));
        status.sets[0].leader = Some(2);
        let set = status.set(3).expect("there");
        assert_eq!((set.follower(), set.next_leader()), (Some(1), Some(1)));
        assert!(status.set(4).is_none());
    }
}
