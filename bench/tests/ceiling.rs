//! Goal: the ceiling measures something with each number of replicas, and leaves no process behind.
//! Method: the program itself, for a second; how much it measures is the machine's affair.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sampan-bench");
/// Only a bound for a broken one.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_ceiling_of_one_and_of_three_says_how_many_messages_it_acknowledged() {
    for replicas in ["1", "3"] {
        let output = Command::new(PROGRAM)
            .args([
                "ceiling",
                "--seconds",
                "1",
                "--json",
                "--replicas",
                replicas,
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["replicas"].to_string(), replicas);
        assert!(result["msgs_per_s"].as_u64().unwrap() > 0, "{result}");
        assert!(result["send_us"]["p50"].as_u64().unwrap() > 0, "{result}");
        assert!(result["machine"]["cores"].as_u64().unwrap() > 0, "{result}");
    }
}

#[test]
fn a_part_of_the_ceiling_ends_when_whoever_started_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut part = Command::new(PROGRAM)
        .args(["ceiling-part", "follower"])
        .arg(folder.path().join("log"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(part.stdin.take());
    let began = Instant::now();
    while part.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}
