//! Short texts of a frame: queue names, prefixes, SecretIds.
//!
//! Owns the UTF-8 check and the rule for queue names. A name that was decoded shares the memory of
//! its frame; whoever keeps it for longer than the request makes a `String` of it, for a slice of a
//! few bytes would hold the whole read buffer.
//!
//! Invariant: valid UTF-8 of at most [`Name::LEN_MAX`] bytes.
//! Spec: spec/wire.md, "Notation" and "Queue names".

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::ErrorCode;
use crate::limits::{QUEUE_NAME_LEN_MAX, SECRET_ID_LEN_MAX};

const _: () = assert!(Name::LEN_MAX > QUEUE_NAME_LEN_MAX && Name::LEN_MAX > SECRET_ID_LEN_MAX);

/// A text of up to 255 bytes. Cloning copies a reference.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    bytes: Bytes,
}

impl Name {
    /// What one byte of length can say; longer than any name the broker accepts.
    pub const LEN_MAX: usize = 255;

    /// Takes over `bytes` when they are UTF-8 of at most [`Name::LEN_MAX`] bytes.
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        let valid = bytes.len() <= Self::LEN_MAX && std::str::from_utf8(&bytes).is_ok();
        valid.then_some(Name { bytes })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("from_utf8 and From<&str> let only UTF-8 in")
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the text has no character.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_name(self.as_str(), out);
    }
}

/// Appends `text` behind its length, cut to [`Name::LEN_MAX`] bytes.
pub(crate) fn put_name(text: &str, out: &mut BytesMut) {
    let text = cut(text, Name::LEN_MAX);
    out.put_u8(u8::try_from(text.len()).expect("the text was cut to 255 bytes"));
    out.put_slice(text.as_bytes());
}

/// The longest beginning of `text` that has at most `len_max` bytes and ends between characters.
pub(crate) fn cut(text: &str, len_max: usize) -> &str {
    let mut end = text.len().min(len_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A longer text is cut to [`Name::LEN_MAX`] bytes: still too long for any name, so that the
/// broker refuses it as it refuses every name that is too long.
impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Name {
            bytes: Bytes::copy_from_slice(cut(text, Name::LEN_MAX).as_bytes()),
        }
    }
}

impl From<&String> for Name {
    fn from(text: &String) -> Self {
        Name::from(text.as_str())
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Passes for a name that a queue may have: 1 to 64 letters, digits, `-` or `_`, the first a
/// letter, all of them ASCII.
///
/// # Errors
///
/// [`ErrorCode::InvalidQueueName`].
pub fn check_queue_name(name: &str) -> Result<(), ErrorCode> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let valid = name.len() <= QUEUE_NAME_LEN_MAX
        && name
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
        && name.bytes().all(allowed);
    if valid {
        Ok(())
    } else {
        Err(ErrorCode::InvalidQueueName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_names_are_letters_digits_dash_and_underscore_after_a_letter() {
        for name in ["a", "Orders", "a-b_9", &"x".repeat(64)] {
            assert_eq!(check_queue_name(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "9a",
            "-a",
            "_a",
            "a b",
            "a.b",
            "ä",
            "aä",
            &"x".repeat(65),
        ] {
            assert_eq!(
                check_queue_name(name),
                Err(ErrorCode::InvalidQueueName),
                "{name}"
            );
        }
    }

    #[test]
    fn text_over_255_bytes_is_cut_between_characters() {
        let name = Name::from("ä".repeat(200).as_str());
        assert_eq!(name.len(), 254);
        assert!(check_queue_name(name.as_str()).is_err());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_no_name() {
        assert_eq!(Name::from_utf8(Bytes::from_static(&[b'a', 0xFF])), None);
        assert_eq!(Name::from_utf8(Bytes::from(vec![b'a'; 256])), None);
    }
}
