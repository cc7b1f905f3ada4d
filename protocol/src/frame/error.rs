//! Error: why a request was refused, or why the connection ends.
//!
//! The number may be one that the reader does not know yet; what it needs to go on (whether
//! anything happened, when to try again) is beside it.
//!
//! Spec: spec/wire.md, "Error", and spec/errors.md.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::ERROR_TEXT_LEN_MAX;
use crate::name::cut;
use crate::reader::Reader;
use crate::{Applied, DecodeError, ErrorCode, OutOfRange};

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ErrorReply {
    /// The number of `spec/errors.md`.
    pub number: u16,
    /// Whether the request changed anything.
    pub applied: Applied,
    /// How long to wait before trying again; 0 when there is no advice.
    pub retry_after_ms: u32,
    /// For people; at most [`ERROR_TEXT_LEN_MAX`] bytes.
    pub text: String,
}

impl ErrorReply {
    /// A refusal with `code` and a text, which is cut at [`ERROR_TEXT_LEN_MAX`] bytes.
    pub fn new(code: ErrorCode, text: &str) -> Self {
        ErrorReply {
            number: code.number(),
            applied: code.applied(),
            retry_after_ms: 0,
            text: cut(text, ERROR_TEXT_LEN_MAX).to_owned(),
        }
    }

    /// The code, when it is one that this version knows.
    pub fn code(&self) -> Option<ErrorCode> {
        ErrorCode::from_number(self.number)
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let number = reader.take_u16("error number")?;
        let applied = match reader.take_u8("applied")? {
            0 => Applied::No,
            1 => Applied::Yes,
            2 => Applied::Unknown,
            _ => return Err(invalid("applied", 2)),
        };
        reader.take_zeros::<1>("reserved")?;
        let retry_after_ms = reader.take_u32("retry_after_ms")?;
        let at = reader.at();
        let text_len = usize::from(reader.take_u16("length of the text")?);
        if text_len > ERROR_TEXT_LEN_MAX {
            return Err(invalid("length of the text", at));
        }
        let text = reader.take(text_len, "text")?;
        let text = std::str::from_utf8(&text)
            .map_err(|_| invalid("text", at))?
            .to_owned();
        reader.finish()?;
        Ok(ErrorReply {
            number,
            applied,
            retry_after_ms,
            text,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let text = cut(&self.text, ERROR_TEXT_LEN_MAX);
        out.put_u16_le(self.number);
        out.put_u8(match self.applied {
            Applied::No => 0,
            Applied::Yes => 1,
            Applied::Unknown => 2,
        });
        out.put_u8(0);
        out.put_u32_le(self.retry_after_ms);
        out.put_u16_le(u16::try_from(text.len()).expect("the text was cut to 1 KiB"));
        out.put_slice(text.as_bytes());
    }
}

/// A refusal with the text of the code itself.
impl From<ErrorCode> for ErrorReply {
    fn from(code: ErrorCode) -> Self {
        ErrorReply::new(code, code.text())
    }
}

impl From<&DecodeError> for ErrorReply {
    fn from(error: &DecodeError) -> Self {
        ErrorReply::new(error.code(), &error.to_string())
    }
}

impl From<OutOfRange> for ErrorReply {
    fn from(refused: OutOfRange) -> Self {
        ErrorReply::new(refused.code, &refused.text)
    }
}

fn invalid(what: &'static str, at: usize) -> DecodeError {
    DecodeError::Invalid {
        what,
        at,
        code: ErrorCode::MalformedFrame,
    }
}
