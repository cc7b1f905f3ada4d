//! Goal: a segment file and the chunk of a snapshot are written as spec/storage.md says, byte for
//! byte, and read back.
//! Method: `spec/vectors/store/segment.hex` and `chunk.hex`; `UPDATE=1` writes them anew.

use std::fmt::Write;
use std::path::PathBuf;

use bytes::Bytes;
use sampan_protocol::{BatchBuilder, MessageBatch, MessageId, NewMessage, QueueId, Timestamp};
use sampan_storage::io::SimulatedDisk;
use sampan_storage::store::{Store, StoreOptions, segment_name};

use crate::support::{IDENTITY, chunks, content, live, log_id, receive};

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
                ..NewMessage::default()
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

const SEGMENT: &str = "Segment 1: header, an extent of ids 7 and 9, one of a delayed id.";
const CHUNK: &str = "The only chunk of that store's snapshot: two extents, then the totals.";

fn vector(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/store");
    folder.join(name)
}

fn assert_vector(name: &str, about: &str, written: &[u8]) {
    let written = to_hex(about, written);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(vector(name).parent().unwrap()).unwrap();
        std::fs::write(vector(name), &written).unwrap();
    }
    assert_eq!(std::fs::read_to_string(vector(name)).unwrap(), written);
}

fn to_hex(about: &str, bytes: &[u8]) -> String {
    let mut text = format!("# {about}\n");
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
    assert_vector("segment.hex", SEGMENT, &written);
}

#[test]
fn a_chunk_is_written_and_taken_in_as_the_vector_says() {
    let (_disk, store) = store();
    let (id, chunks) = chunks(&store);
    assert_vector("chunk.hex", CHUNK, &chunks.concat());
    let chunk = from_hex(&std::fs::read_to_string(vector("chunk.hex")).unwrap());
    let root = SimulatedDisk::new().root();
    let (empty, _) = Store::open(root.clone(), IDENTITY, StoreOptions::default()).unwrap();
    let incoming = receive(root, &id, &[Bytes::from(chunk)]).unwrap();
    let (store, _) = incoming.install(empty.retire()).unwrap();
    let found = store.reader().read(QUEUE, &[MessageId(9)]).unwrap();
    assert_eq!(&found[0].as_ref().unwrap().content[..], b"fourth");
}

#[test]
fn a_segment_of_the_vector_is_read_as_it_was_sent() {
    let (disk, store) = store();
    let expected = from_hex(&std::fs::read_to_string(vector("segment.hex")).unwrap());
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
