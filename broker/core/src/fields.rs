//! Fields of stored bytes: entries and rows are read through [`Fields`], which checks every step.
//!
//! What is read here was on a disk or came from another replica, so nothing is trusted: a length
//! that is not there is an error, and nothing is allocated by what a length claims.
//!
//! Integers are little-endian. A varint has seven bits a byte, the lowest first, at most ten bytes.
//! Spec: spec/state.md, "Notation".

use sampan_protocol::Timestamp;

/// Why stored bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A field reaches past the end.
    #[error("bytes end too early")]
    Short,
    /// Something follows the last field.
    #[error("bytes left over")]
    Surplus,
    /// A number is outside its range, or two fields contradict each other.
    #[error("field out of range")]
    Range,
    /// A newer format, or no format at all.
    #[error("unknown format version {0}")]
    Version(u8),
    /// A kind that this version does not know.
    #[error("unknown kind {0}")]
    Kind(u8),
}

/// A cursor over stored bytes.
#[derive(Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Fields(bytes)
    }

    /// Reads the format version and refuses any but `known`.
    pub(crate) fn version(&mut self, known: u8) -> Result<(), FieldError> {
        match self.u8()? {
            version if version == known => Ok(()),
            other => Err(FieldError::Version(other)),
        }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], FieldError> {
        let (field, rest) = self.0.split_at_checked(len).ok_or(FieldError::Short)?;
        self.0 = rest;
        Ok(field)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], FieldError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(FieldError::Short)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FieldError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FieldError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FieldError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FieldError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, FieldError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// One byte: 0 or 1.
    pub(crate) fn flag(&mut self) -> Result<bool, FieldError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FieldError::Range),
        }
    }

    pub(crate) fn timestamp(&mut self) -> Result<Timestamp, FieldError> {
        Ok(Timestamp(self.u64()?))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, FieldError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(FieldError::Range);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FieldError::Range)
    }

    /// UTF-8 text behind its u16 length.
    pub(crate) fn text(&mut self) -> Result<&'a str, FieldError> {
        let len = usize::from(self.u16()?);
        std::str::from_utf8(self.bytes(len)?).map_err(|_| FieldError::Range)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn remaining_len(&self) -> usize {
        self.0.len()
    }

    /// Says that nothing may follow.
    pub(crate) fn end(self) -> Result<(), FieldError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(FieldError::Surplus)
        }
    }
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends UTF-8 text behind its u16 length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let len =
        u16::try_from(text.len()).expect("names are checked to be short before they get here");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A signed number as an unsigned one, small in size when small in value.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_size_come_back() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, value);
                let mut fields = Fields::new(&bytes);
                assert_eq!(fields.varint(), Ok(value));
                assert_eq!(fields.end(), Ok(()));
            }
        }
    }

    #[test]
    fn a_varint_over_64_bits_is_refused() {
        assert_eq!(Fields::new(&[0xff; 10]).varint(), Err(FieldError::Range));
        assert_eq!(Fields::new(&[0xff; 3]).varint(), Err(FieldError::Short));
    }

    #[test]
    fn zigzag_comes_back() {
        for value in [0, 1, -1, 77, -78, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
