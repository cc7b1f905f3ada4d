//! Disks that are full or give back something else than was written.

use std::fs::{self, File};
use std::path::PathBuf;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::{Scene, damage, lasts};
use crate::log_batches;

/// More than a node of a round ever takes; the ballast is sparse and takes nothing.
pub(crate) const USED_LEN_MAX: u64 = 1 << 40;

/// A leader's disk is full, by what its configuration allows.
pub(super) fn fill(scene: &mut Scene<'_>) -> String {
    let leader = scene.leader();
    let ballast = scene.node(leader).data().join("ballast");
    let filled = File::create(&ballast).and_then(|file| file.set_len(USED_LEN_MAX));
    filled.expect("a file as long as the disk");
    lasts(scene.lasting);
    fs::remove_file(&ballast).expect("the ballast can be removed");
    format!("node {leader}")
}

/// Kills a node, damages its files and starts it again.
fn damaged(
    scene: &mut Scene<'_>,
    damage: impl FnOnce(&mut Scene<'_>, PathBuf) -> String,
) -> String {
    let id = scene.any();
    scene.node(id).kill();
    let data = scene.node(id).data();
    let what = damage(scene, data);
    scene.wait(0.1..0.5);
    scene.launch(id);
    format!("node {id}: {what}")
}

/// In half of the cases in the newest entries that it acknowledged.
pub(super) fn flip_log(scene: &mut Scene<'_>) -> String {
    damaged(scene, |scene, data| {
        let batches = log_batches::batches(&data.join("log"));
        let batch = match scene.random.random_bool(0.5) {
            true => batches.last(),
            false => batches.choose(scene.random),
        };
        let batch = batch.expect("a node under load has written something");
        damage::flip(&batch.file, batch.at, batch.len.into(), scene.random)
    })
}

/// In an index file or, where there is one, a segment.
pub(super) fn flip_store(scene: &mut Scene<'_>) -> String {
    damaged(scene, |scene, data| {
        let segments = log_batches::files(&data, "seg");
        let index_files = log_batches::files(&data, "redb");
        let files = match !segments.is_empty() && scene.random.random_bool(0.5) {
            true => segments,
            false => index_files,
        };
        let path = files.choose(scene.random).expect("every set has a store");
        let len = fs::metadata(path).expect("it can be looked at").len();
        damage::flip(path, 0, len.max(1), scene.random)
    })
}

/// The end of the log is missing: cut off, or as if it had never been written.
pub(super) fn truncate_log(scene: &mut Scene<'_>) -> String {
    damaged(scene, |scene, data| {
        let batches = log_batches::batches(&data.join("log"));
        let newest = &batches[batches.len().saturating_sub(20)..];
        let batch = newest.choose(scene.random).expect("something was written");
        match scene.random.random_bool(0.5) {
            true => damage::cut(&batch.file, batch.at),
            false => damage::zero(&batch.file, batch.at),
        }
    })
}
