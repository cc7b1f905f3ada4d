//! A cluster's status as tables. What is missing or unknown is a hyphen.

use serde_json::Value;

/// One row per node, under a heading.
pub(super) fn nodes(status: &Value) -> Vec<Vec<String>> {
    let heading = [
        "NODE", "STATE", "PEERS", "CLIENTS", "ZONE", "VERSION", "CLOCK",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for node in list(&status["nodes"]) {
        rows.push(vec![
            cell(&node["node"]),
            node_state(node),
            cell(&node["peer_address"]),
            cell(&node["client_address"]),
            cell(&node["zone"]),
            cell(&node["version"]),
            format!("{}ms", cell(&node["clock_offset_ms"])),
        ]);
    }
    rows
}

/// One row per set, under a heading.
pub(super) fn sets(status: &Value) -> Vec<Vec<String>> {
    let heading = [
        "SET", "LEADER", "TERM", "APPLIED", "LAG", "VOTERS", "LEARNERS", "SUSPECT",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for set in list(&status["sets"]) {
        let suspects = list(&set["replicas"])
            .iter()
            .filter(|replica| replica["is_suspect"] == true)
            .map(|replica| cell(&replica["node"]));
        let lag = worst_lag(&set["replicas"]);
        rows.push(vec![
            cell(&set["set"]),
            cell(&set["leader"]),
            cell(&set["term"]),
            cell(&set["applied_index"]),
            lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string()),
            joined(list(&set["voters"]).iter().map(cell)),
            joined(list(&set["learners"]).iter().map(cell)),
            joined(suspects),
        ]);
    }
    rows
}

/// The most entries that a replica is behind; unknown when it is unknown of one.
pub(super) fn worst_lag(replicas: &Value) -> Option<u64> {
    let lags = list(replicas).iter().map(|replica| replica["lag"].as_u64());
    lags.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn node_state(node: &Value) -> String {
    let mut words = Vec::new();
    if node["is_draining"] == true {
        words.push("draining");
    }
    if node["is_connected"] != true {
        words.push("not connected");
    }
    if words.is_empty() {
        words.push("up");
    }
    words.join(", ")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn joined(cells: impl Iterator<Item = String>) -> String {
    let text = cells.collect::<Vec<_>>().join(",");
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
