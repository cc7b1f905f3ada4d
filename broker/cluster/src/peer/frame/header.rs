//! The header of a peer frame, and frames on their way out.
//!
//! The head of a payload is what the header's checksum of it covers: all of it, but for an append,
//! whose entries have checksums of their own. One checksum over the whole frame would have to be
//! computed for each peer again.
//!
//! Spec: spec/peer.md, "Frames".

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::FrameError;
use crate::peer::limits::PEER_PAYLOAD_LEN_MAX;

/// Stands for "the node itself" where a set is named.
pub(crate) const NODE: u32 = u32::MAX;
/// Append: the first request of its stream.
pub(crate) const FLAG_OPEN: u8 = 1;
/// Append: the last request of its stream.
pub(crate) const FLAG_LAST: u8 = 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    Hello = 0x01,
    Welcome = 0x02,
    Refused = 0x03,
    Pulse = 0x04,
    Append = 0x10,
    Appended = 0x11,
    AppendEnd = 0x12,
    AppendFailed = 0x13,
    Call = 0x20,
    CallReply = 0x21,
    CallFailed = 0x22,
}

impl FrameKind {
    pub(crate) const ALL: [FrameKind; 11] = [
        FrameKind::Hello,
        FrameKind::Welcome,
        FrameKind::Refused,
        FrameKind::Pulse,
        FrameKind::Append,
        FrameKind::Appended,
        FrameKind::AppendEnd,
        FrameKind::AppendFailed,
        FrameKind::Call,
        FrameKind::CallReply,
        FrameKind::CallFailed,
    ];

    /// Its number on the wire.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    fn decode(number: u8) -> Result<Self, FrameError> {
        let found = FrameKind::ALL.iter().find(|kind| kind.number() == number);
        found.copied().ok_or(FrameError::Kind(number))
    }

    fn flags(self) -> u8 {
        match self {
            FrameKind::Append => FLAG_OPEN | FLAG_LAST,
            _ => 0,
        }
    }
}

/// The first bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) payload_len: u32,
    pub(crate) kind: FrameKind,
    pub(crate) flags: u8,
    /// [`NODE`] when the frame is about no set.
    pub(crate) set: u32,
    /// Of the call or the stream; 0 for other kinds.
    pub(crate) id: u64,
    /// How much of the payload `head_crc` covers.
    pub(crate) head_len: u32,
    pub(crate) head_crc: u32,
}

impl FrameHeader {
    pub(crate) const LEN: usize = 32;

    /// What lies before the header's own checksum.
    const CHECKED_LEN: usize = 28;

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..4].copy_from_slice(&self.payload_len.to_le_bytes());
        out[4] = self.kind.number();
        out[5] = self.flags;
        out[8..12].copy_from_slice(&self.set.to_le_bytes());
        out[12..16].copy_from_slice(&self.head_len.to_le_bytes());
        out[16..24].copy_from_slice(&self.id.to_le_bytes());
        out[24..28].copy_from_slice(&self.head_crc.to_le_bytes());
        let checksum = crc32c::crc32c(&out[..Self::CHECKED_LEN]);
        out[Self::CHECKED_LEN..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, FrameError> {
        let u32_at = |at: usize| {
            let four = bytes[at..].first_chunk().expect("the header has 32 bytes");
            u32::from_le_bytes(*four)
        };
        if crc32c::crc32c(&bytes[..Self::CHECKED_LEN]) != u32_at(Self::CHECKED_LEN) {
            return Err(FrameError::Checksum("a header"));
        }
        let kind = FrameKind::decode(bytes[4])?;
        if bytes[5] & !kind.flags() != 0 {
            return Err(FrameError::Reserved("flags"));
        }
        if bytes[6..8] != [0; 2] {
            return Err(FrameError::Reserved("header field"));
        }
        let header = FrameHeader {
            payload_len: u32_at(0),
            kind,
            flags: bytes[5],
            set: u32_at(8),
            id: u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32,
            head_len: u32_at(12),
            head_crc: u32_at(24),
        };
        header.check_lens()?;
        Ok(header)
    }

    fn check_lens(&self) -> Result<(), FrameError> {
        if self.payload_len() > PEER_PAYLOAD_LEN_MAX {
            let (len, max) = (self.payload_len(), PEER_PAYLOAD_LEN_MAX);
            return Err(FrameError::TooLong { len, max });
        }
        let is_covered = match self.kind {
            FrameKind::Append => self.head_len <= self.payload_len,
            _ => self.head_len == self.payload_len,
        };
        match is_covered {
            true => Ok(()),
            false => Err(FrameError::Range("length of the head")),
        }
    }

    pub(crate) fn payload_len(&self) -> usize {
        self.payload_len as usize
    }
}

/// A frame that has come whole; its head's checksum was right.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) payload: Bytes,
}

/// A frame to be written: its first bytes, and what follows them as it lies in memory.
#[derive(Clone, Debug)]
pub(crate) struct OutFrame {
    pub(crate) kind: FrameKind,
    pub(crate) flags: u8,
    pub(crate) id: u64,
    /// Header and what belongs to it.
    pub(crate) start: Bytes,
    pub(crate) rest: Vec<Bytes>,
    pub(crate) len: usize,
}

impl OutFrame {
    /// A frame whose whole payload `put` writes.
    pub(crate) fn new(
        kind: FrameKind,
        set: u32,
        id: u64,
        put: impl FnOnce(&mut BytesMut),
    ) -> OutFrame {
        OutFrame::with_rest(kind, 0, (set, id), put, Vec::new(), false)
    }

    /// A frame whose payload `put` begins and `rest` ends.
    ///
    /// `is_rest_covered`: whether the head's checksum is to cover it too.
    pub(crate) fn with_rest(
        kind: FrameKind,
        flags: u8,
        (set, id): (u32, u64),
        put: impl FnOnce(&mut BytesMut),
        rest: Vec<Bytes>,
        is_rest_covered: bool,
    ) -> OutFrame {
        let mut start = BytesMut::with_capacity(128);
        start.put_bytes(0, FrameHeader::LEN);
        put(&mut start);
        let mut head_len = start.len() - FrameHeader::LEN;
        let mut head_crc = crc32c::crc32c(&start[FrameHeader::LEN..]);
        let rest_len: usize = rest.iter().map(Bytes::len).sum();
        let payload_len = head_len + rest_len;
        if is_rest_covered {
            head_len = payload_len;
            head_crc = rest
                .iter()
                .fold(head_crc, |crc, piece| crc32c::crc32c_append(crc, piece));
        }
        let short = |len: usize| {
            u32::try_from(len).expect("whoever makes a frame keeps its limit of 8 MiB")
        };
        let header = FrameHeader {
            payload_len: short(payload_len),
            kind,
            flags,
            set,
            id,
            head_len: short(head_len),
            head_crc,
        };
        start[..FrameHeader::LEN].copy_from_slice(&header.encode());
        OutFrame {
            kind,
            flags,
            id,
            start: start.freeze(),
            rest,
            len: FrameHeader::LEN + payload_len,
        }
    }

    /// The frame's bytes in one piece.
    #[cfg(test)]
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::from(&self.start[..]);
        self.rest.iter().for_each(|piece| out.put_slice(piece));
        out.freeze()
    }
}
