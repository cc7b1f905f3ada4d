//! The file `current`: which generation of a set's store counts.
//!
//! It is replaced by one rename, which is the moment from which another generation counts: a crash
//! leaves the one before or the one after, whole. A line of text, so that a person who looks for
//! the right folder needs no tool. A missing file is told from a new store by what lies beside it;
//! guessing the highest number would take a half installed snapshot for the store.
//!
//! Spec: spec/storage.md, "Generations".

use super::error::StoreError;
use crate::io::Folder;

/// Names the generation that counts.
pub const CURRENT_FILE: &str = "current";
/// The same while it is written.
const NEW_CURRENT_FILE: &str = "current.new";
const MAGIC: &str = "SMPNCUR1";
/// Magic, number, checksum, and what parts them.
const LINE_LEN: usize = 8 + 1 + 8 + 1 + 8 + 1;

/// The line that names `generation`.
fn line(generation: u32) -> String {
    let start = format!("{MAGIC} {generation:08}");
    let crc = crc32c::crc32c(start.as_bytes());
    format!("{start} {crc:08x}\n")
}

/// The generation that a line names, if the line is whole.
fn parse(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let number = text.get(MAGIC.len() + 1..MAGIC.len() + 9)?.parse().ok()?;
    (line(number) == text && number > 0).then_some(number)
}

/// The generation that counts; `None` without the file.
pub(super) fn read_current(folder: &dyn Folder) -> Result<Option<u32>, StoreError> {
    let failed = |source| StoreError::io("read", CURRENT_FILE, source);
    let file = match folder.open(CURRENT_FILE) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let damaged = || StoreError::damaged(CURRENT_FILE, "it names no generation");
    if file.len().map_err(failed)? != LINE_LEN as u64 {
        return Err(damaged());
    }
    let mut bytes = [0; LINE_LEN];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    parse(&bytes).map(Some).ok_or_else(damaged)
}

/// Makes `generation` the one that counts. All of it is synced before.
pub(super) fn write_current(folder: &dyn Folder, generation: u32) -> Result<(), StoreError> {
    write_whole(
        folder,
        NEW_CURRENT_FILE,
        CURRENT_FILE,
        line(generation).as_bytes(),
    )
}

/// Puts a file with `bytes` under `name`, in place of an older one, or leaves everything as it was.
pub(super) fn write_whole(
    folder: &dyn Folder,
    new_name: &str,
    name: &str,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let failed = |source| StoreError::io("write", name, source);
    match folder.remove(new_name) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        removed => removed.map_err(failed)?,
    }
    let file = folder.create(new_name).map_err(failed)?;
    file.write_all_at(bytes, 0).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    folder.rename(new_name, name).map_err(failed)?;
    folder.sync().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimulatedDisk;

    #[test]
    fn the_line_is_read_as_it_was_written_and_no_other() {
        let root = SimulatedDisk::new().root();
        assert_eq!(read_current(&*root).unwrap(), None);
        write_current(&*root, 7).unwrap();
        write_current(&*root, 12_345_678).unwrap();
        assert_eq!(read_current(&*root).unwrap(), Some(12_345_678));
        assert_eq!(root.list().unwrap(), [CURRENT_FILE]);
        let bytes = line(3).into_bytes();
        assert_eq!(bytes.len(), LINE_LEN);
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1;
            assert_eq!(parse(&flipped), None, "byte {place}");
            assert_eq!(parse(&bytes[..place]), None);
        }
        assert_eq!(parse(&bytes), Some(3));
    }
}
