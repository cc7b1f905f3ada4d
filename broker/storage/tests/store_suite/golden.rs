//! Goal: a segment file is written as spec/storage.md says, byte for byte, and read back.
//! Method: `spec/vectors/store/segment.hex`; `UPDATE=1` writes it anew.

use std::fmt::Write;
use std::path::PathBuf;

use bytes::Bytes;
use sampan_protocol::{BatchBuilder, MessageBatch, MessageId, NewMessage, QueueId, Timestamp};
use sampan_storage::io::SimulatedDisk;
use sampan_storage::store::{Store, StoreOptions, segment_name};

use crate::support::{IDENTITY, content, live, log_id};

const QUEUE: QueueId = QueueId(0x0102);

fn batch() -> MessageBatch {
    let mut builder = BatchBuilder::new();
    let headers = Bytes::from_static(b"\x04kind\x05\x00order");
    for (body, headers, delay_ms) in [
        (&b"first body"[..], Bytes::new(), None),
        (b"second", headers, Some(1_500)),
        (b"third, removed", Bytes::new(), None),
        (b"fourth", Bytes::new(), Some(0)),
    ] {
        let body = Bytes::from_static(body);
        builder
            .push(NewMessage {
                body,
                headers,
                delay_ms,
            })
            .unwrap();
    }
    builder.finish()
}

fn store() -> (SimulatedDisk, Store) {
    let disk = SimulatedDisk::new();
    let (mut store, _) = Store::open(disk.root(), IDENTITY, StoreOptions::default()).unwrap();
    let delayed = MessageId(MessageId::DELAYED_BIT | 1);
    store.insert(QUEUE, MessageId(7), 0, 1, Timestamp(1_000), batch());
    store.insert(QUEUE, delayed, 1, 1, Timestamp(1_000), batch());
    store.insert(QUEUE, MessageId(8), 2, 2, Timestamp(2_000), batch());
    store.remove(QUEUE, MessageId(8), 1);
    let job = store
        .begin_checkpoint(log_id(1), Vec::new(), std::iter::empty())
        .unwrap();
    store.finish_checkpoint(job.run()).unwrap();
    (disk, store)
}

fn vector() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/store/segment.hex")
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text =
        String::from("# Segment 1: header, an extent of ids 7 and 9, one of a delayed id.\n");
    for line in bytes.chunks(16) {
        let numbers: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{}", numbers.join(" ")).unwrap();
    }
    text
}

fn from_hex(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let numbers = lines.flat_map(str::split_whitespace);
    numbers
        .map(|number| u8::from_str_radix(number, 16).unwrap())
        .collect()
}

#[test]
fn a_segment_is_written_as_the_vector_says() {
    let (disk, _store) = store();
    let written = content(&*live(&*disk.root()), &segment_name(1));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(vector().parent().unwrap()).unwrap();
        std::fs::write(vector(), to_hex(&written)).unwrap();
    }
    let expected = from_hex(&std::fs::read_to_string(vector()).unwrap());
    assert_eq!(to_hex(&written), to_hex(&expected));
}

#[test]
fn a_segment_of_the_vector_is_read_as_it_was_sent() {
    let (disk, store) = store();
    let expected = from_hex(&std::fs::read_to_string(vector()).unwrap());
    let file = live(&*disk.root()).open(&segment_name(1)).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(&expected, 0).unwrap();
    let ids = [9, MessageId::DELAYED_BIT | 1, 8, 7].map(MessageId);
    let found = store.reader().read(QUEUE, &ids).unwrap();
    let content: Vec<_> = found
        .iter()
        .map(|own| own.as_ref().map(|own| &own.content[..]))
        .collect();
    let second = b"\x04kind\x05\x00ordersecond";
    assert_eq!(
        content,
        [
            Some(&b"fourth"[..]),
            Some(second),
            None,
            Some(b"first body")
        ]
    );
    let sent: Vec<_> = found.iter().flatten().map(|own| own.sent_at.0).collect();
    assert_eq!(sent, [2_000, 1_000, 1_000]);
    assert_eq!(found[1].as_ref().unwrap().record.delay_ms, 1_500);
}
