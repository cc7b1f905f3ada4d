//! How to take back the unsynced changes of one file: a note is the file's length and the bytes
//! that the change overwrites or cuts off.
//!
//! Invariant: applying the notes from the last to the first gives the file as of its last sync,
//! and doing it twice does no harm.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::notes;
use crate::io::File;

/// Length of what stands before the old bytes: old length and offset, each u64.
const NOTE_HEAD_LEN: usize = 16;

/// Where the journal of the file with `inode` is.
pub(super) fn place(undo: &Path, inode: u64) -> PathBuf {
    undo.join(format!("file-{inode}"))
}

#[derive(Debug)]
pub(super) struct FileJournal {
    place: PathBuf,
    /// Made at the first note.
    journal: Option<fs::File>,
    len: u64,
}

impl FileJournal {
    pub(super) fn new(place: PathBuf) -> Self {
        FileJournal {
            place,
            journal: None,
            len: 0,
        }
    }

    /// Notes what `file` holds from `start` to `end` before that changes.
    pub(super) fn note(&mut self, file: &dyn File, start: u64, end: u64) -> io::Result<()> {
        let file_len = file.len()?;
        let end = end.min(file_len);
        let old_len = usize::try_from(end.saturating_sub(start)).expect("files fit in memory");
        let mut note = vec![0; NOTE_HEAD_LEN + old_len];
        note[..8].copy_from_slice(&file_len.to_le_bytes());
        note[8..NOTE_HEAD_LEN].copy_from_slice(&start.to_le_bytes());
        file.read_exact_at(&mut note[NOTE_HEAD_LEN..], start)?;
        if self.journal.is_none() {
            let mut options = fs::OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true);
            self.journal = Some(options.open(&self.place)?);
        }
        let journal = self.journal.as_ref().expect("it was made above");
        self.len = notes::append(journal, self.len, &note)?;
        Ok(())
    }

    /// Forgets all notes: the file was synced.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.len = 0;
        match &self.journal {
            Some(journal) => journal.set_len(0),
            None => Ok(()),
        }
    }
}

/// Brings `file` back to its last sync by the journal at `place`, if there is one.
pub(super) fn roll_back(place: &Path, file: &dyn File) -> io::Result<()> {
    let journal = match fs::read(place) {
        Ok(journal) => journal,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for (_, note) in notes::read(&journal).into_iter().rev() {
        let Some((head, old)) = note.split_first_chunk::<NOTE_HEAD_LEN>() else {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        };
        let (len, start) = head.split_at(8);
        let [len, start] = [len, start].map(|half| {
            u64::from_le_bytes(half.try_into().expect("the head splits into two halves"))
        });
        if !old.is_empty() {
            file.write_all_at(old, start)?;
        }
        file.set_len(len)?;
    }
    Ok(())
}
