//! Bodies of fuzz targets, as plain functions, so that a stable test can run them too.
//!
//! They panic on a finding and on nothing else.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};

use crate::limits::FRAME_LEN_MAX;
use crate::{
    DecodeError, ErrorReply, Frame, FrameDecoder, FrameHeader, MessageBatch, Reply, Request,
    headers,
};

/// Feeds `data` to a [`FrameDecoder`] in pieces whose lengths follow from its first byte, and
/// decodes what comes out as request and as reply.
///
/// Findings: other frames than from the same bytes in one piece; a value that encodes to other
/// bytes than it was decoded from; an accepted batch that cannot be walked over.
pub fn frame_decoder(data: &[u8]) {
    let Some((&seed, stream)) = data.split_first() else {
        return;
    };
    let (frames, end) = split(stream.chunks(stream.len().max(1)));
    let (in_pieces, end_in_pieces) = split(Pieces {
        left: stream,
        state: seed,
    });
    assert_eq!(frames, in_pieces, "frames depend on how the bytes arrive");
    assert_eq!(
        end, end_in_pieces,
        "the end depends on how the bytes arrive"
    );
    let mut encoded = BytesMut::new();
    for frame in frames {
        encoded.clear();
        frame.header.encode(&mut encoded);
        encoded.extend_from_slice(&frame.payload);
        check_request(&frame, &encoded);
        check_reply(&frame, &encoded);
    }
}

fn check_request(frame: &Frame, encoded: &[u8]) {
    let decoded = Request::decode(frame.header.kind, frame.payload.clone());
    let Some(request) = accepted(decoded) else {
        return;
    };
    if let Request::Send(send) = &request {
        walk(&send.batch);
    }
    let mut again = BytesMut::new();
    request.encode(frame.header.request_id, &mut again);
    // Flags mean nothing in a request.
    assert_eq!(
        again[FrameHeader::LEN..],
        encoded[FrameHeader::LEN..],
        "{request:?}"
    );
    assert_eq!(request.kind(), frame.header.kind);
}

fn check_reply(frame: &Frame, encoded: &[u8]) {
    let decoded = Reply::decode(frame.header.kind, frame.payload.clone());
    let Some(reply) = accepted(decoded) else {
        return;
    };
    if let Reply::Received(messages) = &reply {
        for message in messages {
            assert!(!message.body.is_empty());
            headers::decode(&message.headers).for_each(drop);
        }
    }
    let mut again = BytesMut::new();
    reply.encode(frame.header.request_id, frame.header.flags, &mut again);
    assert_eq!(again, encoded, "{reply:?}");
}

/// The value, or `None` after a look at the error: it must be one that can be told.
fn accepted<T: Debug>(decoded: Result<T, DecodeError>) -> Option<T> {
    let error = match decoded {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let reply = ErrorReply::from(&error);
    assert!(!reply.text.is_empty() && reply.code() == Some(error.code()));
    None
}

fn walk(batch: &MessageBatch) {
    let len: usize = batch
        .messages(0)
        .map(|(record, _)| record.content_len())
        .sum();
    assert!(len < batch.as_bytes().len());
    for (index, (record, start)) in batch.messages(0).enumerate() {
        let body = batch.body(index).expect("every message has a body");
        assert!(!body.is_empty() && body.len() <= record.content_len());
        let end = start + usize::from(record.headers_len);
        assert_eq!(headers::check(&batch.as_bytes()[start..end]), Ok(()));
        let keys = [
            batch.group_key(&record, start),
            batch.dedup_key(&record, start),
        ];
        let keys_len = keys[0].len() + keys[1].len();
        assert_eq!(end + keys_len + body.len(), start + record.content_len());
    }
    if let Err(index) = batch.check_bodies() {
        assert!(index < batch.count());
    }
}

/// The frames of a stream, and why it ended: by an error, or by so many bytes of a frame.
fn split<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Result<Bytes, DecodeError>) {
    let mut decoder = FrameDecoder::new(FRAME_LEN_MAX);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(buffer.freeze()))
}

/// Cuts bytes into pieces of 1 to 64, by a small generator of its own.
struct Pieces<'a> {
    left: &'a [u8],
    state: u8,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left.is_empty() {
            return None;
        }
        self.state = self.state.wrapping_mul(37).wrapping_add(11);
        let len = usize::from(self.state >> 2) + 1;
        let (piece, left) = self.left.split_at(len.min(self.left.len()));
        self.left = left;
        Some(piece)
    }
}
