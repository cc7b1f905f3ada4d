//! How many messages of a group there are, and how many bytes they have together.
//!
//! The length of each message is not in memory. One that leaves its group takes a mean length
//! along: the bytes divided by the messages, rounded down; the last one takes what is left. So the
//! bytes are 0 exactly when the group is empty, they are exact when its messages are of one length,
//! and the mean of what stays lies between the shortest and the longest there ever were.
//!
//! Invariant: no messages, no bytes. Spec: spec/state.md, "Marks".

use crate::fields::{FieldError, Fields};

/// Bytes of one group lie below this, in rows: sums of all groups of a queue then fit.
const BYTES_MAX: u64 = 1 << 52;

/// See the head of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl Share {
    /// Of one message.
    pub(crate) fn one(len: usize) -> Self {
        Share {
            count: 1,
            bytes: len as u64,
        }
    }

    pub(crate) fn add(&mut self, other: Share) {
        self.count = self.count.saturating_add(other.count);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    pub(crate) fn plus(mut self, other: Share) -> Self {
        self.add(other);
        self
    }

    /// What is left of it without `other`.
    pub(crate) fn less(self, other: Share) -> Self {
        Share {
            count: self.count.saturating_sub(other.count),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// Takes `count` messages, as if they were taken one by one.
    ///
    /// With a mean q and a rest r, each takes q until as many as r are left; each of those takes
    /// q + 1, which is the mean then.
    pub(crate) fn take(&mut self, count: u64) -> Share {
        if count >= self.count {
            return std::mem::take(self);
        }
        let (mean, rest) = (self.bytes / self.count, self.bytes % self.count);
        let longer = count.saturating_sub(self.count - rest);
        let taken = Share {
            count,
            bytes: count * mean + longer,
        };
        *self = self.less(taken);
        taken
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let (count, bytes) = (fields.u64()?, fields.u64()?);
        if (count == 0 && bytes > 0) || count >= 1 << 62 || bytes >= BYTES_MAX {
            return Err(FieldError::Range);
        }
        Ok(Share { count, bytes })
    }
}

/// The messages of a group that are there, and those that were deleted and are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) live: Share,
    pub(crate) kept: Share,
}

impl Shares {
    pub(crate) fn add(&mut self, other: Shares) {
        self.live.add(other.live);
        self.kept.add(other.kept);
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.live.encode(out);
        self.kept.encode(out);
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        Ok(Shares {
            live: Share::decode(fields)?,
            kept: Share::decode(fields)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_taken_at_once_take_what_they_would_take_one_by_one() {
        for (count, bytes) in [(1, 7), (5, 0), (5, 3), (7, 700), (7, 703), (256, 99_999)] {
            let whole = Share { count, bytes };
            for at_once in 0..=count {
                let (mut one_by_one, mut together) = (whole, whole);
                let mut taken = 0;
                for _ in 0..at_once {
                    let mean = one_by_one.bytes / one_by_one.count;
                    let share = one_by_one.take(1);
                    let is_last = one_by_one.count == 0;
                    assert!(
                        share.bytes == mean || is_last,
                        "{share:?} of {one_by_one:?}"
                    );
                    taken += share.bytes;
                }
                assert_eq!(
                    together.take(at_once).bytes,
                    taken,
                    "{at_once} of {whole:?}"
                );
                assert_eq!(together, one_by_one);
            }
        }
    }

    #[test]
    fn the_last_one_takes_the_rest_and_no_more_than_there_are_are_taken() {
        let mut share = Share {
            count: 3,
            bytes: 11,
        };
        assert_eq!(share.take(2).bytes, 3 + 4);
        assert_eq!(share.take(9), Share { count: 1, bytes: 4 });
        assert_eq!(share, Share::default());
    }

    #[test]
    fn bytes_without_a_message_are_refused() {
        let mut row = Vec::new();
        let live = Share { count: 0, bytes: 1 };
        let kept = Share::default();
        Shares { live, kept }.encode(&mut row);
        assert!(Shares::decode(&mut Fields::new(&row)).is_err());
    }
}
