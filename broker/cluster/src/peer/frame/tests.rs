//! Goal: frames are what spec/vectors/peer pins down, and no damaged copy is taken for one. Method:
//! every vector is decoded, said in text, encoded again; then every single bit of it is changed and
//! every tail cut off.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::peer::limits::{PEER_GREETING_LEN_MAX, PEER_PAYLOAD_LEN_MAX, PULSE_LEN_MAX};

#[derive(Default)]
struct Vector {
    title: String,
    bytes: Vec<u8>,
    fields: Vec<String>,
}

fn vectors() -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/peer/frames.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let mut vectors: Vec<Vector> = Vec::new();
    let mut is_in_fields = false;
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        if let Some(title) = line.strip_prefix("== ") {
            let title = title.to_owned();
            vectors.push(Vector {
                title,
                ..Vector::default()
            });
            continue;
        }
        let vector = vectors.last_mut().unwrap();
        match line {
            "-- bytes" => is_in_fields = false,
            "-- fields" => is_in_fields = true,
            field if is_in_fields => vector.fields.push(field.to_owned()),
            hex => {
                let digits = hex.split('#').next().unwrap().split_whitespace();
                vector
                    .bytes
                    .extend(digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
            }
        }
    }
    vectors
}

fn decode_frame(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    let mut decoder = FrameDecoder::greeting();
    decoder.end_greeting();
    let mut buffer = BytesMut::from(bytes);
    let frame = decoder.decode(&mut buffer)?;
    assert!(frame.is_none() || buffer.is_empty());
    Ok(frame)
}

/// A frame's meaning, by its kind.
enum Value {
    Hello(Hello),
    Refused(PeerRefusal),
    Pulse(Pulse),
    Append(AppendBytes),
    Appended(Appended),
    End,
    Failed(CallError),
    Call(u16, Bytes),
    Reply(Bytes),
}

fn decode_value(frame: &Frame) -> Result<Value, FrameError> {
    let payload = frame.payload.clone();
    Ok(match frame.header.kind {
        FrameKind::Hello | FrameKind::Welcome => Value::Hello(Hello::decode(payload)?),
        FrameKind::Refused => Value::Refused(PeerRefusal::decode(payload)?),
        FrameKind::Pulse => Value::Pulse(Pulse::decode(payload)?),
        FrameKind::Append => Value::Append(AppendBytes::decode(frame)?),
        FrameKind::Appended => Value::Appended(Appended::decode(payload)?),
        FrameKind::AppendEnd => Value::End,
        FrameKind::AppendFailed | FrameKind::CallFailed => {
            Value::Failed(CallError::decode(payload)?)
        }
        FrameKind::Call => {
            let (method, payload) = get_call(payload)?;
            Value::Call(method, payload)
        }
        FrameKind::CallReply => Value::Reply(payload),
    })
}

fn encode(header: &FrameHeader, value: &Value) -> Bytes {
    let at = (header.set, header.id);
    let frame = match value {
        Value::Hello(hello) => hello.encode(header.kind),
        Value::Refused(refusal) => refusal.encode(),
        Value::Pulse(pulse) => pulse.clone().encode(),
        Value::Append(append) => {
            let pieces = append.entries.iter().map(|(id, payload)| EntryPieces {
                head: EntryHead {
                    id: *id,
                    len: payload.len() as u32,
                    crc32c: crc32c::crc32c(payload),
                },
                pieces: payload.chunks(7).map(Bytes::copy_from_slice).collect(),
            });
            append.head.encode(header.flags, at, pieces.collect())
        }
        Value::Appended(appended) => appended.encode(header.set, header.id),
        Value::End => OutFrame::new(FrameKind::AppendEnd, header.set, header.id, |_| {}),
        Value::Failed(error) => error.encode(header.kind, header.set, header.id),
        Value::Call(method, payload) => put_call(header.set, header.id, *method, payload.clone()),
        Value::Reply(payload) => {
            let rest = vec![payload.clone()];
            OutFrame::with_rest(FrameKind::CallReply, 0, at, |_| {}, rest, true)
        }
    };
    let bytes = frame.to_bytes();
    assert_eq!(bytes.len(), frame.len);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    match bytes {
        [] => "-".to_owned(),
        bytes => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn log_id(id: Option<WireLogId>) -> String {
    id.map_or("none".to_owned(), |id| format!("{}.{}", id.term, id.index))
}

fn vote(vote: WireVote) -> String {
    let committed = if vote.is_committed { "+" } else { "" };
    format!("{}.{}{committed}", vote.term, vote.node)
}

fn fields(header: &FrameHeader, value: &Value) -> Vec<String> {
    let set = match header.set {
        NODE => "node".to_owned(),
        set => set.to_string(),
    };
    let mut lines = vec![
        format!("kind = {:#04x}", header.kind.number()),
        format!("flags = {}", header.flags),
        format!("set = {set}"),
        format!("id = {}", header.id),
    ];
    lines.extend(match value {
        Value::Hello(hello) => vec![
            format!("version_min = {}", hello.version_min),
            format!("version_max = {}", hello.version_max),
            format!("cluster = {:#x}", hello.cluster),
            format!("node = {}", hello.node),
            format!("incarnation = {:#x}", hello.incarnation),
            format!("target = {}", hello.target),
            format!("format_version_max = {}", hello.format_version_max),
            format!("wall_ms = {}", hello.wall_ms),
            format!("release = {:?}", hello.release),
        ],
        Value::Refused(refusal) => vec![
            format!("number = {}", refusal.reason.number()),
            format!("text = {:?}", refusal.text),
        ],
        Value::Pulse(pulse) => vec![
            format!("wall_ms = {}", pulse.wall_ms),
            format!("content = {}", hex(&pulse.content)),
        ],
        Value::Append(append) => append_fields(append),
        Value::Appended(Appended::Matching(id)) => vec![format!("matching = {}", log_id(*id))],
        Value::Appended(Appended::Conflict(id)) => {
            vec![format!("conflict = {}", log_id(Some(*id)))]
        }
        Value::Appended(Appended::HigherVote(higher)) => {
            vec![format!("higher_vote = {}", vote(*higher))]
        }
        Value::End => vec![],
        Value::Failed(error) => vec![
            format!("number = {}", error.number),
            format!("text = {:?}", error.text),
        ],
        Value::Call(method, payload) => vec![
            format!("method = {method}"),
            format!("payload = {}", hex(payload)),
        ],
        Value::Reply(payload) => vec![format!("payload = {}", hex(payload))],
    });
    lines
}

fn append_fields(append: &AppendBytes) -> Vec<String> {
    let mut lines = vec![
        format!("vote = {}", vote(append.head.vote)),
        format!("prev = {}", log_id(append.head.prev)),
        format!("commit = {}", log_id(append.head.commit)),
    ];
    let entries = append.entries.iter().enumerate();
    lines.extend(entries.map(|(index, (id, payload))| {
        format!("entry[{index}] = {} {}", log_id(Some(*id)), hex(payload))
    }));
    lines
}

#[test]
fn every_vector_decodes_to_its_fields_and_is_encoded_as_it_is_written() {
    for vector in vectors() {
        let frame = decode_frame(&vector.bytes)
            .expect(&vector.title)
            .expect(&vector.title);
        let value = decode_value(&frame).expect(&vector.title);
        assert_eq!(
            fields(&frame.header, &value),
            vector.fields,
            "{}",
            vector.title
        );
        let encoded = encode(&frame.header, &value);
        assert_eq!(hex(&encoded), hex(&vector.bytes), "{}", vector.title);
    }
}

#[test]
fn every_kind_and_every_flag_has_a_vector() {
    let frames = vectors().into_iter().map(|vector| {
        let frame = decode_frame(&vector.bytes).unwrap().unwrap();
        (frame.header.kind.number(), frame.header.flags)
    });
    let found: BTreeSet<_> = frames.collect();
    for kind in FrameKind::ALL {
        assert!(
            found.iter().any(|(number, _)| *number == kind.number()),
            "{kind:?}"
        );
    }
    let append = FrameKind::Append.number();
    assert!((0..4).all(|flags| found.contains(&(append, flags))));
}

#[test]
fn a_frame_with_any_bit_changed_is_refused() {
    for vector in vectors() {
        for at in 0..vector.bytes.len() * 8 {
            let mut bytes = vector.bytes.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            let decoded = decode_frame(&bytes);
            let is_refused = match decoded {
                Err(_) => true,
                // The entries of an append are compared when they are taken.
                Ok(Some(frame)) => decode_value(&frame).is_err(),
                Ok(None) => false,
            };
            assert!(is_refused, "{}: bit {at}", vector.title);
        }
    }
}

#[test]
fn a_frame_cut_anywhere_is_waited_for() {
    for vector in vectors() {
        for len in 0..vector.bytes.len() {
            let decoded = decode_frame(&vector.bytes[..len]).unwrap();
            assert!(decoded.is_none(), "{}: cut at {len}", vector.title);
        }
    }
}

/// The checksums are right here: whoever made the frame meant it.
#[test]
fn a_payload_with_a_field_missing_or_to_spare_is_refused() {
    for vector in vectors() {
        let frame = decode_frame(&vector.bytes).unwrap().unwrap();
        let (header, payload) = (frame.header, frame.payload);
        let is_open_ended = matches!(
            header.kind,
            FrameKind::Pulse | FrameKind::Call | FrameKind::CallReply | FrameKind::AppendEnd
        );
        let head_len = header.head_len as usize;
        for len in 0..head_len + usize::from(!is_open_ended) + 1 {
            if is_open_ended || len == head_len {
                continue;
            }
            let head = [
                &payload[..head_len.min(len)],
                &vec![0; len.saturating_sub(head_len)],
            ];
            let head_bytes = head.concat();
            let head_len_now = head_bytes.len() as u32;
            let whole = [&head_bytes[..], &payload[head_len..]].concat();
            let header = FrameHeader {
                payload_len: whole.len() as u32,
                head_len: head_len_now,
                head_crc: crc32c::crc32c(&head_bytes),
                ..header
            };
            let frame = decode_frame(&[&header.encode()[..], &whole].concat());
            let frame = frame.unwrap().unwrap();
            assert!(
                decode_value(&frame).is_err(),
                "{}: head of {len}",
                vector.title
            );
        }
    }
}

fn header(kind: FrameKind, payload_len: usize) -> FrameHeader {
    FrameHeader {
        payload_len: payload_len as u32,
        kind,
        flags: 0,
        set: NODE,
        id: 0,
        head_len: payload_len as u32,
        head_crc: 0,
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_payload_comes() {
    let long = header(FrameKind::Call, PEER_PAYLOAD_LEN_MAX + 1).encode();
    assert!(matches!(
        decode_frame(&long),
        Err(FrameError::TooLong { .. })
    ));
    let fits = header(FrameKind::Call, PEER_PAYLOAD_LEN_MAX).encode();
    assert!(decode_frame(&fits).unwrap().is_none());
    let stranger = header(FrameKind::Hello, PEER_GREETING_LEN_MAX + 1).encode();
    let mut buffer = BytesMut::from(&stranger[..]);
    assert!(FrameDecoder::greeting().decode(&mut buffer).is_err());
}

#[test]
fn a_stranger_that_promises_bytes_gets_no_memory_for_them() {
    let promise = header(FrameKind::Hello, PEER_GREETING_LEN_MAX).encode();
    let mut buffer = BytesMut::from(&promise[..]);
    assert!(
        FrameDecoder::greeting()
            .decode(&mut buffer)
            .unwrap()
            .is_none()
    );
    assert!(buffer.capacity() <= 16 * 1024, "{}", buffer.capacity());
}

#[test]
fn only_an_append_may_leave_payload_to_other_checksums() {
    for kind in FrameKind::ALL {
        let mut partly = header(kind, 100);
        partly.head_len = 10;
        let decoded = FrameHeader::decode(&partly.encode());
        assert_eq!(decoded.is_ok(), kind == FrameKind::Append, "{kind:?}");
        partly.head_len = 101;
        assert!(FrameHeader::decode(&partly.encode()).is_err());
    }
}

#[test]
fn frames_come_out_whole_however_the_bytes_arrive() {
    let mut stream = Vec::new();
    let lens = [0, 1, 31, 32, 33, 16_384, 16_385, 300_000];
    for len in lens {
        let payload = Bytes::from(vec![9; len]);
        stream.extend_from_slice(&put_call(1, 2, 3, payload).to_bytes());
    }
    for piece_len in [1, 31, 32, 33, 5000, 1 << 20] {
        let mut decoder = FrameDecoder::greeting();
        decoder.end_greeting();
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for piece in stream.chunks(piece_len) {
            buffer.extend_from_slice(piece);
            while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                let (method, payload) = get_call(frame.payload).unwrap();
                assert!(method == 3 && payload.iter().all(|byte| *byte == 9));
                found.push(payload.len());
            }
        }
        assert_eq!(found, lens);
    }
}

#[test]
fn entries_of_a_long_frame_are_slices_of_what_was_read() {
    let payload = Bytes::from(vec![5; 100_000]);
    let id = WireLogId { term: 1, index: 1 };
    let head = EntryHead {
        id,
        len: 100_000,
        crc32c: crc32c::crc32c(&payload),
    };
    let vote = WireVote {
        term: 1,
        node: 1,
        is_committed: true,
    };
    let append = AppendHead {
        vote,
        prev: None,
        commit: None,
    };
    let pieces = vec![payload.clone()];
    let out = append.encode(FLAG_OPEN, (0, 1), vec![EntryPieces { head, pieces }]);
    assert_eq!(out.rest[0].as_ptr(), payload.as_ptr());
    let mut decoder = FrameDecoder::greeting();
    decoder.end_greeting();
    let mut buffer = BytesMut::from(&out.to_bytes()[..]);
    let range = buffer.as_ptr_range();
    let frame = decoder.decode(&mut buffer).unwrap().unwrap();
    let read = AppendBytes::decode(&frame).unwrap();
    assert!(range.contains(&read.entries[0].1.as_ptr()));
}

#[test]
fn texts_and_pulses_keep_their_limits() {
    let long = "é".repeat(2000);
    let refusal = PeerRefusal::new(RefusalReason::WrongNode, long.clone());
    let payload = refusal.encode().to_bytes().slice(FrameHeader::LEN..);
    let text = PeerRefusal::decode(payload).unwrap().text;
    assert!(text.len() == 1024 && long.starts_with(&text));
    let too_long = Bytes::from(vec![0; 8 + PULSE_LEN_MAX + 1]);
    assert!(Pulse::decode(too_long).is_err());
}

#[test]
fn the_highest_common_version_is_spoken() {
    assert_eq!(agree((1, 1), (1, 1)), Some(1));
    assert_eq!(agree((1, 3), (2, 5)), Some(3));
    assert_eq!(agree((1, 1), (2, 3)), None);
    assert_eq!(agree((2, 3), (1, 1)), None);
}
