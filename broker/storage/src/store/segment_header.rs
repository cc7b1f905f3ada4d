//! The first 64 bytes of a segment file: whose it is and which one.
//!
//! A file that was renamed, or copied from another folder, does not pass for the one the index
//! names.
//!
//! Spec: spec/storage.md, "Segment files".

use bytes::{Buf, BufMut};
use sampan_protocol::SetId;

use super::error::StoreError;
use super::options::StoreIdentity;

/// Length of the header; the first extent follows it.
pub const SEGMENT_HEADER_LEN: usize = 64;
/// The format of segment files that this release writes.
pub const SEGMENT_FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"SMPNSEGM";
const CRC_AT: usize = SEGMENT_HEADER_LEN - 4;

/// Name of the segment file with this number.
pub fn segment_name(number: u32) -> String {
    format!("{number:08}.seg")
}

/// The number of a segment file; `None` for other names.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".seg")?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// The header of a segment file.
pub(super) fn encode_segment_header(
    identity: StoreIdentity,
    number: u32,
) -> [u8; SEGMENT_HEADER_LEN] {
    let mut out = Vec::with_capacity(SEGMENT_HEADER_LEN);
    out.put_slice(&MAGIC);
    out.put_u32_le(SEGMENT_FORMAT);
    out.put_u32_le(number);
    out.put_u64_le(identity.node);
    out.put_u128_le(identity.cluster);
    out.put_u32_le(identity.set.0);
    out.resize(CRC_AT, 0);
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out.try_into().expect("the header has its length")
}

/// Compares a header with what it should say.
pub(super) fn check_segment_header(
    bytes: &[u8; SEGMENT_HEADER_LEN],
    identity: StoreIdentity,
    number: u32,
) -> Result<(), StoreError> {
    let file = segment_name(number);
    let (mut content, mut crc) = bytes.split_at(CRC_AT);
    if !content.starts_with(&MAGIC) || crc32c::crc32c(content) != crc.get_u32_le() {
        return Err(StoreError::damaged(file, "no valid segment header"));
    }
    content.advance(MAGIC.len());
    let found = content.get_u32_le();
    if found > SEGMENT_FORMAT {
        return Err(StoreError::NewerFormat {
            file,
            found,
            known: SEGMENT_FORMAT,
        });
    }
    let found_number = content.get_u32_le();
    if found == 0 || found_number != number {
        return Err(StoreError::damaged(
            file,
            format!("it is segment {found_number}"),
        ));
    }
    let (node, cluster) = (content.get_u64_le(), content.get_u128_le());
    let found = StoreIdentity {
        node,
        cluster,
        set: SetId(content.get_u32_le()),
    };
    if found == identity {
        return Ok(());
    }
    let (found, expected) = (found.to_string(), identity.to_string());
    Err(StoreError::ForeignIdentity {
        file,
        found,
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: StoreIdentity = StoreIdentity {
        node: 1,
        cluster: 2,
        set: SetId(3),
    };

    #[test]
    fn only_its_own_header_passes() {
        let header = encode_segment_header(IDENTITY, 7);
        assert!(check_segment_header(&header, IDENTITY, 7).is_ok());
        assert!(
            check_segment_header(&header, IDENTITY, 8)
                .unwrap_err()
                .is_damage()
        );
        let other = StoreIdentity {
            node: 9,
            ..IDENTITY
        };
        let error = check_segment_header(&header, other, 7).unwrap_err();
        assert!(matches!(error, StoreError::ForeignIdentity { .. }));
        for place in 0..header.len() {
            let mut flipped = header;
            flipped[place] ^= 1;
            assert!(
                check_segment_header(&flipped, IDENTITY, 7)
                    .unwrap_err()
                    .is_damage()
            );
        }
    }

    #[test]
    fn names_and_numbers_belong_together() {
        assert_eq!(segment_number(&segment_name(42)), Some(42));
        assert_eq!(segment_number("42.seg"), None);
        assert_eq!(segment_number("store.redb"), None);
    }
}
