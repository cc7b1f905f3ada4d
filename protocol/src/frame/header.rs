//! The header of every frame, and the numbers of the kinds.
//!
//! 16 bytes, little-endian: payload length u32, kind u8, flags u8, reserved u16, request id u64.
//! The reply to kind K has kind K | 0x80; an error has 0xFF whatever it answers.
//!
//! Spec: spec/wire.md, "Frames".

use bytes::{BufMut, Bytes, BytesMut};

use crate::DecodeError;
use crate::lengths::to_usize;

/// The numbers of the request kinds.
pub mod kind {
    /// Agree on a version.
    pub const HELLO: u8 = 0x01;
    /// Answer the challenge of the hello reply.
    pub const AUTHENTICATE: u8 = 0x02;
    /// Ask for a sign of life.
    pub const PING: u8 = 0x03;
    /// Create a queue.
    pub const QUEUE_CREATE: u8 = 0x10;
    /// Change attributes of a queue.
    pub const QUEUE_SET: u8 = 0x11;
    /// Describe a queue.
    pub const QUEUE_SHOW: u8 = 0x12;
    /// List names of queues.
    pub const QUEUE_LIST: u8 = 0x13;
    /// Delete a queue with its messages.
    pub const QUEUE_DELETE: u8 = 0x14;
    /// Ask which node leads the set of a queue.
    pub const ROUTE: u8 = 0x15;
    /// Remove everything in a queue.
    pub const QUEUE_PURGE: u8 = 0x16;
    /// Make deleted messages ready again.
    pub const QUEUE_REWIND: u8 = 0x17;
    /// Move messages back to where they came from.
    pub const REDRIVE: u8 = 0x18;
    /// How far a redrive is.
    pub const REDRIVE_STATUS: u8 = 0x19;
    /// End a redrive.
    pub const REDRIVE_CANCEL: u8 = 0x1A;
    /// Send messages.
    pub const SEND: u8 = 0x20;
    /// Receive messages.
    pub const RECEIVE: u8 = 0x21;
    /// Delete received messages.
    pub const DELETE: u8 = 0x22;
    /// Hide received messages for longer, or no longer.
    pub const CHANGE_VISIBILITY: u8 = 0x23;
    /// Look at messages without receiving them.
    pub const PEEK: u8 = 0x24;
    /// Give a delayed message another instant, or remove it.
    pub const RESCHEDULE: u8 = 0x25;
    /// Ask something of the cluster, as an operator.
    pub const ADMIN: u8 = 0x30;

    /// Every request kind, ascending.
    pub const ALL: &[u8] = &[
        HELLO,
        AUTHENTICATE,
        PING,
        QUEUE_CREATE,
        QUEUE_SET,
        QUEUE_SHOW,
        QUEUE_LIST,
        QUEUE_DELETE,
        ROUTE,
        QUEUE_PURGE,
        QUEUE_REWIND,
        REDRIVE,
        REDRIVE_STATUS,
        REDRIVE_CANCEL,
        SEND,
        RECEIVE,
        DELETE,
        CHANGE_VISIBILITY,
        PEEK,
        RESCHEDULE,
        ADMIN,
    ];

    /// Set in the kind of a reply.
    pub const REPLY: u8 = 0x80;
    /// The kind of an error.
    pub const ERROR: u8 = 0xFF;
}

/// What stands before each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the payload, without this header.
    pub payload_len: u32,
    /// What the payload is: see [`kind`].
    pub kind: u8,
    /// [`FrameHeader::MORE`] or 0.
    pub flags: u8,
    /// The client's number for the request; the reply has the same. 0: about the connection.
    pub request_id: u64,
}

impl FrameHeader {
    /// Length of an encoded header.
    pub const LEN: usize = 16;
    /// Flag: another frame of the same reply follows.
    pub const MORE: u8 = 1;

    /// Whether another frame of the same reply follows.
    pub const fn has_more(&self) -> bool {
        self.flags & FrameHeader::MORE != 0
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// [`DecodeError::HeaderReserved`].
    pub fn decode(bytes: &[u8; FrameHeader::LEN]) -> Result<Self, DecodeError> {
        let [l0, l1, l2, l3, kind, flags, r0, r1, request_id @ ..] = *bytes;
        let reserved = u16::from_le_bytes([r0, r1]);
        if reserved != 0 || flags & !FrameHeader::MORE != 0 {
            return Err(DecodeError::HeaderReserved { flags, reserved });
        }
        let payload_len = u32::from_le_bytes([l0, l1, l2, l3]);
        let request_id = u64::from_le_bytes(request_id);
        Ok(FrameHeader {
            payload_len,
            kind,
            flags,
            request_id,
        })
    }

    /// Appends the header.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.payload_len);
        out.put_u8(self.kind);
        out.put_u8(self.flags);
        out.put_u16_le(0);
        out.put_u64_le(self.request_id);
    }

    pub(crate) fn payload_len(&self) -> usize {
        to_usize(self.payload_len)
    }
}

/// A whole frame. Cloning copies a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: FrameHeader,
    /// As many bytes as the header says, shared with the buffer they were read into.
    pub payload: Bytes,
}

/// Appends a frame whose payload is what `encode` appends.
pub(crate) fn put_frame(
    kind: u8,
    flags: u8,
    request_id: u64,
    out: &mut BytesMut,
    encode: impl FnOnce(&mut BytesMut),
) {
    let start = out.len();
    FrameHeader {
        payload_len: 0,
        kind,
        flags,
        request_id,
    }
    .encode(out);
    encode(out);
    let payload_len = u32::try_from(out.len() - start - FrameHeader::LEN)
        .expect("every part of a payload is within its limit, far below 4 GiB");
    out[start..start + 4].copy_from_slice(&payload_len.to_le_bytes());
}
