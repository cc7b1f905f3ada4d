//! Receipt handles of one frame, and what became of each.
//!
//! Spec: spec/wire.md, "Handles" and "Handle results".

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::BATCH_COUNT_MAX;
use crate::reader::Reader;
use crate::{DecodeError, ErrorCode, ReceiptHandle};

/// Length of one encoded handle.
const HANDLE_LEN: usize = 8;

/// 1 to 256 receipt handles in the bytes they came in. Cloning copies a reference.
///
/// Invariant: whole handles, 1 to [`BATCH_COUNT_MAX`] of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handles {
    bytes: Bytes,
}

impl Handles {
    /// Takes over `bytes` when they are 1 to 256 whole handles. Nothing is allocated.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::MalformedFrame`] for half a handle, [`ErrorCode::BatchOutOfRange`] for none or
    /// too many.
    pub fn decode(bytes: Bytes) -> Result<Self, ErrorCode> {
        if !bytes.len().is_multiple_of(HANDLE_LEN) {
            return Err(ErrorCode::MalformedFrame);
        }
        if bytes.is_empty() || bytes.len() > BATCH_COUNT_MAX * HANDLE_LEN {
            return Err(ErrorCode::BatchOutOfRange);
        }
        Ok(Handles { bytes })
    }

    /// How many there are: 1 to 256.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.bytes.len() / HANDLE_LEN
    }

    /// The handles in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ReceiptHandle> + Clone + '_ {
        self.bytes.chunks_exact(HANDLE_LEN).map(|handle| {
            let handle = handle.try_into().expect("chunks_exact gives whole handles");
            ReceiptHandle(u64::from_le_bytes(handle))
        })
    }

    /// The handles as they travel, little-endian, without their count.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn take(reader: &mut Reader) -> Result<Self, DecodeError> {
        let at = reader.at();
        let count = usize::from(reader.take_u16("handle count")?);
        let bytes = reader.take(count * HANDLE_LEN, "handles")?;
        Handles::decode(bytes).map_err(|code| DecodeError::Invalid {
            what: "handles",
            at,
            code,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(u16::try_from(self.len()).expect("there are at most 256 handles"));
        out.put_slice(&self.bytes);
    }
}

/// # Panics
///
/// When there is no handle, or more than [`BATCH_COUNT_MAX`]: whoever gathers handles for a frame
/// counts them.
impl FromIterator<ReceiptHandle> for Handles {
    fn from_iter<I: IntoIterator<Item = ReceiptHandle>>(handles: I) -> Self {
        let mut bytes = BytesMut::new();
        for handle in handles {
            bytes.put_u64_le(handle.0);
        }
        Handles::decode(bytes.freeze()).expect("a frame has 1 to 256 handles")
    }
}

/// What became of the handles of one request: those that failed; all others were done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandleResults {
    /// 0-based place in the request, ascending, and why.
    pub failures: Vec<(u16, ErrorCode)>,
}

impl HandleResults {
    /// Reads the payload of a reply.
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let at = reader.at();
        let count = reader.take_u16("failure count")?;
        if usize::from(count) > BATCH_COUNT_MAX {
            let code = ErrorCode::MalformedFrame;
            return Err(DecodeError::Invalid {
                what: "failure count",
                at,
                code,
            });
        }
        let mut failures = Vec::new();
        let mut place_min = 0;
        for _ in 0..count {
            let failure = take_failure(&mut reader, place_min)?;
            place_min = failure.0 + 1;
            failures.push(failure);
        }
        reader.finish()?;
        Ok(HandleResults { failures })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let count = u16::try_from(self.failures.len()).expect("at most one failure per handle");
        out.put_u16_le(count);
        for (place, code) in &self.failures {
            out.put_u16_le(*place);
            out.put_u16_le(code.number());
        }
    }
}

fn take_failure(reader: &mut Reader, place_min: u16) -> Result<(u16, ErrorCode), DecodeError> {
    let at = reader.at();
    let place = reader.take_u16("place of a failure")?;
    let number = reader.take_u16("number of a failure")?;
    let in_order = place >= place_min && usize::from(place) < BATCH_COUNT_MAX;
    match ErrorCode::from_number(number) {
        Some(code) if in_order => Ok((place, code)),
        _ => Err(DecodeError::Invalid {
            what: "failure",
            at,
            code: ErrorCode::MalformedFrame,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_come_out_as_they_went_in() {
        let given = [ReceiptHandle(1), ReceiptHandle(u64::MAX), ReceiptHandle(0)];
        let handles = Handles::from_iter(given);
        assert_eq!(handles.len(), 3);
        assert!(handles.iter().eq(given));
        assert_eq!(Handles::decode(handles.as_bytes().clone()), Ok(handles));
    }

    #[test]
    fn none_half_and_too_many_handles_are_refused() {
        let decode = |len: usize| Handles::decode(Bytes::from(vec![0; len])).map(|_| ());
        assert_eq!(decode(0), Err(ErrorCode::BatchOutOfRange));
        assert_eq!(decode(12), Err(ErrorCode::MalformedFrame));
        assert_eq!(decode(256 * 8), Ok(()));
        assert_eq!(decode(257 * 8), Err(ErrorCode::BatchOutOfRange));
    }

    #[test]
    fn failures_out_of_order_are_refused() {
        let code = ErrorCode::ReceiptExpired;
        for failures in [
            vec![(1, code), (1, code)],
            vec![(2, code), (1, code)],
            vec![(256, code)],
        ] {
            let mut out = BytesMut::new();
            HandleResults { failures }.encode(&mut out);
            assert!(HandleResults::decode(out.freeze()).is_err());
        }
    }
}
