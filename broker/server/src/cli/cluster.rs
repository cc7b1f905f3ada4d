//! `sampan cluster`: what an operator asks of a cluster, by the admin frame.
//!
//! Any node takes any of these; the arguments become members of one JSON object, and answers are
//! read as loose JSON, so that this command also understands a broker that says more. Spec:
//! spec/admin.md.

mod tables;

use sampan_client::Client;
use serde_json::{Map, Value, json};

use super::args::{ClusterVerb, Format};
use super::failure::Failure;
use super::output::Output;

/// Carries out a cluster command.
pub(crate) async fn run(
    client: &Client,
    verb: &ClusterVerb,
    output: &mut Output,
) -> Result<(), Failure> {
    let (name, arguments) = request(verb);
    let text = client.admin(name, &arguments.to_string()).await?;
    let answer: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::Broker(format!("the broker's answer is no JSON: {error}")))?;
    print(verb, answer, output)
}

/// The verb's name on the wire, and its arguments.
fn request(verb: &ClusterVerb) -> (&'static str, Value) {
    match verb {
        ClusterVerb::Init { sets } => ("cluster.init", json!({ "set_count": sets })),
        ClusterVerb::Status => ("cluster.status", json!({})),
        ClusterVerb::AddNode { address } => ("cluster.add-node", json!({ "address": address })),
        ClusterVerb::RemoveNode { node } => ("cluster.remove-node", json!({ "node": node })),
        ClusterVerb::ReplaceNode { node, with } => (
            "cluster.replace-node",
            json!({ "node": node, "with": with }),
        ),
        ClusterVerb::Drain { node, undo } => {
            ("cluster.drain", json!({ "node": node, "undo": undo }))
        }
        ClusterVerb::CanStop { node } => ("cluster.can-stop", json!({ "node": node })),
        ClusterVerb::TransferLeader { set, node } => {
            ("cluster.transfer-leader", json!({ "set": set, "to": node }))
        }
        ClusterVerb::FinishUpgrade => ("cluster.finish-upgrade", json!({})),
        ClusterVerb::Rebalance { dry_run } => ("cluster.rebalance", json!({ "dry_run": dry_run })),
    }
}

fn print(verb: &ClusterVerb, answer: Value, output: &mut Output) -> Result<(), Failure> {
    match verb {
        ClusterVerb::Status => print_status(answer, output),
        ClusterVerb::CanStop { node } => print_can_stop(*node, &answer, output),
        ClusterVerb::Rebalance { dry_run } => print_moves(*dry_run, &answer, output),
        ClusterVerb::Init { .. }
        | ClusterVerb::AddNode { .. }
        | ClusterVerb::RemoveNode { .. }
        | ClusterVerb::ReplaceNode { .. }
        | ClusterVerb::Drain { .. }
        | ClusterVerb::TransferLeader { .. }
        | ClusterVerb::FinishUpgrade => output.either(&done_text(verb), &answer),
    }
}

fn done_text(verb: &ClusterVerb) -> String {
    match verb {
        ClusterVerb::Init { .. } => "the cluster is made".to_owned(),
        ClusterVerb::AddNode { address } => format!("the node at {address} is joining"),
        ClusterVerb::RemoveNode { node } => format!("node {node} is going"),
        ClusterVerb::ReplaceNode { node, with: None } => {
            format!("node {node} may come back with a fresh data folder")
        }
        ClusterVerb::ReplaceNode {
            node,
            with: Some(with),
        } => format!("node {with} takes the place of node {node}"),
        ClusterVerb::Drain { node, undo: false } => format!("leaders are leaving node {node}"),
        ClusterVerb::Drain { node, undo: true } => format!("node {node} may lead again"),
        ClusterVerb::FinishUpgrade => "the newest format is in use".to_owned(),
        ClusterVerb::TransferLeader { set, node } => format!("node {node} is to lead set {set}"),
        ClusterVerb::Status | ClusterVerb::CanStop { .. } | ClusterVerb::Rebalance { .. } => {
            "done".to_owned()
        }
    }
}

/// Scripts get each set's number as `id` too, and its worst lag.
fn print_status(mut answer: Value, output: &mut Output) -> Result<(), Failure> {
    if output.format() == Format::Json {
        let sets = answer.get_mut("sets").and_then(Value::as_array_mut);
        for set in sets.into_iter().flatten().filter_map(Value::as_object_mut) {
            complete(set);
        }
        return output.json(&answer);
    }
    let cluster = answer["cluster"].as_str().unwrap_or("none yet");
    output.line(&format!(
        "cluster {cluster}, as node {} sees it",
        answer["this_node"]
    ))?;
    output.line("")?;
    output.table(&tables::nodes(&answer))?;
    output.line("")?;
    output.table(&tables::sets(&answer))
}

fn complete(set: &mut Map<String, Value>) {
    let lag = tables::worst_lag(set.get("replicas").unwrap_or(&Value::Null));
    let id = set.get("set").cloned().unwrap_or_default();
    set.insert("id".to_owned(), id);
    set.insert("lag".to_owned(), json!(lag));
}

fn print_can_stop(node: u64, answer: &Value, output: &mut Output) -> Result<(), Failure> {
    let can_stop = answer["can_stop"].as_bool().unwrap_or(false);
    if can_stop || output.format() == Format::Json {
        output.either(&format!("node {node} can be stopped"), answer)?;
    }
    if can_stop {
        return Ok(());
    }
    let reason = answer["reason"]
        .as_str()
        .unwrap_or("the broker named no reason");
    Err(Failure::Partial(format!(
        "node {node} must not be stopped: {reason}"
    )))
}

fn print_moves(is_dry_run: bool, answer: &Value, output: &mut Output) -> Result<(), Failure> {
    if output.format() == Format::Json {
        return output.json(answer);
    }
    let moves = answer["moves"].as_array().map_or(&[][..], Vec::as_slice);
    if moves.is_empty() {
        return output.line("leaders are spread as well as they can be");
    }
    let verb = if is_dry_run { "would go" } else { "goes" };
    for moved in moves {
        output.line(&format!(
            "set {} {verb} from node {} to node {}",
            moved["set"], moved["from"], moved["to"]
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::output::tests::{attempted, printed};
    use super::*;

    fn status() -> Value {
        json!({
            "cluster": "00ab", "this_node": 1,
            "nodes": [
                { "node": 1, "peer_address": "a:7413", "client_address": "a:7411", "zone": "x",
                  "is_draining": false, "is_connected": true, "version": "0.1.0",
                  "clock_offset_ms": 0 },
                { "node": 2, "peer_address": "b:7413", "client_address": "b:7411", "zone": "",
                  "is_draining": true, "is_connected": false, "version": "",
                  "clock_offset_ms": -3 },
            ],
            "sets": [{
                "set": 1, "leader": 1, "term": 4, "voters": [1, 2], "learners": [],
                "applied_index": 90,
                "replicas": [
                    { "node": 1, "lag": 0, "is_suspect": false },
                    { "node": 2, "lag": 7, "is_suspect": true },
                ],
            }],
        })
    }

    #[test]
    fn a_status_for_scripts_has_each_sets_worst_lag() {
        let verb = ClusterVerb::Status;
        let text = printed(Format::Json, |output| print(&verb, status(), output));
        let value: Value = serde_json::from_str(&text).unwrap();
        let set = &value["sets"][0];
        assert_eq!((&set["id"], &set["lag"]), (&json!(1), &json!(7)));
        assert_eq!(set["voters"], json!([1, 2]));
        let mut unknown = status();
        unknown["sets"][0]["replicas"][1]["lag"] = Value::Null;
        let text = printed(Format::Json, |output| print(&verb, unknown, output));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["sets"][0]["lag"], Value::Null);
    }

    #[test]
    fn a_status_for_people_has_nodes_and_sets() {
        let verb = ClusterVerb::Status;
        let text = printed(Format::Table, |output| print(&verb, status(), output));
        for line in [
            "cluster 00ab, as node 1 sees it",
            "2     draining, not connected  b:7413  b:7411   -     -        -3ms",
            "1    1       4     90       7    1,2     -         2",
        ] {
            assert!(
                text.lines().any(|printed| printed == line),
                "{line:?} in\n{text}"
            );
        }
    }

    #[test]
    fn a_node_that_must_not_stop_fails_with_the_reason() {
        let verb = ClusterVerb::CanStop { node: 2 };
        let yes = json!({ "can_stop": true, "reason": "" });
        let (text, done) = attempted(Format::Table, |output| print(&verb, yes, output));
        assert_eq!(
            (text.as_str(), done.is_ok()),
            ("node 2 can be stopped\n", true)
        );
        let no = json!({ "can_stop": false, "reason": "set 3 would lose its majority" });
        let (text, done) = attempted(Format::Table, |output| print(&verb, no, output));
        let failure = done.expect_err("no");
        assert_eq!((text.as_str(), failure.exit_code()), ("", 1));
        assert!(failure.to_string().contains("set 3"), "{failure}");
    }

    #[test]
    fn moves_are_told_one_by_one() {
        let answer = json!({ "moves": [{ "set": 3, "from": 1, "to": 2 }] });
        let verb = ClusterVerb::Rebalance { dry_run: true };
        let text = printed(Format::Table, |output| print(&verb, answer, output));
        assert_eq!(text, "set 3 would go from node 1 to node 2\n");
    }

    #[test]
    fn what_is_asked_has_the_members_that_the_spec_names() {
        let (name, arguments) = request(&ClusterVerb::TransferLeader { set: 3, node: 2 });
        assert_eq!(name, "cluster.transfer-leader");
        assert_eq!(arguments, json!({ "set": 3, "to": 2 }));
        for verb in [
            ClusterVerb::Init { sets: None },
            ClusterVerb::Status,
            ClusterVerb::AddNode {
                address: "a:1".to_owned(),
            },
            ClusterVerb::RemoveNode { node: 1 },
            ClusterVerb::ReplaceNode {
                node: 1,
                with: None,
            },
            ClusterVerb::Drain {
                node: 1,
                undo: true,
            },
            ClusterVerb::CanStop { node: 1 },
            ClusterVerb::Rebalance { dry_run: false },
            ClusterVerb::FinishUpgrade,
        ] {
            let (name, arguments) = request(&verb);
            let parsed = crate::serve::admin::parse(name, &arguments.to_string());
            assert!(parsed.is_ok(), "{name}: {parsed:?}");
        }
    }
}
