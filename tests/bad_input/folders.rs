//! Goal: a data folder that must not be used is left exactly as it was, and the operator is told
//! which file is the matter. Method: each kind of wrong folder is made out of a good one, and its
//! content is compared before and after the refused start.

use std::fs;
use std::path::{Path, PathBuf};

use crate::broker::{Broker, Setup};
use crate::folder::{Content, content, files, settled};

/// A stopped broker whose folder has messages in the log and, after a checkpoint, in segments.
fn stopped() -> Broker {
    let storage = "overlay_len = 65536".to_owned();
    let mut broker = Broker::start(Setup {
        storage,
        ..Setup::default()
    });
    broker.cli(&["queue", "create", "orders"]).expect(0);
    let body = "x".repeat(1_000);
    broker
        .cli(&["send", "orders", &body, "--count", "400"])
        .expect(0);
    broker.wait_for_segments(1);
    broker.terminate();
    broker
}

/// The first file of a kind.
fn first(folder: &Path, extension: &str) -> PathBuf {
    files(folder, extension).remove(0).0
}

/// Fails unless the start is refused, says `file` and `reason`, and leaves the folder alone.
fn assert_refused(broker: &mut Broker, file: &str, reason: &str) {
    let before = content(&broker.data());
    let refused = broker.start_refused();
    assert_ne!(refused.code, Some(0));
    assert!(
        refused.code.is_some(),
        "ended by a signal: {}",
        refused.said
    );
    assert!(
        refused.said.contains(file),
        "{file:?} is not in {:?}",
        refused.said
    );
    assert!(
        refused.said.contains(reason),
        "{reason:?} is not in {:?}",
        refused.said
    );
    assert_same(&before, &content(&broker.data()));
}

fn assert_same(before: &Content, after: &Content) {
    for (name, was) in before {
        assert_eq!(after.get(name), Some(was), "{} was changed", name.display());
    }
    let new: Vec<_> = after
        .keys()
        .filter(|name| !before.contains_key(*name))
        .collect();
    assert!(new.is_empty(), "new: {new:?}");
}

/// Changes a file, has the start refused, and puts the file back.
fn refused_with(broker: &mut Broker, file: &Path, reason: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let good = fs::read(file).unwrap();
    let mut bad = good.clone();
    change(&mut bad);
    fs::write(file, bad).unwrap();
    let name = file.file_name().and_then(|name| name.to_str()).unwrap();
    assert_refused(broker, name, reason);
    fs::write(file, good).unwrap();
}

/// Puts the CRC32C of everything before it into the last four bytes of a header.
fn seal(header: &mut [u8]) {
    let at = header.len() - 4;
    let crc = sampan_protocol::checksum(&header[..at]);
    header[at..].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_damaged_folder_is_refused_and_left_as_it_is_and_starts_once_it_is_repaired() {
    let mut broker = stopped();
    let data = broker.data();
    let log = first(&data, "log");
    refused_with(&mut broker, &data.join("node"), "damaged", |bytes| {
        bytes[20] ^= 1
    });
    refused_with(&mut broker, &data.join("node"), "damaged", |bytes| {
        bytes.truncate(20)
    });
    refused_with(&mut broker, &log, "damaged", |bytes| bytes[100] ^= 1);
    // The first batch, with more of the log behind it.
    refused_with(&mut broker, &log, "damaged", |bytes| bytes[4_096 + 40] ^= 1);
    let segment = first(&data, "seg");
    refused_with(&mut broker, &segment, "damaged", |bytes| bytes[20] ^= 1);
    let index = files(&data, "redb");
    for (index, _) in &index {
        refused_with(&mut broker, index, "damaged", |bytes| {
            bytes[..512].fill(0x5a)
        });
    }
    assert!(!index.is_empty());
    broker.launch();
    let received = broker.json(&["receive", "orders", "--max", "256"]);
    assert_eq!(received.len(), 256);
}

#[test]
fn a_folder_that_lost_a_file_is_refused() {
    let mut broker = stopped();
    let data = broker.data();
    for (file, said) in [
        (data.join("node"), "node"),
        (first(&data, "seg"), ".seg"),
        (data.join("set-0000"), "set-0000"),
        (data.join("log"), "log"),
    ] {
        let aside = data.with_extension("aside");
        fs::rename(&file, &aside).unwrap();
        assert_refused(&mut broker, said, "");
        fs::rename(&aside, &file).unwrap();
    }
    broker.launch();
}

#[test]
fn a_folder_of_a_newer_format_is_refused_as_such() {
    let mut broker = stopped();
    let data = broker.data();
    refused_with(&mut broker, &data.join("node"), "newer", |bytes| {
        bytes[7] = b'2'
    });
    let log = first(&data, "log");
    refused_with(&mut broker, &log, "newer", |bytes| {
        bytes[8] = 2;
        seal(&mut bytes[..4_096]);
    });
    let segment = first(&data, "seg");
    refused_with(&mut broker, &segment, "newer", |bytes| {
        bytes[8] = 2;
        seal(&mut bytes[..64]);
    });
    broker.launch();
}

#[test]
fn log_and_store_of_another_node_are_refused() {
    let (mut broker, other) = (stopped(), stopped());
    let (own, foreign) = (broker.data(), other.data());
    for part in ["log", "set-0000"] {
        let aside = own.join("../aside");
        fs::rename(own.join(part), &aside).unwrap();
        fs::rename(foreign.join(part), own.join(part)).unwrap();
        let file = if part == "log" { ".log" } else { "store.redb" };
        assert_refused(&mut broker, file, "cluster");
        fs::rename(own.join(part), foreign.join(part)).unwrap();
        fs::rename(&aside, own.join(part)).unwrap();
    }
    broker.launch();
}

#[test]
fn a_folder_in_use_is_refused_and_its_user_goes_on() {
    let broker = Broker::start(Setup::default());
    broker.cli(&["queue", "create", "orders"]).expect(0);
    let mut second = Broker::start(Setup::default());
    second.terminate();
    let own = second.data();
    let aside = own.with_extension("aside");
    fs::rename(&own, &aside).unwrap();
    std::os::unix::fs::symlink(broker.data(), &own).unwrap();
    // An idle broker still closes its log shortly after the last write.
    settled(&broker.data());
    assert_refused(&mut second, "in use", "");
    broker.cli(&["send", "orders", "body"]).expect(0);
}
