//! Takes fields off a payload, one after another, and never reads past its end.

use bytes::{BufMut, Bytes, BytesMut};

use crate::peer::limits::PEER_TEXT_LEN_MAX;

/// Bytes that are not a frame of this protocol. The connection is closed: the bounds of what
/// follows are unknown, or its sender is not what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("frame ends before its {0}")]
    Short(&'static str),
    #[error("{0} bytes behind the last field of a frame")]
    Surplus(usize),
    #[error("frame of unknown kind {0:#04x}")]
    Kind(u8),
    #[error("reserved {0} is not zero")]
    Reserved(&'static str),
    #[error("{0} is out of range")]
    Range(&'static str),
    #[error("frame of {len} bytes, at most {max} are allowed")]
    TooLong { len: usize, max: usize },
    #[error("checksum of {0} does not match")]
    Checksum(&'static str),
    #[error("the first bytes are not those of a node")]
    Magic,
}

/// A cursor over one payload.
#[derive(Debug)]
pub(crate) struct Fields {
    bytes: Bytes,
}

impl Fields {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Fields { bytes }
    }

    /// The next `len` bytes, shared.
    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<Bytes, FrameError> {
        if self.bytes.len() < len {
            return Err(FrameError::Short(what));
        }
        Ok(self.bytes.split_to(len))
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FrameError> {
        let bytes = self.take(N, what)?;
        Ok(*bytes.first_chunk().expect("exactly so many were taken"))
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, FrameError> {
        Ok(self.array::<1>(what)?[0])
    }

    /// A byte that is 0 or 1.
    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, FrameError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FrameError::Range(what)),
        }
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, FrameError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, FrameError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, FrameError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Result<u128, FrameError> {
        self.array(what).map(u128::from_le_bytes)
    }

    /// A text behind its length (u16).
    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, FrameError> {
        let len = usize::from(self.u16(what)?);
        if len > PEER_TEXT_LEN_MAX {
            return Err(FrameError::Range(what));
        }
        let bytes = self.take(len, what)?;
        String::from_utf8(bytes.into()).map_err(|_| FrameError::Range(what))
    }

    pub(crate) fn remaining_len(&self) -> usize {
        self.bytes.len()
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> Bytes {
        self.bytes
    }

    /// Passes when nothing is left.
    pub(crate) fn end(self) -> Result<(), FrameError> {
        match self.bytes.len() {
            0 => Ok(()),
            len => Err(FrameError::Surplus(len)),
        }
    }
}

/// Appends a text behind its length, cut at [`PEER_TEXT_LEN_MAX`].
pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    let mut len = text.len().min(PEER_TEXT_LEN_MAX);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    out.put_u16_le(u16::try_from(len).expect("the limit is below 65,536"));
    out.put_slice(&text.as_bytes()[..len]);
}
