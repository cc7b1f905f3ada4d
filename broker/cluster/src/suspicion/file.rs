//! A small file that is there whole or not at all: magic, content, CRC32C of both.

use std::io;

use sampan_storage::io::Folder;

pub(super) const MAGIC_LEN: usize = 8;
const CHECKSUM_LEN: usize = 4;
/// Longer than what any node has to say.
const FILE_LEN_MAX: u64 = 1024 * 1024;

/// A kind of file.
#[derive(Clone, Copy, Debug)]
pub(super) struct SmallFile {
    pub(super) name: &'static str,
    /// Its name while it is written.
    pub(super) name_new: &'static str,
    pub(super) magic: &'static [u8; MAGIC_LEN],
}

impl SmallFile {
    /// The content; `None` when there is no such file.
    pub(super) fn read(&self, folder: &dyn Folder) -> io::Result<Option<Vec<u8>>> {
        if !folder.list()?.iter().any(|name| name == self.name) {
            return Ok(None);
        }
        let file = folder.open(self.name)?;
        let len = file.len()?;
        if len > FILE_LEN_MAX {
            return Err(self.damaged(folder));
        }
        let len = usize::try_from(len).map_err(|_| self.damaged(folder))?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        let content = self.unseal(&bytes).map(<[u8]>::to_vec);
        content.ok_or_else(|| self.damaged(folder)).map(Some)
    }

    /// What is told of a file that cannot be read.
    pub(super) fn damaged(&self, folder: &dyn Folder) -> io::Error {
        let text = format!("{} is damaged", folder.path().join(self.name).display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    /// Replaces the file, synced when this returns; `None` removes it.
    pub(super) fn replace(&self, folder: &dyn Folder, content: Option<&[u8]>) -> io::Result<()> {
        let files = folder.list()?;
        let is_there = |name: &str| files.iter().any(|file| file == name);
        if is_there(self.name_new) {
            folder.remove(self.name_new)?;
        }
        match content {
            Some(content) => {
                let file = folder.create(self.name_new)?;
                file.write_all_at(&self.seal(content), 0)?;
                file.sync_data()?;
                folder.rename(self.name_new, self.name)?;
            }
            None if is_there(self.name) => folder.remove(self.name)?,
            None => {}
        }
        folder.sync()
    }

    fn seal(&self, content: &[u8]) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend_from_slice(content);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn unseal<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let content_end = bytes.len().checked_sub(CHECKSUM_LEN)?;
        let (content, checksum) = bytes.split_at_checked(content_end)?;
        let checksum = u32::from_le_bytes(checksum.try_into().ok()?);
        let content_is_whole = checksum == crc32c::crc32c(content);
        content
            .strip_prefix(self.magic)
            .filter(|_| content_is_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: SmallFile = SmallFile {
        name: "small",
        name_new: "small.new",
        magic: b"SMALLFIL",
    };

    #[test]
    fn a_file_with_any_byte_changed_or_missing_is_refused() {
        let bytes = FILE.seal(b"some content");
        assert_eq!(FILE.unseal(&bytes), Some(&b"some content"[..]));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(FILE.unseal(&changed), None, "byte {at}");
            assert_eq!(FILE.unseal(&bytes[..at]), None, "cut at {at}");
        }
    }
}
