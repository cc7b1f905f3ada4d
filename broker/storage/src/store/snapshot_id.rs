//! Which snapshot it is: of which set, from which sender, as of which entry.
//!
//! A receiver that goes on with a snapshot it began must be sure that the rest belongs to the same
//! one. The applied entry alone does not say that: two replicas lay the same state out in different
//! extents, and so does one replica after a rewrite. So the sender, the life of its data folder,
//! and a fingerprint of the checkpoint's tables belong to the id.
//!
//! The same bytes are the file `incoming` in a generation that is being received.
//!
//! Spec: spec/storage.md, "Snapshots".

use bytes::{Buf, BufMut};
use sampan_protocol::SetId;

use super::current::write_whole;
use super::error::StoreError;
use super::meta::Meta;
use super::options::VALUE_LEN_MAX;
use crate::io::Folder;
use crate::log::LogId;

/// In a generation that is being received: from whom, and which snapshot.
pub(super) const INCOMING_FILE: &str = "incoming";
/// The same while it is written.
pub(super) const NEW_INCOMING_FILE: &str = "incoming.new";
const MAGIC: &[u8; 8] = b"SMPNSNP1";
const FIXED_LEN: usize = 8 + 4 + 16 + 8 + 16 + 24 + 8 + 8 + 4;
const CRC_LEN: usize = 4;

/// The identity of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotId {
    /// The set.
    pub set: SetId,
    /// The cluster it was taken in.
    pub cluster: u128,
    /// The node that took it.
    pub sender: u64,
    /// Tells the data folder of that node from one that it had before.
    pub incarnation: u128,
    /// The last entry whose effects are in it.
    pub applied: LogId,
    /// Differs when the same state lies in other extents, or is cut into other chunks.
    pub fingerprint: u64,
    /// Bytes of living messages; about what will be sent.
    pub len_estimate: u64,
    /// The membership as of `applied`.
    pub membership: Vec<u8>,
}

impl SnapshotId {
    /// The id of what `meta` describes, in chunks of `chunk_len`.
    pub(super) fn new(
        meta: &Meta,
        applied: LogId,
        incarnation: u128,
        (len_estimate, chunk_len): (u64, usize),
    ) -> Self {
        let tallies = &meta.tallies;
        let sums = [tallies.extents, tallies.rows, tallies.removals];
        let fingerprint = sums.iter().fold(chunk_len as u64, |mixed, tally| {
            mixed.rotate_left(21).wrapping_add(tally.sum) ^ tally.count
        });
        SnapshotId {
            set: meta.identity.set,
            cluster: meta.identity.cluster,
            sender: meta.identity.node,
            incarnation,
            applied,
            fingerprint,
            len_estimate,
            membership: meta.membership.clone(),
        }
    }

    /// The id as bytes, with a checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + self.membership.len() + CRC_LEN);
        out.put_slice(MAGIC);
        out.put_u32_le(self.set.0);
        out.put_u128_le(self.cluster);
        out.put_u64_le(self.sender);
        out.put_u128_le(self.incarnation);
        out.put_u64_le(self.applied.term);
        out.put_u64_le(self.applied.node);
        out.put_u64_le(self.applied.index);
        out.put_u64_le(self.fingerprint);
        out.put_u64_le(self.len_estimate);
        let len = u32::try_from(self.membership.len()).expect("a membership fits a row");
        out.put_u32_le(len);
        out.put_slice(&self.membership);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    /// The id that `bytes` are, if they are exactly one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let content_len = bytes.len().checked_sub(CRC_LEN)?;
        let (mut content, mut crc) = bytes.split_at(content_len);
        if content_len < FIXED_LEN || crc32c::crc32c(content) != crc.get_u32_le() {
            return None;
        }
        if content.copy_to_bytes(MAGIC.len()) != MAGIC[..] {
            return None;
        }
        let id = SnapshotId {
            set: SetId(content.get_u32_le()),
            cluster: content.get_u128_le(),
            sender: content.get_u64_le(),
            incarnation: content.get_u128_le(),
            applied: LogId {
                term: content.get_u64_le(),
                node: content.get_u64_le(),
                index: content.get_u64_le(),
            },
            fingerprint: content.get_u64_le(),
            len_estimate: content.get_u64_le(),
            membership: {
                let len = usize::try_from(content.get_u32_le()).ok()?;
                (content.len() == len && len <= VALUE_LEN_MAX).then(|| content.to_vec())?
            },
        };
        Some(id)
    }

    /// What stands for the id in every chunk.
    pub(super) fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.encode())
    }
}

/// Says durably that the generation in `folder` receives the snapshot `id`.
pub(super) fn write_incoming(folder: &dyn Folder, id: &SnapshotId) -> Result<(), StoreError> {
    write_whole(folder, NEW_INCOMING_FILE, INCOMING_FILE, &id.encode())
}

/// The snapshot that the generation in `folder` receives; `None` when the file does not say.
pub(super) fn read_incoming(folder: &dyn Folder) -> Result<Option<SnapshotId>, StoreError> {
    let failed = |source| StoreError::io("read", INCOMING_FILE, source);
    let file = match folder.open(INCOMING_FILE) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let len = usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX);
    if len > FIXED_LEN + VALUE_LEN_MAX + CRC_LEN {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    Ok(SnapshotId::decode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimulatedDisk;

    fn id() -> SnapshotId {
        SnapshotId {
            set: SetId(3),
            cluster: 77,
            sender: 2,
            incarnation: 1 << 100,
            applied: LogId {
                term: 4,
                node: 2,
                index: 900,
            },
            fingerprint: 5,
            len_estimate: 6,
            membership: b"members".to_vec(),
        }
    }

    #[test]
    fn an_id_comes_back_as_it_went_in_and_a_changed_one_does_not() {
        let bytes = id().encode();
        assert_eq!(SnapshotId::decode(&bytes), Some(id()));
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 0x10;
            assert_eq!(SnapshotId::decode(&flipped), None, "byte {place}");
            assert_eq!(SnapshotId::decode(&bytes[..place]), None);
        }
    }

    #[test]
    fn the_file_says_which_snapshot_is_received() {
        let root = SimulatedDisk::new().root();
        assert_eq!(read_incoming(&*root).unwrap(), None);
        write_incoming(&*root, &id()).unwrap();
        assert_eq!(read_incoming(&*root).unwrap(), Some(id()));
        assert_eq!(root.list().unwrap(), [INCOMING_FILE]);
    }
}
