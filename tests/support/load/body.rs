//! Bodies that say which message they are and whether they are whole.
//!
//! Layout: number u64, length u32, FNV-1a u64 of the filler (all little-endian), filler that
//! follows from the number.

use bytes::{BufMut, Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// Length of number, length and checksum.
pub(crate) const HEAD_LEN: usize = 20;

/// The body of message `number`; `len` is at least [`HEAD_LEN`].
pub(crate) fn make(number: u64, len: usize) -> Bytes {
    let mut filler = vec![0; len - HEAD_LEN];
    StdRng::seed_from_u64(number).fill_bytes(&mut filler);
    let mut body = BytesMut::with_capacity(len);
    body.put_u64_le(number);
    body.put_u32_le(u32::try_from(len).expect("a body has at most 1 MiB"));
    body.put_u64_le(fnv(&filler));
    body.put_slice(&filler);
    body.freeze()
}

/// The number of a whole body.
pub(crate) fn check(body: &[u8]) -> Option<u64> {
    let (number, rest) = body.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (hash, filler) = rest.split_first_chunk()?;
    let number = u64::from_le_bytes(*number);
    let whole = u32::from_le_bytes(*len) as usize == body.len()
        && u64::from_le_bytes(*hash) == fnv(filler)
        && make(number, body.len()) == body;
    whole.then_some(number)
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
