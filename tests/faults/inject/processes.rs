//! Processes that die, stand still, or are stopped and started in order.

use std::time::Duration;

use rand::Rng;

use super::super::checker::Cut;
use super::{Scene, Victims, lasts};
use crate::cluster::node::Launch;

const PAUSE_SECONDS: std::ops::RangeInclusive<u64> = 1..=30;

/// SIGKILL, and a start some time later. `after_power_cut`: with what was synced and no more.
pub(super) fn kill(scene: &mut Scene<'_>, victims: Victims, after_power_cut: bool) -> String {
    let victims = scene.victims(victims);
    let from_us = scene.history.now_us();
    for id in &victims {
        scene.node(*id).kill();
    }
    // With the majority gone nothing goes on, so all have some of the time to come back.
    scene.wait(0.2..0.8);
    let launch = Launch {
        after_power_cut,
        ..Launch::default()
    };
    if after_power_cut && 2 * victims.len() > scene.cluster.nodes.len() {
        let until_us = scene.history.now_us();
        scene.cut = Some(Cut { from_us, until_us });
    }
    for id in &victims {
        scene.cluster.launch(*id, &launch);
    }
    format!("nodes {victims:?}")
}

/// SIGSTOP, and SIGCONT some time later.
pub(super) fn pause(scene: &mut Scene<'_>, victims: Victims) -> String {
    let victims = scene.victims(victims);
    let seconds = scene.random.random_range(PAUSE_SECONDS);
    for id in &victims {
        scene.node(*id).signal("STOP");
    }
    lasts(Duration::from_secs(seconds));
    for id in &victims {
        scene.node(*id).signal("CONT");
    }
    format!("nodes {victims:?} for {seconds} s")
}

/// Every node stopped as an operator does and started again, one at a time.
pub(super) fn rolling_restart(scene: &mut Scene<'_>) -> String {
    let ids = scene.ids();
    for id in &ids {
        let status = scene.node(*id).terminate();
        assert!(status.success(), "node {id}: {status}");
        scene.launch(*id);
        let whole = scene.cluster.wait_until_whole(super::ANSWER_MAX, u64::MAX);
        whole.expect("the cluster is whole after each restart");
    }
    format!("nodes {ids:?}")
}
