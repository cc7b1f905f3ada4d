//! The layout that both kinds of journal share: notes of length, checksum and content, one after
//! the other. A note that was cut short by a kill belongs to a change that never began.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;

/// Length of what stands before a note: its length and its CRC32C, each u32.
const HEAD_LEN: usize = 8;

/// Adds a note to the end and returns the new length of the journal.
pub(super) fn append(journal: &fs::File, len: u64, note: &[u8]) -> io::Result<u64> {
    let short = u32::try_from(note.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = Vec::with_capacity(HEAD_LEN + note.len());
    bytes.extend_from_slice(&short.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(note).to_le_bytes());
    bytes.extend_from_slice(note);
    journal.write_all_at(&bytes, len)?;
    Ok(len + bytes.len() as u64)
}

/// All whole notes, each with the offset where it starts.
pub(super) fn read(journal: &[u8]) -> Vec<(u64, &[u8])> {
    let mut notes = Vec::new();
    let mut at = 0;
    while let Some((head, rest)) = journal[at..].split_first_chunk::<HEAD_LEN>() {
        let (len, crc) = head.split_at(4);
        let [len, crc] = [len, crc].map(|half| {
            u32::from_le_bytes(half.try_into().expect("the head splits into two halves"))
        });
        let Some(note) = rest.get(..len as usize) else {
            break;
        };
        if crc32c::crc32c(note) != crc {
            break;
        }
        notes.push((at as u64, note));
        at += HEAD_LEN + note.len();
    }
    notes
}
