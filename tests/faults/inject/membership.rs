//! Nodes that come, go, lose their folder, and hand their leaderships over.

use std::time::{Duration, Instant};

use rand::Rng;

use super::{ANSWER_MAX, Scene, lasts};
use crate::cluster::Cluster;
use crate::cluster::status::Status;
use crate::waiting::within;

/// Replicas of a new node catch up by then, unless something is broken.
const CATCH_UP_MAX: Duration = Duration::from_secs(40);
/// Operators are not faster.
const BETWEEN_TRANSFERS: Duration = Duration::from_millis(200);

impl Cluster {
    /// Leaves a node out for good: it has been removed or replaced.
    fn forget(&mut self, id: u64) {
        self.nodes.remove(&id);
        self.advertised.remove(&id);
    }
}

impl Scene<'_> {
    /// A command that some node other than `id` must carry out, now or soon.
    fn command(&mut self, id: u64, arguments: &[&str]) {
        within(ANSWER_MAX, &arguments.join(" "), || {
            let other = self.any_but(id);
            let ended = self.cluster.cli(other, arguments);
            if ended.code != Some(0) {
                println!("{arguments:?}: {ended:?}");
            }
            (ended.code == Some(0)).then_some(())
        });
    }

    fn wait_until_whole(&self) {
        let whole = self.cluster.wait_until_whole(CATCH_UP_MAX, u64::MAX);
        whole.expect("the cluster is whole after a change of its members");
    }
}

/// A node comes back without its data: refused at first, then let in as a new one.
pub(super) fn wipe(scene: &mut Scene<'_>) -> String {
    let id = scene.any();
    scene.node(id).kill();
    scene.node(id).wipe();
    let from = scene.node(id).log().len();
    scene.launch(id);
    wait_until_refused(scene, id, from);
    let status = scene.status();
    assert!(
        status.sets.iter().all(|set| set.leader != Some(id)),
        "a node without its data leads: {status:?}"
    );
    let is_in = status.nodes.get(&id) == Some(&true);
    assert!(!is_in, "a node without its data was let in: {status:?}");
    scene.command(id, &["cluster", "replace-node", &id.to_string()]);
    if scene.node(id).child.is_none() || scene.node(id).ended().is_some() {
        scene.launch(id);
    }
    format!("node {id}")
}

/// Others have told the node that its folder is not the one they know.
fn wait_until_refused(scene: &mut Scene<'_>, id: u64, from: usize) {
    within(ANSWER_MAX, "the refusal of a node", || {
        let log = scene.node(id).log();
        log[from..].contains("replace-node").then_some(())
    });
}

/// A dead node is replaced by another one.
pub(super) fn replace(scene: &mut Scene<'_>) -> String {
    let id = scene.any();
    scene.node(id).kill();
    let new = scene.cluster.add_node();
    scene.launch(new);
    let arguments = [
        "cluster",
        "replace-node",
        &id.to_string(),
        "--with",
        &new.to_string(),
    ];
    scene.command(id, &arguments);
    scene.cluster.forget(id);
    scene.wait_until_whole();
    format!("node {id} by {new}")
}

/// A node is added and another removed; in half of the cases a leader dies in between.
pub(super) fn add_and_remove(scene: &mut Scene<'_>) -> String {
    let id = scene.any();
    let leader = scene.leader();
    let new = scene.cluster.add_node();
    scene.launch(new);
    let is_killed = scene.random.random_bool(0.5);
    if is_killed {
        scene.wait(0.05..0.2);
        scene.node(leader).kill();
        scene.wait(0.1..0.3);
        scene.launch(leader);
    }
    scene.wait_until_whole();
    scene.command(id, &["cluster", "remove-node", &id.to_string()]);
    wait_until_gone(scene, id);
    let status = scene.node(id).terminate();
    assert!(status.success(), "node {id}: {status}");
    scene.cluster.forget(id);
    scene.wait_until_whole();
    let killed = if is_killed {
        format!(", leader {leader} killed")
    } else {
        String::new()
    };
    format!("node {new} added, {id} removed{killed}")
}

fn wait_until_gone(scene: &mut Scene<'_>, id: u64) {
    within(CATCH_UP_MAX, "the end of a removed node", || {
        let other = scene.any_but(id);
        let status = scene.cluster.status_at(other);
        let holds = |voters: &[u64]| voters.contains(&id);
        let gone = |status: &Status| {
            !status.nodes.contains_key(&id) && !status.sets.iter().any(|set| holds(&set.voters))
        };
        status.as_ref().is_some_and(gone).then_some(())
    });
}

/// Leaders are handed over, one after another.
pub(super) fn transfer(scene: &mut Scene<'_>) -> String {
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < scene.lasting {
        let (set, leader) = scene.led_set();
        let to = scene.any_but(leader);
        let (set, to) = (set.to_string(), to.to_string());
        // A set that has just changed its leader by itself refuses.
        let ended = scene
            .cluster
            .cli(leader, &["cluster", "transfer-leader", &set, &to]);
        count += u32::from(ended.code == Some(0));
        lasts(BETWEEN_TRANSFERS);
    }
    assert!(count > 0, "no leader was handed over");
    format!("{count} times")
}

/// A node gives its leaderships up, and may have some again later.
pub(super) fn drain(scene: &mut Scene<'_>) -> String {
    let id = scene.any();
    let number = id.to_string();
    scene.command(0, &["cluster", "drain", &number]);
    within(ANSWER_MAX, "the leaders' leaving a drained node", || {
        let leads = scene.status().sets.iter().any(|set| set.leader == Some(id));
        (!leads).then_some(())
    });
    scene.wait(0.2..0.6);
    scene.command(0, &["cluster", "drain", &number, "--undo"]);
    format!("node {id}")
}
