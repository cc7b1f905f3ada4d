//! Answers to operators as JSON.

use sampan_cluster::{
    CanStop, ClusterReply, ClusterStatus, LeaderMove, NodeStatus, ReplicaStatus, SetStatus,
};
use serde_json::{Value, json};

/// The text of an answer.
pub(crate) fn render(reply: &ClusterReply) -> String {
    let value = match reply {
        ClusterReply::Done => json!({}),
        ClusterReply::Status(status) => status_json(status),
        ClusterReply::CanStop(CanStop { can_stop, reason }) => {
            json!({ "can_stop": can_stop, "reason": reason })
        }
        ClusterReply::Moves(moves) => {
            json!({ "moves": moves.iter().map(move_json).collect::<Vec<_>>() })
        }
        ClusterReply::Backup(backup) => json!({
            "dir": backup.folder,
            "catalog_index": backup.catalog_index,
            "set_count": backup.set_count,
            "len": backup.len,
        }),
    };
    value.to_string()
}

fn status_json(status: &ClusterStatus) -> Value {
    json!({
        "cluster": status.cluster.map(|id| format!("{id:032x}")),
        "format_version": status.format_version,
        "this_node": status.this_node,
        "nodes": status.nodes.iter().map(node_json).collect::<Vec<_>>(),
        "sets": status.sets.iter().map(set_json).collect::<Vec<_>>(),
    })
}

fn node_json(node: &NodeStatus) -> Value {
    json!({
        "node": node.node,
        "peer_address": node.peer_address,
        "client_address": node.client_address,
        "zone": node.zone,
        "is_draining": node.is_draining,
        "is_connected": node.is_connected,
        "version": node.version,
        "format_version_max": match node.format_version_max {
            0 => None,
            known => Some(known),
        },
        "clock_offset_ms": node.clock_offset_ms,
    })
}

fn set_json(set: &SetStatus) -> Value {
    json!({
        "set": set.set.0,
        "leader": set.leader,
        "term": set.term,
        "voters": set.voters,
        "learners": set.learners,
        "applied_index": set.applied_index,
        "replicas": set.replicas.iter().map(replica_json).collect::<Vec<_>>(),
    })
}

fn replica_json(replica: &ReplicaStatus) -> Value {
    json!({
        "node": replica.node,
        "lag": replica.lag,
        "is_suspect": replica.is_suspect,
    })
}

fn move_json(moved: &LeaderMove) -> Value {
    json!({ "set": moved.set.0, "from": moved.from, "to": moved.to })
}

#[cfg(test)]
mod tests {
    use sampan_cluster::BackupSummary;
    use sampan_protocol::SetId;

    use super::*;

    #[test]
    fn answers_are_as_the_spec_shows_them() {
        assert_eq!(render(&ClusterReply::Done), "{}");
        let moves = vec![LeaderMove {
            set: SetId(3),
            from: 1,
            to: 2,
        }];
        let text = render(&ClusterReply::Moves(moves));
        assert_eq!(text, r#"{"moves":[{"from":1,"set":3,"to":2}]}"#);
        let text = render(&ClusterReply::CanStop(CanStop {
            can_stop: true,
            reason: String::new(),
        }));
        assert_eq!(text, r#"{"can_stop":true,"reason":""}"#);
        let backup = BackupSummary {
            folder: "/b".to_owned(),
            catalog_index: 7,
            set_count: 2,
            len: 90,
        };
        let text = render(&ClusterReply::Backup(backup));
        assert_eq!(
            text,
            r#"{"catalog_index":7,"dir":"/b","len":90,"set_count":2}"#
        );
    }

    #[test]
    fn a_cluster_id_is_text_and_the_unknown_is_null() {
        let status = ClusterStatus {
            cluster: Some(0xab),
            format_version: Some(2),
            this_node: 2,
            nodes: vec![NodeStatus::default()],
            sets: vec![SetStatus {
                set: SetId(1),
                replicas: vec![ReplicaStatus::default()],
                ..SetStatus::default()
            }],
        };
        let text = render(&ClusterReply::Status(status));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["cluster"], format!("{}ab", "0".repeat(30)));
        assert_eq!(value["format_version"], 2);
        assert_eq!(value["nodes"][0]["is_connected"], false);
        assert_eq!(value["nodes"][0]["format_version_max"], Value::Null);
        assert_eq!(value["sets"][0]["leader"], Value::Null);
        assert_eq!(value["sets"][0]["replicas"][0]["lag"], Value::Null);
        let text = render(&ClusterReply::Status(ClusterStatus::default()));
        assert!(text.contains(r#""cluster":null"#), "{text}");
    }
}
