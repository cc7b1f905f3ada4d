//! The first page of a log file: whose it is, and which use of the file this is.
//!
//! A file is used again after its entries are purged. Each use has a generation of its own, the
//! CRC32C of the header depends on it, and the CRC32C of every batch starts from the header's. So
//! nothing that an earlier use left in the file can pass for a batch of this one.
//!
//! Magic, version and checksum stay where they are in every version to come.
//!
//! Invariant: a header is written and synced before the file gets the name that recovery reads.
//! Spec: spec/storage.md, "The log".

use bytes::{Buf, BufMut};

use super::limits::PAGE_LEN;
use super::{LogError, LogIdentity};

/// First bytes of every log file.
const MAGIC: &[u8; 8] = b"SMPNLOG\0";
/// The version this release writes, and the newest that it reads.
const FORMAT_VERSION: u16 = 1;
/// Where the CRC32C of all bytes before it stands.
const CRC_AT: usize = PAGE_LEN - 4;

/// The header of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) identity: LogIdentity,
    /// From 1, each file one more than the one before it.
    pub(super) generation: u64,
    /// Length of the whole file.
    pub(super) file_len: u64,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; PAGE_LEN] {
        let mut page = [0; PAGE_LEN];
        let mut out = &mut page[..];
        out.put_slice(MAGIC);
        out.put_u16_le(FORMAT_VERSION);
        out.put_bytes(0, 6);
        out.put_u64_le(self.identity.node);
        out.put_u128_le(self.identity.cluster);
        out.put_u64_le(self.generation);
        out.put_u64_le(self.file_len);
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// What the CRC32C of every batch in the file starts from.
    pub(super) fn seed(&self) -> u32 {
        crc32c::crc32c(&self.encode()[..CRC_AT])
    }

    /// Whose log `file` belongs to, as its header says.
    pub(super) fn identity_in(page: &[u8], file: &str) -> Result<LogIdentity, LogError> {
        FileHeader::decode_any(page, file).map(|header| header.identity)
    }

    /// Reads the header of `file`, which must be of this log.
    pub(super) fn decode(page: &[u8], file: &str, own: LogIdentity) -> Result<Self, LogError> {
        let header = FileHeader::decode_any(page, file)?;
        check_identity(header.identity, file, own)?;
        Ok(header)
    }

    fn decode_any(page: &[u8], file: &str) -> Result<Self, LogError> {
        let Some(page) = page.first_chunk::<PAGE_LEN>() else {
            return Err(LogError::damaged(
                file,
                page.len(),
                "shorter than its header",
            ));
        };
        let (mut fields, mut crc) = page.split_at(CRC_AT);
        if crc32c::crc32c(fields) != crc.get_u32_le() {
            return Err(LogError::damaged(file, 0, "header fails its checksum"));
        }
        if fields.copy_to_bytes(MAGIC.len()) != MAGIC[..] {
            return Err(LogError::damaged(file, 0, "not a log file"));
        }
        let found = fields.get_u16_le();
        if found > FORMAT_VERSION {
            let file = file.to_owned();
            return Err(LogError::NewerFormat {
                file,
                found,
                known: FORMAT_VERSION,
            });
        }
        fields.advance(6);
        let identity = LogIdentity {
            node: fields.get_u64_le(),
            cluster: fields.get_u128_le(),
        };
        let (generation, file_len) = (fields.get_u64_le(), fields.get_u64_le());
        Ok(FileHeader {
            identity,
            generation,
            file_len,
        })
    }
}

fn check_identity(found: LogIdentity, file: &str, own: LogIdentity) -> Result<(), LogError> {
    let file = file.to_owned();
    if found.cluster != own.cluster {
        return Err(LogError::OtherCluster {
            file,
            found: found.cluster,
            own: own.cluster,
        });
    }
    if found.node != own.node {
        return Err(LogError::OtherNode {
            file,
            found: found.node,
            own: own.node,
        });
    }
    Ok(())
}

/// The name under which recovery reads the file of `generation`.
pub(super) fn file_name(generation: u64) -> String {
    format!("{generation:08}.log")
}

/// The name of a file that is not in use.
pub(super) fn spare_name(number: u64) -> String {
    format!("{number:08}.spare")
}

/// The number in `name` when it is `NUMBER.extension`, written as this release writes it.
pub(super) fn number_in(name: &str, extension: &str) -> Option<u64> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let number = digits.parse().ok()?;
    (format!("{number:08}") == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: LogIdentity = LogIdentity {
        node: 7,
        cluster: 0xC0FFEE,
    };
    const HEADER: FileHeader = FileHeader {
        identity: OWN,
        generation: 3,
        file_len: 65536,
    };

    fn refusal(page: &[u8], own: LogIdentity) -> LogError {
        FileHeader::decode(page, "f", own).unwrap_err()
    }

    #[test]
    fn header_comes_back_as_it_was_written() {
        assert_eq!(
            FileHeader::decode(&HEADER.encode(), "f", OWN).unwrap(),
            HEADER
        );
    }

    #[test]
    fn logs_of_others_are_told_apart_from_damage() {
        let page = HEADER.encode();
        let other = |node, cluster| LogIdentity { node, cluster };
        assert!(matches!(
            refusal(&page, other(8, 0xC0FFEE)),
            LogError::OtherNode { found: 7, .. }
        ));
        assert!(matches!(
            refusal(&page, other(7, 1)),
            LogError::OtherCluster { .. }
        ));
        assert!(matches!(
            refusal(&page[..100], OWN),
            LogError::Damaged { .. }
        ));
    }

    #[test]
    fn a_newer_format_is_named_as_such() {
        let mut page = HEADER.encode();
        page[8] = 2;
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(
            refusal(&page, OWN),
            LogError::NewerFormat {
                found: 2,
                known: 1,
                ..
            }
        ));
    }

    #[test]
    fn each_generation_has_a_seed_of_its_own() {
        let seeds: std::collections::BTreeSet<u32> = (1..2000)
            .map(|generation| {
                FileHeader {
                    generation,
                    ..HEADER
                }
                .seed()
            })
            .collect();
        assert_eq!(seeds.len(), 1999);
    }

    #[test]
    fn only_names_as_we_write_them_have_a_number() {
        assert_eq!(number_in(&file_name(12), "log"), Some(12));
        assert_eq!(
            number_in(&spare_name(123_456_789), "spare"),
            Some(123_456_789)
        );
        for name in [
            "12.log",
            "00000012.spare",
            "+0000012.log",
            "log",
            "00000012log",
        ] {
            assert_eq!(number_in(name, "log"), None, "{name}");
        }
    }
}
