//! The words of a transcript that are about nodes and sets.

use sampan_core::{Catalog, CatalogCommand, NodeJoin, NodeRecord, SetRecord};
use sampan_protocol::SetId;

use crate::words::{instant, option};

/// Folder 7 of a transcript is incarnation 7.
fn incarnation(words: &[&str]) -> u128 {
    option(words, "folder").unwrap_or(1).into()
}

/// `long` is a text that is one byte too long.
fn text(words: &[&str], name: &str, default: String) -> String {
    let mut values = words
        .iter()
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    match values.next() {
        Some("long") => "x".repeat(256),
        Some(value) => value.to_owned(),
        None => default,
    }
}

fn join(words: &[&str]) -> NodeJoin {
    let node = words[0].parse().unwrap();
    NodeJoin {
        node,
        incarnation: incarnation(words),
        peer_address: text(words, "peer", format!("host-{node}:7413")),
        client_address: format!("host-{node}:7411"),
        http_address: String::new(),
        zone: text(words, "zone", String::new()),
        format_version_max: option(words, "reads").unwrap_or(1).try_into().unwrap(),
        release: "0.1.0".to_owned(),
    }
}

pub(crate) fn command(words: &[&str]) -> CatalogCommand {
    let number = |word: &str| word.parse::<u64>().unwrap();
    match *words {
        ["join", ref rest @ ..] => CatalogCommand::NodeJoin(join(rest)),
        ["drain", node] => CatalogCommand::NodeDrain {
            node: number(node),
            is_draining: true,
        },
        ["undrain", node] => CatalogCommand::NodeDrain {
            node: number(node),
            is_draining: false,
        },
        ["leave", node, ref rest @ ..] => CatalogCommand::NodeLeave {
            node: number(node),
            incarnation: incarnation(rest),
        },
        ["replaced", node, ref rest @ ..] => CatalogCommand::NodeReplaced {
            node: number(node),
            incarnation: incarnation(rest),
        },
        ["removed", node, ref rest @ ..] => CatalogCommand::NodeRemoved {
            node: number(node),
            incarnation: incarnation(rest),
        },
        ["found", id, ref rest @ ..] => CatalogCommand::ClusterFound {
            cluster: number(id).into(),
            set_count: option(rest, "sets").unwrap_or(4).try_into().unwrap(),
            replica_count: option(rest, "replicas").unwrap_or(3).try_into().unwrap(),
            format_version: option(rest, "format").unwrap_or(1).try_into().unwrap(),
        },
        ["format", version] => CatalogCommand::ClusterFormat {
            format_version: version.parse().unwrap(),
        },
        ["place", set, voters, ref rest @ ..] => CatalogCommand::SetPlace(SetRecord {
            set: SetId(set.parse().unwrap()),
            voters: voters.split(',').map(number).collect(),
            preferred_leader: option(rest, "leader"),
        }),
        _ => panic!("{words:?} is no command of the cluster"),
    }
}

pub(crate) fn node(record: &NodeRecord) -> String {
    let draining = if record.is_draining { ", draining" } else { "" };
    format!(
        "node {} of folder {} at {} in zone {:?}: {:?}{draining}, reads {}, joined at {}",
        record.node,
        record.incarnation,
        record.peer_address,
        record.zone,
        record.state,
        record.format_version_max,
        instant(record.joined_at),
    )
}

pub(crate) fn show(catalog: &Catalog) -> Vec<String> {
    let cluster = catalog.cluster().map(|cluster| {
        format!(
            "cluster {}: {} sets of {} replicas, format version {}, founded at {}",
            cluster.cluster,
            cluster.set_count,
            cluster.replica_count,
            cluster.format_version,
            instant(cluster.founded_at),
        )
    });
    let sets = catalog.sets().map(|record| {
        let leader = record
            .preferred_leader
            .map_or(String::new(), |node| format!(", rather led by {node}"));
        format!("set {} of {:?}{leader}", record.set, record.voters)
    });
    cluster
        .into_iter()
        .chain(catalog.nodes().map(node))
        .chain(sets)
        .collect()
}
