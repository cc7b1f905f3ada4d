//! The checksum of a body.

/// CRC32C (Castagnoli) of `body`, as the sender of a message computes it and its receiver again.
pub fn checksum(body: &[u8]) -> u32 {
    crc32c::crc32c(body)
}
