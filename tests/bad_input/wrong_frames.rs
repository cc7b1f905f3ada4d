//! Frames that no client should send, and what comes back.

use bytes::{BufMut, BytesMut};
use sampan_protocol::{ErrorReply, Reply};

use crate::wire::Wire;

impl Wire {
    /// Writes a frame of any kind and payload; returns its id.
    pub(crate) fn frame(&mut self, kind: u8, payload: &[u8]) -> u64 {
        let len = u32::try_from(payload.len()).expect("a short payload");
        let bytes = frame_bytes(len, kind, self.next_id, payload);
        self.write(&bytes);
        self.next_id += 1;
        self.next_id - 1
    }
}

/// An error reply, or a panic that shows what came instead.
pub(crate) fn refusal(reply: Reply) -> ErrorReply {
    match reply {
        Reply::Error(error) => error,
        other => panic!("not refused: {other:?}"),
    }
}

/// A frame whose header says what it is told to.
pub(crate) fn frame_bytes(payload_len: u32, kind: u8, id: u64, payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u32_le(payload_len);
    bytes.put_u8(kind);
    bytes.put_u8(0);
    bytes.put_u16_le(0);
    bytes.put_u64_le(id);
    bytes.put_slice(payload);
    bytes
}
