//! Goal: the format on disk is the one of `spec/storage.md` and does not change unnoticed. Method:
//! a script writes a small log and its bytes are compared with the golden ones; the golden ones are
//! opened and say what the script said. `UPDATE=1` writes them anew.

use std::fmt::Write;
use std::path::PathBuf;

use crate::naive::read_back;
use crate::support::{A, B, Stepped, bytes, disk_of, id, image, vote};
use sampan_protocol::SetId;
use sampan_storage::io::SimulatedDisk;

const C: SetId = SetId(8);
const D: SetId = SetId(9);
const FILE_LEN: usize = 64 * 1024;
/// Bytes shown in one line of a vector.
const LINE_LEN: usize = 32;

fn place() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/log/small.hex")
}

/// A log with every kind of record: an opening batch, a batch with entries, vote, cut, purge and
/// resets, an opening batch that repeats the state, two lazy ones, a closing batch.
fn written() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    log.append(A, 1, 0, &[bytes(1, 10), bytes(2, 300)]);
    log.append(B, 2, 1, &[bytes(3, 1)]);
    log.vote(B, vote(4));
    log.truncate(A, Some(0));
    log.purge(B, id(2, 1));
    log.purge(C, id(2, 9));
    log.reset(C, Some(id(1, 3)));
    log.append(D, 1, 0, &[bytes(4, 2)]);
    log.reset(D, None);
    log.writer.step();
    drop(log);
    let mut log = Stepped::on(&disk).unwrap();
    for index in 0..2 {
        log.append_lazily(D, 1, index, &[bytes(5 + index, 2)]);
        log.writer.step();
    }
    log.writer.step_idle();
    disk
}

fn dump(content: &[u8]) -> String {
    let mut text = format!(
        "# 00000001.log, {} bytes; zeros are left out\n",
        content.len()
    );
    for (number, line) in content.chunks(LINE_LEN).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            let digits: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:08x} {digits}", number * LINE_LEN).unwrap();
        }
    }
    text
}

fn undump(text: &str) -> Vec<u8> {
    let mut content = vec![0; FILE_LEN];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (offset, digits) = line.split_once(' ').unwrap();
        let offset = usize::from_str_radix(offset, 16).unwrap();
        for (place, pair) in digits.as_bytes().chunks(2).enumerate() {
            let pair = std::str::from_utf8(pair).unwrap();
            content[offset + place] = u8::from_str_radix(pair, 16).unwrap();
        }
    }
    content
}

#[test]
fn a_small_log_is_written_as_in_the_vector() {
    let files = image(&*written().root());
    assert_eq!(files[0].0, "00000001.log");
    let text = dump(&files[0].1);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(place().parent().unwrap()).unwrap();
        std::fs::write(place(), &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(place()).unwrap());
}

#[test]
fn the_vector_is_read_as_it_was_written() {
    let content = undump(&std::fs::read_to_string(place()).unwrap());
    let log = Stepped::on(&disk_of(&[("00000001.log".to_owned(), content)])).unwrap();
    assert!(log.recovery.clean && !log.recovery.cut_off && !log.recovery.boot_changed);
    assert_eq!(log.log.state(A).last, Some(id(1, 0)));
    assert_eq!(log.log.state(B).vote, Some(vote(4)));
    assert_eq!(log.log.state(B).purged, Some(id(2, 1)));
    assert_eq!(log.log.state(C).purged, Some(id(1, 3)));
    assert_eq!(log.log.state(D).last, Some(id(1, 1)));
    assert_eq!(log.entries(A)[0].payload, bytes(1, 10));
    assert_eq!(
        read_back(&log),
        read_back(&Stepped::on(&written()).unwrap())
    );
}
