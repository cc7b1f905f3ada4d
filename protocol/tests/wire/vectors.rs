//! Goal: this crate reads and writes what spec/vectors/wire pins down, and takes no damaged copy
//! for the original. Method: every vector is decoded, said in text, encoded again; then every
//! single byte of it is changed and every tail cut off.

use std::collections::BTreeSet;

use bytes::BytesMut;
use sampan_protocol::{FrameHeader, kind, sign, verify_signature};

use crate::fields;
use crate::vector::{self, Value, Vector, decode_frame, decode_value};

/// Header and value of a frame that must be whole and right.
fn decode(vector: &Vector) -> (FrameHeader, Value) {
    let frame = decode_frame(&vector.bytes).unwrap().expect(&vector.name);
    let value = decode_value(frame.header.kind, frame.payload).expect(&vector.name);
    (frame.header, value)
}

/// The same of a damaged copy, when it is accepted at all.
fn decode_damaged(bytes: &[u8]) -> Option<(FrameHeader, Value)> {
    let frame = decode_frame(bytes).ok()??;
    let value = decode_value(frame.header.kind, frame.payload).ok()?;
    Some((frame.header, value))
}

#[test]
fn every_vector_decodes_to_its_fields() {
    for vector in vector::all() {
        let (header, value) = decode(&vector);
        assert_eq!(
            fields::of(&header, &value),
            vector.fields,
            "{}",
            vector.name
        );
    }
}

#[test]
fn every_vector_is_encoded_as_it_is_written() {
    for vector in vector::all() {
        let (header, value) = decode(&vector);
        let mut out = BytesMut::new();
        match value {
            Value::Request(request) => request.encode(header.request_id, &mut out),
            Value::Reply(reply) => reply.encode(header.request_id, header.flags, &mut out),
        }
        assert_eq!(out, vector.bytes, "{}", vector.name);
    }
}

#[test]
fn every_kind_has_a_vector() {
    let covered: BTreeSet<u8> = vector::all()
        .iter()
        .map(|vector| decode(vector).0.kind)
        .collect();
    let replies = kind::ALL.iter().map(|kind| kind | kind::REPLY);
    let known: BTreeSet<u8> = kind::ALL
        .iter()
        .copied()
        .chain(replies)
        .chain([kind::ERROR])
        .collect();
    assert_eq!(covered, known);
}

#[test]
fn every_kind_that_is_not_listed_is_refused() {
    let covered: BTreeSet<u8> = vector::all()
        .iter()
        .map(|vector| decode(vector).0.kind)
        .collect();
    for kind in (0..=u8::MAX).filter(|kind| !covered.contains(kind)) {
        let error = decode_value(kind, bytes::Bytes::new()).unwrap_err();
        assert!(!error.fatal(), "kind {kind:#04x}: {error}");
    }
}

#[test]
fn a_changed_byte_is_refused_or_changes_the_value() {
    for vector in vector::all() {
        let original = decode(&vector);
        let mut bytes = vector.bytes.clone();
        for place in 0..bytes.len() {
            let before = bytes[place];
            for byte in (0..=u8::MAX).filter(|byte| *byte != before) {
                bytes[place] = byte;
                let damaged = decode_damaged(&bytes);
                assert!(
                    damaged.as_ref() != Some(&original),
                    "{}: byte {place} as {byte:#04x} goes unnoticed",
                    vector.name
                );
            }
            bytes[place] = before;
        }
    }
}

#[test]
fn a_shortened_frame_is_not_whole() {
    for vector in vector::all() {
        for len in 0..vector.bytes.len() {
            let frame = decode_frame(&vector.bytes[..len]).unwrap();
            assert_eq!(frame, None, "{}: {len} bytes", vector.name);
        }
    }
}

#[test]
fn a_payload_shortened_or_lengthened_with_its_header_is_refused() {
    for vector in vector::all() {
        let payload = &vector.bytes[FrameHeader::LEN..];
        let (header, _) = decode(&vector);
        for len in 0..payload.len() {
            let cut = payload[..len].to_vec().into();
            assert!(
                decode_value(header.kind, cut).is_err(),
                "{}: {len} bytes",
                vector.name
            );
        }
        let longer = [payload, &[0]].concat().into();
        assert!(
            decode_value(header.kind, longer).is_err(),
            "{}: a byte too many",
            vector.name
        );
    }
}

#[test]
fn the_worked_example_of_a_signature_is_right() {
    let nonce = std::array::from_fn(|place| u8::try_from(place).unwrap());
    let signature = sign(b"correct horse battery staple", &nonce, "AKIDexample");
    let name = "authenticate.txt: authenticate: the worked example of spec/wire.md";
    let vectors = vector::all();
    let vector = vectors.iter().find(|vector| vector.name == name).unwrap();
    let in_frame = &vector.bytes[FrameHeader::LEN..FrameHeader::LEN + 32];
    assert_eq!(in_frame, signature);
    let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(include_str!("../../../spec/wire.md").contains(&hex));
    assert!(verify_signature(
        b"correct horse battery staple",
        &nonce,
        "AKIDexample",
        &signature
    ));
}
