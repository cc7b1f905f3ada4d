//! Takes fields off a payload, one after another, and never reads past its end.
//!
//! A field that is not there is an error with its name and place; nothing is allocated, and taken
//! bytes share the payload's memory. Every decoder ends with [`Reader::finish`], so that a surplus
//! byte is an error too: two different payloads never decode to one value.

use bytes::Bytes;

use crate::{DecodeError, ErrorCode, MessageId, Name, ReceiptHandle, Timestamp};

/// A cursor over one payload.
#[derive(Debug)]
pub(crate) struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Reader { bytes, at: 0 }
    }

    /// Where the next field starts.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next `len` bytes, shared.
    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        let have = self.bytes.len() - self.at;
        if len > have {
            return Err(DecodeError::Truncated {
                what,
                at: self.at,
                need: len,
                have,
            });
        }
        let field = self.bytes.slice(self.at..self.at + len);
        self.at += len;
        Ok(field)
    }

    /// Everything that is left, shared.
    pub(crate) fn rest(&mut self) -> Bytes {
        let field = self.bytes.slice(self.at..);
        self.at = self.bytes.len();
        field
    }

    pub(crate) fn take_array<const LEN: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; LEN], DecodeError> {
        let left = &self.bytes[self.at..];
        let Some(field) = left.first_chunk() else {
            return Err(DecodeError::Truncated {
                what,
                at: self.at,
                need: LEN,
                have: left.len(),
            });
        };
        self.at += LEN;
        Ok(*field)
    }

    pub(crate) fn take_u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.take_array(what)?))
    }

    pub(crate) fn take_u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.take_array(what)?))
    }

    pub(crate) fn take_u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.take_array(what)?))
    }

    pub(crate) fn take_u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.take_array(what)?))
    }

    pub(crate) fn take_timestamp(&mut self, what: &'static str) -> Result<Timestamp, DecodeError> {
        self.take_u64(what).map(Timestamp)
    }

    pub(crate) fn take_message_id(&mut self) -> Result<MessageId, DecodeError> {
        self.take_below_signed("message id").map(MessageId)
    }

    pub(crate) fn take_handle(&mut self) -> Result<ReceiptHandle, DecodeError> {
        self.take_below_signed("receipt handle").map(ReceiptHandle)
    }

    /// An integer that readers with signed integers must be able to hold.
    fn take_below_signed(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let at = self.at;
        match self.take_u64(what)? {
            value if value >> 63 == 0 => Ok(value),
            _ => Err(DecodeError::Invalid {
                what,
                at,
                code: ErrorCode::MalformedFrame,
            }),
        }
    }

    /// A text of up to 255 bytes behind its length.
    pub(crate) fn take_name(&mut self, what: &'static str) -> Result<Name, DecodeError> {
        let at = self.at;
        let len = self.take_u8(what)?;
        let bytes = self.take(usize::from(len), what)?;
        Name::from_utf8(bytes).ok_or(DecodeError::Invalid {
            what,
            at,
            code: ErrorCode::MalformedFrame,
        })
    }

    /// A reserved field of `LEN` bytes.
    pub(crate) fn take_zeros<const LEN: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<(), DecodeError> {
        let at = self.at;
        match self.take_array::<LEN>(what)? {
            bytes if bytes == [0; LEN] => Ok(()),
            _ => Err(DecodeError::Invalid {
                what,
                at,
                code: ErrorCode::ReservedField,
            }),
        }
    }

    /// Passes when everything was taken.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            len => Err(DecodeError::Surplus { at: self.at, len }),
        }
    }
}
