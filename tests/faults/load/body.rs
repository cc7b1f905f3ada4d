//! Bodies that follow from the message's number and the seed of the run, so that a body that was
//! changed, cut or mixed up with another is told from a whole one.
//!
//! Layout: number u64 and length u64, little-endian, then random bytes.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// Length of number and length.
pub(crate) const HEAD_LEN: usize = 16;

/// The body of message `number`; `len` is at least [`HEAD_LEN`].
pub(crate) fn make(seed: u64, number: u64, len: usize) -> Bytes {
    let mut body = vec![0; len];
    StdRng::seed_from_u64(seed ^ number).fill_bytes(&mut body[HEAD_LEN..]);
    body[..8].copy_from_slice(&number.to_le_bytes());
    body[8..HEAD_LEN].copy_from_slice(&(len as u64).to_le_bytes());
    body.into()
}

/// The number of a whole body.
pub(crate) fn check(seed: u64, body: &[u8]) -> Option<u64> {
    let (number, _) = body.split_first_chunk()?;
    let number = u64::from_le_bytes(*number);
    (body.len() >= HEAD_LEN && make(seed, number, body.len()) == body).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_body_gives_its_number() {
        for len in [HEAD_LEN, 1_000] {
            assert_eq!(check(7, &make(7, 42, len)), Some(42));
        }
    }

    #[test]
    fn a_changed_cut_or_foreign_body_gives_nothing() {
        let body = make(7, 42, 100);
        for place in 0..body.len() {
            let mut changed = body.to_vec();
            changed[place] ^= 1;
            assert_eq!(check(7, &changed), None, "byte {place}");
            assert_eq!(check(7, &body[..place]), None, "cut at {place}");
        }
        assert_eq!(check(8, &body), None);
    }
}
