//! Goal: other implementations can check themselves against every frame. Method: the kinds of the
//! protocol beside those of the golden vectors, whose format `spec/vectors/wire/README.md` says.

use std::collections::BTreeSet;

use sampan_protocol::kind;

use crate::files;

/// Where a frame has its kind.
const KIND_AT: usize = 4;

/// The kind of each frame in the text of a file of vectors.
fn kinds(text: &str) -> Vec<u8> {
    let frames = text.split("-- bytes").skip(1);
    frames
        .map(|rest| bytes(rest.split("--").next().unwrap_or_default())[KIND_AT])
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let lines = hex.lines().filter_map(|line| line.split(['#', '=']).next());
    let digits = lines.flat_map(str::split_whitespace);
    digits
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits"))
        .collect()
}

#[test]
fn every_kind_of_frame_has_a_golden_vector() {
    let files = files::with_extension("spec/vectors/wire", "txt");
    let found: BTreeSet<u8> = files.iter().flat_map(|(_, text)| kinds(text)).collect();
    let replies = kind::ALL.iter().map(|request| request | kind::REPLY);
    let wanted = kind::ALL
        .iter()
        .copied()
        .chain(replies)
        .chain([kind::ERROR]);
    let missing: Vec<_> = wanted.filter(|kind| !found.contains(kind)).collect();
    assert!(missing.is_empty(), "no vector of kinds {missing:02x?}");
}
