//! How to take back the unsynced creations, removals and renames of one folder.
//!
//! A file that is removed, or replaced by a rename, moves into the undo folder and is deleted at
//! the next sync of its folder.
//!
//! Invariant: each note can be taken back twice in a row without harm, and is dropped once it was;
//! so a kill in the middle of a roll-back does no harm either.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{file_journal, notes};

/// Names of files that wait for their folder's sync start with this.
const TRASH: &str = "trash-";

/// One change to the names in a folder.
#[derive(Debug)]
pub(super) enum EntryChange {
    Create {
        name: String,
    },
    Remove {
        name: String,
        trash: String,
    },
    Rename {
        from: String,
        to: String,
        trash: String,
    },
}

impl EntryChange {
    fn encode(&self) -> Vec<u8> {
        // Zero bytes can't be part of a name, so they part the names.
        match self {
            EntryChange::Create { name } => format!("create\0{name}"),
            EntryChange::Remove { name, trash } => format!("remove\0{name}\0{trash}"),
            EntryChange::Rename { from, to, trash } => format!("rename\0{from}\0{to}\0{trash}"),
        }
        .into_bytes()
    }

    fn decode(note: &[u8]) -> io::Result<Self> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let text = std::str::from_utf8(note).map_err(|_| bad())?;
        let parts: Vec<&str> = text.split('\0').collect();
        match parts.as_slice() {
            ["create", name] => Ok(EntryChange::Create {
                name: (*name).to_owned(),
            }),
            ["remove", name, trash] => Ok(EntryChange::Remove {
                name: (*name).to_owned(),
                trash: (*trash).to_owned(),
            }),
            ["rename", from, to, trash] => Ok(EntryChange::Rename {
                from: (*from).to_owned(),
                to: (*to).to_owned(),
                trash: (*trash).to_owned(),
            }),
            _ => Err(bad()),
        }
    }
}

#[derive(Debug)]
pub(super) struct FolderJournal {
    folder: PathBuf,
    undo: PathBuf,
    journal: fs::File,
    len: u64,
    trash: Vec<String>,
    trash_number: u64,
}

impl FolderJournal {
    pub(super) fn open(folder: &Path, undo: &Path) -> io::Result<Self> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let journal = options.open(undo.join("folder"))?;
        Ok(FolderJournal {
            folder: folder.to_owned(),
            undo: undo.to_owned(),
            len: journal.metadata()?.len(),
            journal,
            trash: Vec::new(),
            trash_number: 0,
        })
    }

    pub(super) fn note(&mut self, change: &EntryChange) -> io::Result<()> {
        self.len = notes::append(&self.journal, self.len, &change.encode())?;
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        let place = self.folder.join(name);
        fs::metadata(&place)?;
        let trash = self.next_trash();
        self.note(&EntryChange::Remove {
            name: name.to_owned(),
            trash: trash.clone(),
        })?;
        fs::rename(place, self.undo.join(trash))
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let [old, new] = [from, to].map(|name| self.folder.join(name));
        fs::metadata(&old)?;
        if from == to {
            return Ok(());
        }
        let trash = self.next_trash();
        let change = EntryChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            trash: trash.clone(),
        };
        self.note(&change)?;
        if new.exists() {
            fs::rename(&new, self.undo.join(trash))?;
        }
        fs::rename(old, new)
    }

    /// Forgets all notes and deletes what waited for the sync; returns the inodes deleted.
    pub(super) fn synced(&mut self) -> io::Result<Vec<u64>> {
        self.journal.set_len(0)?;
        self.len = 0;
        let mut inodes = Vec::new();
        for trash in self.trash.drain(..) {
            let place = self.undo.join(trash);
            let Ok(about) = fs::metadata(&place) else {
                continue;
            };
            // The journal first: a new file may get the inode as soon as this one is gone.
            remove_if_there(&file_journal::place(&self.undo, about.ino()))?;
            fs::remove_file(place)?;
            inodes.push(about.ino());
        }
        Ok(inodes)
    }

    /// Takes back every note, the last one first.
    pub(super) fn roll_back(&mut self) -> io::Result<()> {
        let journal = fs::read(self.undo.join("folder"))?;
        for (start, note) in notes::read(&journal).into_iter().rev() {
            self.take_back(EntryChange::decode(note)?)?;
            self.journal.set_len(start)?;
        }
        Ok(())
    }

    fn take_back(&self, change: EntryChange) -> io::Result<()> {
        match change {
            EntryChange::Create { name } => remove_if_there(&self.folder.join(name)),
            EntryChange::Remove { name, trash } => self.put_back(&trash, &name),
            EntryChange::Rename { from, to, trash } => {
                let [old, new] = [&from, &to].map(|name| self.folder.join(name));
                if new.exists() && !old.exists() {
                    fs::rename(new, old)?;
                }
                self.put_back(&trash, &to)
            }
        }
    }

    fn put_back(&self, trash: &str, name: &str) -> io::Result<()> {
        let trash = self.undo.join(trash);
        if trash.exists() {
            fs::rename(trash, self.folder.join(name))
        } else {
            Ok(())
        }
    }

    fn next_trash(&mut self) -> String {
        self.trash_number += 1;
        let trash = format!("{TRASH}{}", self.trash_number);
        self.trash.push(trash.clone());
        trash
    }
}

fn remove_if_there(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
