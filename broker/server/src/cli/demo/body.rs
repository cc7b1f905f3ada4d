//! Bodies that can be checked without remembering them: a number, a checksum, and bytes that
//! follow from the number.
//!
//! Layout: number u64 LE, checksum u64 LE over everything else, filler. A body that is another
//! message's, cut, or changed in any byte does not pass.

use bytes::{BufMut, Bytes, BytesMut};

/// Length of number and checksum.
pub(super) const HEAD_LEN: usize = 16;

/// The body of message `number`; `len` is at least `HEAD_LEN`.
pub(super) fn make(number: u64, len: usize) -> Bytes {
    let mut body = BytesMut::with_capacity(len + 8);
    body.put_u64_le(number);
    body.put_u64_le(0);
    let mut state = number;
    while body.len() < len {
        body.put_u64_le(next_random(&mut state));
    }
    body.truncate(len);
    let checksum = checksum(number, &body[HEAD_LEN..]);
    body[8..HEAD_LEN].copy_from_slice(&checksum.to_le_bytes());
    body.freeze()
}

/// The number of a body that is whole and of this length; `None` for any other bytes.
pub(super) fn check(body: &[u8], len: usize) -> Option<u64> {
    if body.len() != len {
        return None;
    }
    let (number, rest) = body.split_first_chunk::<8>()?;
    let (found, filler) = rest.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    if u64::from_le_bytes(*found) != checksum(number, filler) {
        return None;
    }
    // The checksum can't tell a filler that was wrong from the start.
    (make(number, len) == body).then_some(number)
}

/// FNV-1a, 64 bits wide and by words.
fn checksum(number: u64, filler: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = mix(0xcbf2_9ce4_8422_2325, number);
    let (words, tail) = filler.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word)).rotate_left(23);
    }
    tail.iter()
        .fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

/// The next value of a splitmix64 sequence.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_gives_its_number_back_at_any_length() {
        for len in [16, 17, 23, 24, 100, 1_024] {
            for number in [0, 1, 99_999, u64::MAX] {
                let body = make(number, len);
                assert_eq!(body.len(), len);
                assert_eq!(check(&body, len), Some(number));
            }
        }
    }

    #[test]
    fn a_body_with_any_byte_changed_does_not_pass() {
        let body = make(7, 61);
        for place in 0..body.len() {
            let mut changed = body.to_vec();
            changed[place] ^= 1;
            assert_eq!(check(&changed, 61), None, "byte {place}");
        }
    }

    #[test]
    fn a_body_of_another_length_does_not_pass() {
        let body = make(7, 64);
        assert_eq!(check(&body[..63], 64), None);
        assert_eq!(check(&body, 63), None);
        assert_eq!(check(&[], 0), None);
    }
}
