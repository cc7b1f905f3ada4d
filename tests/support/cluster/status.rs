//! What `sampan cluster status` says, as far as tests need it.

use std::collections::BTreeMap;

use serde_json::Value;

/// One set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetStatus {
    pub(crate) set: u64,
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
    pub(crate) voters: Vec<u64>,
    /// Entries that each replica is behind; `None` where nothing is known.
    pub(crate) lags: BTreeMap<u64, Option<u64>>,
    /// Replicas that do not vote because they may have lost entries.
    pub(crate) suspects: Vec<u64>,
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// Every node, and whether the one that was asked is connected to it.
    pub(crate) nodes: BTreeMap<u64, bool>,
    pub(crate) sets: Vec<SetStatus>,
}

impl Status {
    /// Reads the command's JSON; `None` when it is something else.
    pub(crate) fn parse(text: &str) -> Option<Status> {
        let value: Value = serde_json::from_str(text.trim()).ok()?;
        let nodes = value["nodes"].as_array()?.iter();
        let node = |node: &Value| Some((node["node"].as_u64()?, node["is_connected"].as_bool()?));
        Some(Status {
            nodes: nodes.map(node).collect::<Option<_>>()?,
            sets: value["sets"]
                .as_array()?
                .iter()
                .map(parse_set)
                .collect::<Option<_>>()?,
        })
    }

    /// What keeps this from being a whole cluster of `nodes`, each set with `voter_count` voters
    /// and no replica more than `lag_max` entries behind; `None` when nothing does.
    pub(crate) fn trouble(
        &self,
        nodes: &[u64],
        voter_count: usize,
        lag_max: u64,
    ) -> Option<String> {
        let known: Vec<u64> = self.nodes.keys().copied().collect();
        if known != nodes {
            return Some(format!("nodes are {known:?} and not {nodes:?}"));
        }
        if let Some((node, _)) = self.nodes.iter().find(|(_, connected)| !**connected) {
            return Some(format!("node {node} is not connected"));
        }
        if self.sets.is_empty() {
            return Some("there is no set".to_owned());
        }
        self.sets
            .iter()
            .find_map(|set| set.trouble(voter_count, lag_max))
    }
}

impl SetStatus {
    fn trouble(&self, voter_count: usize, lag_max: u64) -> Option<String> {
        let set = self.set;
        if self.leader.is_none() {
            return Some(format!("set {set} has no leader"));
        }
        if self.voters.len() != voter_count {
            return Some(format!("set {set} has the voters {:?}", self.voters));
        }
        if !self.suspects.is_empty() {
            return Some(format!("set {set} has the suspects {:?}", self.suspects));
        }
        let voters = self.voters.iter();
        let behind = |voter: &&u64| {
            // The leader itself need not be listed.
            self.leader != Some(**voter)
                && self
                    .lags
                    .get(voter)
                    .copied()
                    .flatten()
                    .is_none_or(|lag| lag > lag_max)
        };
        let behind: Vec<_> = voters.filter(behind).collect();
        (!behind.is_empty()).then(|| format!("set {set}: behind are {behind:?} ({:?})", self.lags))
    }
}

fn parse_set(set: &Value) -> Option<SetStatus> {
    let mut parsed = SetStatus {
        set: set["set"].as_u64()?,
        leader: set["leader"].as_u64(),
        term: set["term"].as_u64()?,
        voters: set["voters"]
            .as_array()?
            .iter()
            .filter_map(Value::as_u64)
            .collect(),
        ..SetStatus::default()
    };
    for replica in set["replicas"].as_array()? {
        let node = replica["node"].as_u64()?;
        parsed.lags.insert(node, replica["lag"].as_u64());
        if replica["is_suspect"].as_bool()? {
            parsed.suspects.push(node);
        }
    }
    Some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"cluster": "0a", "this_node": 1,
        "nodes": [{"node": 1, "is_connected": true}, {"node": 2, "is_connected": true}],
        "sets": [{"set": 0, "leader": 1, "term": 3, "voters": [1, 2], "learners": [],
            "applied_index": 9, "replicas": [{"node": 1, "lag": 0, "is_suspect": false},
            {"node": 2, "lag": 4, "is_suspect": false}]}]}"#;

    #[test]
    fn a_whole_cluster_is_told_from_one_that_lags_or_lacks_a_node() {
        let status = Status::parse(TEXT).expect("good JSON");
        assert_eq!(status.trouble(&[1, 2], 2, 4), None);
        assert!(
            status
                .trouble(&[1, 2], 2, 3)
                .is_some_and(|text| text.contains("behind"))
        );
        assert!(status.trouble(&[1, 2, 3], 2, 4).is_some());
        assert!(status.trouble(&[1, 2], 3, 4).is_some());
    }

    #[test]
    fn a_suspect_and_a_missing_leader_are_trouble_and_a_new_leader_is_a_change() {
        let before = Status::parse(TEXT).expect("good JSON");
        let mut status = before.clone();
        status.sets[0].suspects.push(2);
        assert!(
            status
                .trouble(&[1, 2], 2, 4)
                .is_some_and(|text| text.contains("suspect"))
        );
        status.sets[0].leader = None;
        assert!(
            status
                .trouble(&[1, 2], 2, 4)
                .is_some_and(|text| text.contains("no leader"))
        );
    }
}
