//! Bodies that carry a stamp, where it is wanted: the time at which they were sent, or their delay.
//!
//! Layout: u64 LE, nanoseconds of the meter's clock or milliseconds of delay, or 0 for a message
//! that is not timed; then filler that does not compress. Untimed messages share one body, of which
//! shorter ones are a part.

use bytes::{BufMut, Bytes, BytesMut};

use crate::body_len::BodyLen;

/// Makes bodies, each as long as its number says.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    len: BodyLen,
    /// As long as the longest.
    untimed: Bytes,
}

impl Bodies {
    pub(crate) fn new(len: BodyLen) -> Self {
        let len_max = usize_of(len.max());
        let mut body = BytesMut::with_capacity(len_max + 8);
        body.put_u64_le(0);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        while body.len() < len_max {
            // xorshift64: only its look matters.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            body.put_u64_le(state);
        }
        body.truncate(len_max);
        Bodies {
            len,
            untimed: body.freeze(),
        }
    }

    pub(crate) fn untimed(&self, number: u64) -> Bytes {
        if self.len.is_fixed() {
            return self.untimed.clone();
        }
        self.untimed.slice(..usize_of(self.len.of(number)))
    }

    pub(crate) fn timed(&self, number: u64, stamp: u64) -> Bytes {
        let untimed = self.untimed(number);
        let mut body = BytesMut::with_capacity(untimed.len());
        body.put_u64_le(stamp);
        body.put_slice(&untimed[8..]);
        body.freeze()
    }
}

fn usize_of(len: u32) -> usize {
    usize::try_from(len).expect("a usize has 32 bits at least")
}

/// The stamp of a message, if it is one of the timed ones.
pub(crate) fn stamp(body: &[u8]) -> Option<u64> {
    let (stamp, _) = body.split_first_chunk::<8>()?;
    Some(u64::from_le_bytes(*stamp)).filter(|stamp| *stamp != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_timed_body_has_a_time_and_both_have_the_length() {
        for len in [16, 17, 1_024] {
            let bodies = Bodies::new(BodyLen::fixed(len));
            let (untimed, timed) = (bodies.untimed(3), bodies.timed(3, 5));
            assert_eq!((untimed.len(), timed.len()), (usize_of(len), usize_of(len)));
            assert_eq!((stamp(&untimed), stamp(&timed)), (None, Some(5)));
        }
        assert_eq!(stamp(&[1, 2]), None);
    }

    #[test]
    fn bodies_of_a_range_have_the_lengths_of_their_numbers() {
        let len: BodyLen = "64..4096".parse().expect("a range");
        let bodies = Bodies::new(len);
        for number in 0..100 {
            let wanted = usize_of(len.of(number));
            let (untimed, timed) = (bodies.untimed(number), bodies.timed(number, 9));
            assert_eq!((untimed.len(), timed.len()), (wanted, wanted));
            assert_eq!(untimed[8..], timed[8..]);
        }
    }
}
