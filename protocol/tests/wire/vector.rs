//! Reads `spec/vectors/wire`; the format is described there.

use std::fs;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use sampan_protocol::limits::FRAME_LEN_MAX;
use sampan_protocol::{DecodeError, Frame, FrameDecoder, Reply, Request, kind};

/// One frame, and what it means.
#[derive(Debug, Default)]
pub(crate) struct Vector {
    /// File and title.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Lines `NAME = VALUE`.
    pub(crate) fields: Vec<String>,
}

/// What a frame carries.
#[derive(Debug, PartialEq)]
pub(crate) enum Value {
    Request(Request),
    Reply(Reply),
}

/// Every vector of every file, in the order of their names.
pub(crate) fn all() -> Vec<Vector> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/wire");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let vectors: Vec<_> = paths
        .iter()
        .flat_map(|path| {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            parse(&file, &fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(!vectors.is_empty());
    vectors
}

fn parse(file: &str, text: &str) -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    let mut in_fields = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(title) = line.strip_prefix("== ") {
            vectors.push(Vector {
                name: format!("{file}: {title}"),
                ..Vector::default()
            });
        } else if line == "-- bytes" || line == "-- fields" {
            in_fields = line == "-- fields";
        } else if let Some(vector) = vectors.last_mut() {
            if in_fields {
                vector.fields.push(line.to_owned());
            } else {
                vector.bytes.extend(hex(line.split('#').next().unwrap()));
            }
        } else {
            assert!(
                line.starts_with('#'),
                "{file}: {line:?} before the first vector"
            );
        }
    }
    vectors
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// The one frame that `bytes` are; `None` when it is not whole.
pub(crate) fn decode_frame(bytes: &[u8]) -> Result<Option<Frame>, DecodeError> {
    let mut buffer = BytesMut::from(bytes);
    let frame = FrameDecoder::new(FRAME_LEN_MAX).decode(&mut buffer)?;
    Ok(frame.filter(|_| buffer.is_empty()))
}

/// Decodes a payload as what its kind says it is.
pub(crate) fn decode_value(kind: u8, payload: Bytes) -> Result<Value, DecodeError> {
    if kind & kind::REPLY == 0 {
        Request::decode(kind, payload).map(Value::Request)
    } else {
        Reply::decode(kind, payload).map(Value::Reply)
    }
}
