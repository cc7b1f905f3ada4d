//! Goal: the stories of spec/semantics.md, as commands and what comes of them, for reading.
//!
//! Method: every file of `tests/transcripts` is played to a new broker. A line that is not indented
//! is a command (`;` joins commands of one entry, `#` begins a comment); the indented lines below
//! it are what the broker answered. `UPDATE=1` writes the answers into the files.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod cluster;
mod player;
mod words;

use std::fs;
use std::path::PathBuf;

use player::Player;

const INDENT: &str = "    ";

fn play(script: &str) -> String {
    let mut player = Player::new();
    let mut out = String::new();
    for line in script.lines().filter(|line| !line.starts_with(INDENT)) {
        out.push_str(line);
        out.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for answer in player.play(line) {
            out.push_str(INDENT);
            out.push_str(&answer);
            out.push('\n');
        }
    }
    out
}

#[test]
fn every_transcript_is_answered_as_written() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 8, "the stories are all there");
    for path in paths {
        let script = fs::read_to_string(&path).unwrap();
        let played = play(&script);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &played).unwrap();
        } else {
            assert_eq!(played, script, "{} (UPDATE=1 rewrites it)", path.display());
        }
    }
}
