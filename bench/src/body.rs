//! Bodies that carry a stamp, where it is wanted: the time at which they were sent, or their delay.
//!
//! Layout: u64 LE, nanoseconds of the meter's clock or milliseconds of delay, or 0 for a message
//! that is not timed; then filler that does not compress. Untimed messages share one body.

use bytes::{BufMut, Bytes, BytesMut};

/// Makes bodies of one length.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    untimed: Bytes,
}

impl Bodies {
    pub(crate) fn new(len: usize) -> Self {
        let mut body = BytesMut::with_capacity(len + 8);
        body.put_u64_le(0);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        while body.len() < len {
            // xorshift64: only its look matters.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            body.put_u64_le(state);
        }
        body.truncate(len);
        Bodies {
            untimed: body.freeze(),
        }
    }

    pub(crate) fn untimed(&self) -> Bytes {
        self.untimed.clone()
    }

    pub(crate) fn timed(&self, stamp: u64) -> Bytes {
        let mut body = BytesMut::with_capacity(self.untimed.len());
        body.put_u64_le(stamp);
        body.put_slice(&self.untimed[8..]);
        body.freeze()
    }
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
            let bodies = Bodies::new(len);
            assert_eq!((bodies.untimed().len(), bodies.timed(5).len()), (len, len));
            assert_eq!(stamp(&bodies.untimed()), None);
            assert_eq!(stamp(&bodies.timed(5)), Some(5));
        }
        assert_eq!(stamp(&[1, 2]), None);
    }
}
