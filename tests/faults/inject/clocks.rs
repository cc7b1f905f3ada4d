//! Wall clocks that jump, and jump back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rand::Rng;

use super::Scene;

/// Changes a leader's wall clock by this much, to either side.
pub(super) fn jump(scene: &mut Scene<'_>, by: Duration) -> String {
    let leader = scene.leader();
    let millis = i64::try_from(by.as_millis()).expect("a month");
    let millis = if scene.random.random_bool(0.5) {
        millis
    } else {
        -millis
    };
    let file = scene.node(leader).clock_file();
    set(&file, millis);
    super::lasts(scene.lasting);
    set(&file, 0);
    format!("node {leader} by {millis} ms")
}

/// The node reads the file again and again, so it is replaced at once.
fn set(file: &Path, millis: i64) {
    let new = file.with_extension("new");
    fs::write(&new, millis.to_string()).expect("the clock's file can be written");
    fs::rename(&new, file).expect("the clock's file can be replaced");
}
