//! What operators ask, between the JSON of the admin frame and the cluster's types.
//!
//! Members that are not known are refused, so that a typing error does not change a cluster.
//! Spec: spec/admin.md.

mod render;

use sampan_cluster::ClusterRequest;
use sampan_protocol::SetId;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub(crate) use self::render::render;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Init {
    set_count: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddNode {
    address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneNode {
    node: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplaceNode {
    node: u64,
    with: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    node: u64,
    #[serde(default)]
    undo: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransferLeader {
    set: u32,
    to: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    dir: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rebalance {
    #[serde(default)]
    dry_run: bool,
}

/// The request of a verb and its arguments; no text at all stands for `{}`.
///
/// # Errors
///
/// What is wrong with them, for the operator to read.
pub(crate) fn parse(verb: &str, json: &str) -> Result<ClusterRequest, String> {
    match verb {
        "cluster.init" => {
            arguments(verb, json).map(|Init { set_count }| ClusterRequest::Init { set_count })
        }
        "cluster.status" => arguments(verb, json).map(|Nothing {}| ClusterRequest::Status),
        "cluster.add-node" => {
            let AddNode { address } = arguments(verb, json)?;
            let address = crate::cli::parse_host_port(&address);
            let address = address.map_err(|error| format!("{verb}: {error}"))?;
            Ok(ClusterRequest::AddNode { address })
        }
        "cluster.remove-node" => {
            arguments(verb, json).map(|OneNode { node }| ClusterRequest::RemoveNode { node })
        }
        "cluster.replace-node" => arguments(verb, json)
            .map(|ReplaceNode { node, with }| ClusterRequest::ReplaceNode { node, with }),
        "cluster.drain" => {
            arguments(verb, json).map(|Drain { node, undo }| ClusterRequest::Drain { node, undo })
        }
        "cluster.can-stop" => {
            arguments(verb, json).map(|OneNode { node }| ClusterRequest::CanStop { node })
        }
        "cluster.transfer-leader" => arguments(verb, json).map(|TransferLeader { set, to }| {
            let set = SetId(set);
            ClusterRequest::TransferLeader { set, to }
        }),
        "cluster.finish-upgrade" => {
            arguments(verb, json).map(|Nothing {}| ClusterRequest::FinishUpgrade)
        }
        "cluster.backup" => {
            arguments(verb, json).map(|Backup { dir }| ClusterRequest::Backup { folder: dir })
        }
        "cluster.rebalance" => {
            arguments(verb, json).map(|Rebalance { dry_run }| ClusterRequest::Rebalance { dry_run })
        }
        other => Err(format!("unknown verb {other:?}")),
    }
}

fn arguments<T: DeserializeOwned>(verb: &str, json: &str) -> Result<T, String> {
    let json = if json.is_empty() { "{}" } else { json };
    serde_json::from_str(json).map_err(|error| format!("{verb}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_its_arguments() {
        let set = SetId(3);
        for (verb, json, request) in [
            ("init", "", ClusterRequest::Init { set_count: None }),
            (
                "init",
                r#"{"set_count": 8}"#,
                ClusterRequest::Init { set_count: Some(8) },
            ),
            ("status", "{}", ClusterRequest::Status),
            (
                "add-node",
                r#"{"address": "b:7413"}"#,
                ClusterRequest::AddNode {
                    address: "b:7413".to_owned(),
                },
            ),
            (
                "remove-node",
                r#"{"node": 2}"#,
                ClusterRequest::RemoveNode { node: 2 },
            ),
            (
                "replace-node",
                r#"{"node": 2, "with": 4}"#,
                ClusterRequest::ReplaceNode {
                    node: 2,
                    with: Some(4),
                },
            ),
            (
                "drain",
                r#"{"node": 2}"#,
                ClusterRequest::Drain {
                    node: 2,
                    undo: false,
                },
            ),
            (
                "can-stop",
                r#"{"node": 2}"#,
                ClusterRequest::CanStop { node: 2 },
            ),
            (
                "transfer-leader",
                r#"{"set": 3, "to": 2}"#,
                ClusterRequest::TransferLeader { set, to: 2 },
            ),
            ("finish-upgrade", "{}", ClusterRequest::FinishUpgrade),
            (
                "backup",
                r#"{"dir": "/backups/monday"}"#,
                ClusterRequest::Backup {
                    folder: "/backups/monday".to_owned(),
                },
            ),
            (
                "rebalance",
                r#"{"dry_run": true}"#,
                ClusterRequest::Rebalance { dry_run: true },
            ),
        ] {
            assert_eq!(parse(&format!("cluster.{verb}"), json), Ok(request));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (verb, json) in [
            ("cluster.explode", "{}"),
            ("status", "{}"),
            ("cluster.status", "{\"node\": 1}"),
            ("cluster.init", "{\"sets\": 8}"),
            ("cluster.add-node", "{\"address\": \"b\"}"),
            ("cluster.add-node", ""),
            ("cluster.remove-node", "{\"node\": -1}"),
            ("cluster.remove-node", "[]x"),
            ("cluster.backup", "{}"),
            ("cluster.drain", "{\"node\": 1, \"undo\": 1}"),
        ] {
            assert!(parse(verb, json).is_err(), "{verb} {json}");
        }
    }
}
