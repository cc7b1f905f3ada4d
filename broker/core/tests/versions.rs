//! Goal: an entry says which format version it needs, and a release refuses what is above its own.
//!
//! Method: entries of this build, and bytes that a newer one would write. With the feature
//! `next-version` this build is that newer one.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::error::Error;

use bytes::Bytes;
use sampan_core::{Command, Entry, EntryError, FORMAT_VERSION_MAX, FORMAT_VERSION_MIN};
use sampan_protocol::{QueueId, Timestamp};

fn entry(commands: Vec<Command>) -> Entry {
    let stamp = Timestamp(77);
    Entry {
        stamp,
        commands,
        ..Entry::default()
    }
}

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    bytes
}

#[test]
fn what_version_1_can_say_is_written_in_version_1() {
    let delete = Command::QueueDelete { queue: QueueId(1) };
    for entry in [entry(Vec::new()), entry(vec![delete])] {
        assert_eq!(entry.version_needed(), FORMAT_VERSION_MIN);
        assert_eq!(encoded(&entry)[0], 1);
    }
}

#[test]
fn an_entry_of_a_newer_version_is_refused_by_both_numbers() {
    let newer = FORMAT_VERSION_MAX + 1;
    let mut bytes = encoded(&entry(Vec::new()));
    bytes[0] = newer.try_into().unwrap();
    let error = Entry::decode(Bytes::from(bytes)).unwrap_err();
    assert_eq!(error, EntryError::Version { version: newer });
    let text =
        format!("entry of format version {newer}, this release reads up to {FORMAT_VERSION_MAX}");
    assert_eq!(error.to_string(), text);
}

#[test]
fn version_0_is_damage() {
    let mut bytes = encoded(&entry(Vec::new()));
    bytes[0] = 0;
    let error = Entry::decode(Bytes::from(bytes)).unwrap_err();
    assert_eq!(error.to_string(), "damaged entry: command 0");
    assert_eq!(
        error.source().unwrap().to_string(),
        "unknown format version 0"
    );
}

/// Version 1 does not know the command 0x30, whatever this build knows.
#[test]
fn a_command_of_version_2_inside_an_entry_of_version_1_is_damage() {
    let mut bytes = encoded(&entry(Vec::new()));
    bytes[10] = 1;
    bytes.extend_from_slice(&[0x30, 2, 0, b'h', b'i']);
    let error = Entry::decode(Bytes::from(bytes)).unwrap_err();
    assert!(matches!(error, EntryError::Damaged { command: 0, .. }));
    assert_eq!(error.source().unwrap().to_string(), "unknown kind 48");
}

#[cfg(feature = "next-version")]
#[test]
fn a_note_needs_version_2_and_changes_nothing_but_the_state_hash() {
    use sampan_core::{Broker, Reply};

    let note = |text: &str| Command::Note {
        text: text.to_owned(),
    };
    let entry = entry(vec![note("hi")]);
    assert_eq!(entry.version_needed(), 2);
    let bytes = encoded(&entry);
    assert_eq!(bytes.len(), entry.encoded_len());
    assert_eq!(bytes[0], 2);
    assert_eq!(Entry::decode(Bytes::from(bytes)), Ok(entry));

    let hash = |commands| {
        let (mut broker, mut effects, mut replies) = (Broker::new(), Vec::new(), Vec::new());
        let stamp = Timestamp(77);
        let entry = Entry {
            stamp,
            commands,
            ..Entry::default()
        };
        broker.apply(&entry, &mut effects, &mut replies).unwrap();
        assert!(effects.is_empty());
        assert!(replies.iter().all(|reply| *reply == Reply::Done));
        broker.state_hash()
    };
    assert_ne!(hash(vec![note("hi")]), hash(Vec::new()));
    assert_ne!(hash(vec![note("hi")]), hash(vec![note("ho")]));
}
