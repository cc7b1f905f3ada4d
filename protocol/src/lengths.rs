//! The one conversion of a length that needs no check, kept in one place so that the rest of the
//! crate can do without `as`.

const _: () = assert!(
    usize::BITS >= u32::BITS,
    "lengths of the protocol must fit into usize"
);

/// A length of the protocol as a length in memory.
#[expect(
    clippy::as_conversions,
    reason = "usize has at least 32 bits, asserted above"
)]
pub(crate) const fn to_usize(len: u32) -> usize {
    len as usize
}
