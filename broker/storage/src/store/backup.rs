//! A snapshot as files: the backup of one set.
//!
//! The chunks are the backup; they carry their own checksums, order and totals, so a backup is
//! checked exactly as a snapshot from another node is. The file that says which snapshot it is gets
//! its name last: a backup that was interrupted has none, and is refused.
//!
//! ```text
//!   snapshot        which snapshot, how many chunks and parts; written last
//!   NNNNNNNN.part   chunks, one behind the other, from 1
//! ```
//!
//! Invariant: a chunk lies in one part.
//! Spec: spec/storage.md, "Backup of a set".

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use super::chunk::{CHUNK_HEADER_LEN, chunk_len};
use super::current::write_whole;
use super::error::StoreError;
use super::generations::list;
use super::options::VALUE_LEN_MAX;
use super::snapshot_id::SnapshotId;
use super::snapshot_reader::SnapshotReader;
use crate::io::{File, Folder};

/// Says which snapshot a backup is.
pub const BACKUP_FILE: &str = "snapshot";
const NEW_BACKUP_FILE: &str = "snapshot.new";
/// A part is ended when it is longer than this.
pub const BACKUP_PART_LEN: u64 = 256 * 1024 * 1024;
const MAGIC: &[u8; 8] = b"SMPNBAK1";
const HEAD_LEN: usize = 8 + 8 + 4;
/// More than any header has.
const HEADER_LEN_MAX: u64 = 2 * VALUE_LEN_MAX as u64;

/// How much a backup has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupHeader {
    /// Which snapshot.
    pub id: SnapshotId,
    /// Chunks.
    pub chunk_count: u64,
    /// Files that hold them.
    pub part_count: u32,
}

impl BackupHeader {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_slice(MAGIC);
        out.put_u64_le(self.chunk_count);
        out.put_u32_le(self.part_count);
        out.put_slice(&self.id.encode());
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut content, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if content.len() < HEAD_LEN || crc32c::crc32c(content) != crc.get_u32_le() {
            return None;
        }
        if content.copy_to_bytes(MAGIC.len()) != MAGIC[..] {
            return None;
        }
        let (chunk_count, part_count) = (content.get_u64_le(), content.get_u32_le());
        Some(BackupHeader {
            id: SnapshotId::decode(content)?,
            chunk_count,
            part_count,
        })
    }
}

/// Writes all of a snapshot into `folder`, which is empty. Blocks on the disk.
///
/// # Errors
///
/// A folder that is not empty, damage in the store, or what the disk says; the folder is then no
/// backup.
pub fn write_backup(
    reader: &mut SnapshotReader,
    folder: &dyn Folder,
) -> Result<BackupHeader, StoreError> {
    if let Some(name) = list(folder)?.first() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(StoreError::io(
            "write a backup beside",
            name.clone(),
            source,
        ));
    }
    reader.seek(0)?;
    let mut header = BackupHeader {
        id: reader.id().clone(),
        chunk_count: 0,
        part_count: 0,
    };
    let mut part: Option<Part> = None;
    while let Some(chunk) = reader.next_chunk()? {
        let mut open = match part.take() {
            Some(open) if open.len <= BACKUP_PART_LEN => open,
            full => {
                full.map_or(Ok(()), |full| full.finish())?;
                header.part_count += 1;
                Part::create(folder, header.part_count)?
            }
        };
        open.append(&chunk)?;
        part = Some(open);
        header.chunk_count += 1;
    }
    part.map_or(Ok(()), |last| last.finish())?;
    // The names of the parts become durable with that of the header.
    write_whole(folder, NEW_BACKUP_FILE, BACKUP_FILE, &header.encode())?;
    Ok(header)
}

/// A part that is being written.
struct Part {
    name: String,
    file: Arc<dyn File>,
    len: u64,
}

impl Part {
    fn create(folder: &dyn Folder, number: u32) -> Result<Self, StoreError> {
        let name = part_name(number);
        let file = folder.create(&name);
        let file = file.map_err(|source| StoreError::io("create", name.as_str(), source))?;
        Ok(Part { name, file, len: 0 })
    }

    fn append(&mut self, chunk: &Bytes) -> Result<(), StoreError> {
        let written = self.file.write_all_at(chunk, self.len);
        written.map_err(|source| StoreError::io("write", self.name.as_str(), source))?;
        self.len += chunk.len() as u64;
        Ok(())
    }

    fn finish(self) -> Result<(), StoreError> {
        let synced = self.file.sync_data();
        synced.map_err(|source| StoreError::io("sync", self.name, source))
    }
}

fn part_name(number: u32) -> String {
    format!("{number:08}.part")
}

/// The chunks of a backup, in order, to be given to a
/// [`SnapshotWriter`](super::SnapshotWriter), which checks them.
#[derive(Debug)]
pub struct BackupChunks {
    folder: Arc<dyn Folder>,
    header: BackupHeader,
    part: u32,
    offset: u64,
    given: u64,
}

/// Opens the backup in `folder`.
///
/// # Errors
///
/// No backup, a damaged header, or what the disk says.
pub fn read_backup(folder: Arc<dyn Folder>) -> Result<BackupChunks, StoreError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => {
            StoreError::damaged(BACKUP_FILE, "it is missing: the backup was not finished")
        }
        _ => StoreError::io("read", BACKUP_FILE, source),
    };
    let file = folder.open(BACKUP_FILE).map_err(failed)?;
    let len = file.len().map_err(failed)?.min(HEADER_LEN_MAX);
    let mut bytes = vec![0; usize::try_from(len).expect("bounded above")];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    let header = BackupHeader::decode(&bytes);
    let header = header.ok_or_else(|| StoreError::damaged(BACKUP_FILE, "wrong checksum"))?;
    Ok(BackupChunks {
        folder,
        header,
        part: 1,
        offset: 0,
        given: 0,
    })
}

impl BackupChunks {
    /// What the backup says of itself.
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// The folder of the backup, for messages to people.
    pub fn path(&self) -> PathBuf {
        self.folder.path()
    }

    /// The file that the last chunk came from.
    pub fn file(&self) -> String {
        match self.offset {
            0 if self.part > 1 => part_name(self.part - 1),
            _ => part_name(self.part),
        }
    }

    fn read(&mut self) -> Result<Bytes, StoreError> {
        let name = part_name(self.part);
        let offset = self.offset;
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof => {
                StoreError::damaged_at(name.as_str(), offset, "it is missing or cut short")
            }
            _ => StoreError::io("read", name.as_str(), source),
        };
        let file = self.folder.open(&name).map_err(failed)?;
        let mut head = [0; CHUNK_HEADER_LEN];
        file.read_exact_at(&mut head, offset).map_err(failed)?;
        let len = chunk_len(&head);
        let len = len.ok_or_else(|| StoreError::damaged_at(name.as_str(), offset, "no chunk"))?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset).map_err(failed)?;
        self.offset += len as u64;
        self.given += 1;
        if self.offset >= file.len().map_err(failed)? {
            (self.part, self.offset) = (self.part + 1, 0);
        }
        Ok(Bytes::from(bytes))
    }
}

impl Iterator for BackupChunks {
    type Item = Result<Bytes, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.given >= self.header.chunk_count {
            return None;
        }
        let chunk = self.read();
        if chunk.is_err() {
            // Nothing behind a damaged chunk can be found.
            self.given = self.header.chunk_count;
        }
        Some(chunk)
    }
}
