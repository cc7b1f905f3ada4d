//! Why bytes from the other side were not understood, and whether the connection survives it.

use crate::{ErrorCode, OutOfRange};

/// Why a frame, or the payload of one, was not accepted.
///
/// Only what makes the bounds of the next frame unknown, or says that the other side does not speak
/// this protocol, is [fatal](DecodeError::fatal). Anything else refuses one request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The header announces a longer payload than is allowed.
    #[error("frame of {len} bytes, at most {max} are allowed")]
    FrameTooLarge {
        /// Length of the payload by its header.
        len: usize,
        /// The longest that is allowed.
        max: usize,
    },
    /// A bit of the header that this version reserves is set.
    #[error(
        "reserved bits of the frame header are set (flags {flags:#04x}, reserved {reserved:#06x})"
    )]
    HeaderReserved {
        /// The flags byte.
        flags: u8,
        /// The reserved field.
        reserved: u16,
    },
    /// A hello that does not begin with the magic bytes.
    #[error("hello without the magic bytes of this protocol")]
    WrongMagic,
    /// A hello whose lowest version is above its highest.
    #[error("hello with versions {min} to {max}")]
    VersionsReversed {
        /// The lowest version it offers.
        min: u16,
        /// The highest version it offers.
        max: u16,
    },
    /// A kind that is not known in this direction.
    #[error("unknown frame kind {0:#04x}")]
    UnknownKind(u8),
    /// The payload ends inside a field.
    #[error("{what} at byte {at} needs {need} bytes and has {have}")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Where it starts in the payload.
        at: usize,
        /// How long it is.
        need: usize,
        /// How much is left.
        have: usize,
    },
    /// Something follows the last field.
    #[error("{len} bytes too many from byte {at} on")]
    Surplus {
        /// Where the last field ended.
        at: usize,
        /// How many bytes follow.
        len: usize,
    },
    /// A field has a value that its kind does not allow.
    #[error("{what} at byte {at}: {code}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// Where it starts in the payload.
        at: usize,
        /// The error that the other side is told.
        code: ErrorCode,
    },
    /// A value outside the range that the protocol sets for it.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

impl DecodeError {
    /// The error number that says it to the other side.
    pub fn code(&self) -> ErrorCode {
        match self {
            DecodeError::FrameTooLarge { .. } => ErrorCode::FrameTooLarge,
            DecodeError::WrongMagic | DecodeError::VersionsReversed { .. } => {
                ErrorCode::UnsupportedVersion
            }
            DecodeError::UnknownKind(_) => ErrorCode::UnknownKind,
            DecodeError::HeaderReserved { .. }
            | DecodeError::Truncated { .. }
            | DecodeError::Surplus { .. } => ErrorCode::MalformedFrame,
            DecodeError::Invalid { code, .. } => *code,
            DecodeError::OutOfRange(refused) => refused.code,
        }
    }

    /// Whether the connection cannot go on.
    pub fn fatal(&self) -> bool {
        matches!(
            self,
            DecodeError::FrameTooLarge { .. }
                | DecodeError::HeaderReserved { .. }
                | DecodeError::WrongMagic
                | DecodeError::VersionsReversed { .. }
        )
    }
}
