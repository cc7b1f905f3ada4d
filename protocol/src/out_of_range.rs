//! A refusal that names the limit it rests on.

use std::fmt::Display;

use crate::ErrorCode;

/// A value is outside its range; the text says which, and the range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct OutOfRange {
    /// The number of the refusal.
    pub code: ErrorCode,
    /// Lower case, no full stop.
    pub text: String,
}

impl OutOfRange {
    /// A refusal with a text of the caller's.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        OutOfRange {
            code,
            text: text.into(),
        }
    }

    /// Passes when `value` lies in `min..=max`.
    pub(crate) fn check<T: PartialOrd + Display>(
        code: ErrorCode,
        what: &str,
        value: T,
        min: T,
        max: T,
    ) -> Result<(), OutOfRange> {
        if value >= min && value <= max {
            return Ok(());
        }
        Err(OutOfRange::new(
            code,
            format!("{what} is {value}, allowed are {min} to {max}"),
        ))
    }
}
