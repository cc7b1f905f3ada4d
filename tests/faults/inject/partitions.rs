//! Links that carry nothing, or one way only, or now and then, or little.

use std::time::{Duration, Instant};

use rand::Rng;

use super::{Scene, lasts};

const FLAP_MS: std::ops::Range<u64> = 200..1_500;
const LATENCY_MS: std::ops::Range<u64> = 50..300;
const BYTES_PER_SECOND: std::ops::Range<u32> = 300_000..2_000_000;

/// Blocks or frees what goes from one node to another.
fn block(scene: &Scene<'_>, from: u64, to: u64, blocked: bool) {
    scene
        .cluster
        .network
        .change(from, to, |link| link.blocked = blocked);
}

fn block_both(scene: &Scene<'_>, id: u64, blocked: bool) {
    for other in scene.ids().into_iter().filter(|other| *other != id) {
        block(scene, id, other, blocked);
        block(scene, other, id, blocked);
    }
}

pub(super) fn isolate(scene: &mut Scene<'_>) -> String {
    let leader = scene.leader();
    block_both(scene, leader, true);
    lasts(scene.lasting);
    scene.cluster.network.heal();
    format!("node {leader}")
}

/// One node hears nobody, or is heard by nobody.
pub(super) fn one_way(scene: &mut Scene<'_>) -> String {
    let leader = scene.leader();
    let is_deaf = scene.random.random_bool(0.5);
    for other in scene.ids().into_iter().filter(|other| *other != leader) {
        let (from, to) = if is_deaf {
            (other, leader)
        } else {
            (leader, other)
        };
        block(scene, from, to, true);
    }
    lasts(scene.lasting);
    scene.cluster.network.heal();
    let what = if is_deaf {
        "hears nobody"
    } else {
        "is heard by nobody"
    };
    format!("node {leader} {what}")
}

pub(super) fn flapping(scene: &mut Scene<'_>) -> String {
    let node = scene.leader();
    let began = Instant::now();
    let mut flap_count = 0;
    while began.elapsed() < scene.lasting {
        block_both(scene, node, true);
        sleep(scene);
        scene.cluster.network.heal();
        if scene.random.random_bool(0.5) {
            let other = scene.any_but(node);
            scene.cluster.network.sever(node, other);
        }
        sleep(scene);
        flap_count += 1;
    }
    format!("node {node}, {flap_count} times")
}

fn sleep(scene: &mut Scene<'_>) {
    let millis = scene.random.random_range(FLAP_MS);
    lasts(Duration::from_millis(millis));
}

pub(super) fn slow(scene: &mut Scene<'_>) -> String {
    let node = scene.leader();
    let latency = Duration::from_millis(scene.random.random_range(LATENCY_MS));
    let rate = scene.random.random_range(BYTES_PER_SECOND);
    for other in scene.ids().into_iter().filter(|other| *other != node) {
        for (from, to) in [(node, other), (other, node)] {
            scene.cluster.network.change(from, to, |link| {
                link.latency = latency;
                link.bytes_per_second = Some(rate);
            });
        }
    }
    lasts(scene.lasting);
    scene.cluster.network.heal();
    format!("node {node}: {latency:?} each way and {rate} bytes/s")
}
