//! How long bodies are: all the same, or evenly spread over a range.
//!
//! A body's length follows from its number, so every run sends the same ones, and a sender needs no
//! state for it.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::mix::mixed;

/// Shortest body: it has room for a stamp.
const LEN_MIN: u32 = 16;
/// Longest body that the broker takes.
const LEN_MAX: u32 = 1_048_576;

/// Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyLen {
    min: u32,
    max: u32,
}

impl BodyLen {
    /// All bodies have this length.
    pub(crate) const fn fixed(len: u32) -> Self {
        BodyLen { min: len, max: len }
    }

    pub(crate) fn max(self) -> u32 {
        self.max
    }

    pub(crate) fn mean(self) -> u32 {
        self.min.midpoint(self.max)
    }

    pub(crate) fn is_fixed(self) -> bool {
        self.min == self.max
    }

    /// The length of a message's body.
    pub(crate) fn of(self, number: u64) -> u32 {
        let span = u64::from(self.max - self.min) + 1;
        // Lemire's multiplication: the upper half of the product is below the span.
        let offset = (u128::from(mixed(number)) * u128::from(span)) >> 64;
        self.min + u32::try_from(offset).expect("below the span, which is a u32 or one more")
    }
}

impl FromStr for BodyLen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let len = |text: &str| -> Result<u32, String> {
            let len = text.trim().parse().ok();
            len.filter(|len| (LEN_MIN..=LEN_MAX).contains(len))
                .ok_or_else(|| format!("a body has {LEN_MIN} to {LEN_MAX} bytes"))
        };
        let (min, max) = (len(min)?, len(max)?);
        if min > max {
            return Err("the first length is the shorter one".to_owned());
        }
        Ok(BodyLen { min, max })
    }
}

impl fmt::Display for BodyLen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_fixed() {
            true => write!(f, "{} B", self.max),
            false => write!(f, "{} to {} B", self.min, self.max),
        }
    }
}

/// A number, or for a range its text as on the command line.
impl Serialize for BodyLen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.is_fixed() {
            true => serializer.serialize_u32(self.max),
            false => serializer.collect_str(&format_args!("{}..{}", self.min, self.max)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> BodyLen {
        text.parse().expect(text)
    }

    #[test]
    fn a_length_or_a_range_is_parsed_and_written_alike() {
        assert_eq!(parse("64"), BodyLen::fixed(64));
        let range = parse("64..4096");
        assert_eq!((range.min, range.max, range.mean()), (64, 4_096, 2_080));
        assert_eq!(range.to_string(), "64 to 4096 B");
        let json = |len: BodyLen| serde_json::to_string(&len).expect("plain values");
        assert_eq!(json(range), "\"64..4096\"");
        assert_eq!(json(BodyLen::fixed(64)), "64");
        for text in ["", "8", "64..8", "4096..64", "1..", "x", "64..1048577"] {
            assert!(text.parse::<BodyLen>().is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_a_range_are_evenly_spread_and_the_same_every_time() {
        let range = parse("100..109");
        let mut counts = [0; 10];
        for number in 0..10_000 {
            assert_eq!(range.of(number), range.of(number));
            counts[usize::try_from(range.of(number) - 100).expect("small")] += 1;
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)));
        assert!((0..100).all(|number| BodyLen::fixed(64).of(number) == 64));
        let widest = parse("16..1048576");
        assert!((0..1_000).all(|number| (LEN_MIN..=LEN_MAX).contains(&widest.of(number))));
    }
}
