//! The generations of a set's store: folders of which one counts.
//!
//! A snapshot is put together in a folder of its own, so that the store beside it serves reads
//! until the new one is whole; then `current` names the new one. Filling the store in place would
//! leave a mixture after a crash.
//!
//! ```text
//!   g-00000001/  lower than current: was replaced, to be removed
//!   g-00000002/  current
//!   g-00000003/  higher: `incoming`, a snapshot that is being received, or finished and waiting
//!                        `discarded`, is being removed
//!                        anything else: nobody knows what it is, set aside under quarantine/
//! ```
//!
//! Invariants: a number is given only while nothing has it, in quarantine neither. Nothing that no
//! crash explains is removed.
//! Spec: spec/storage.md, "Generations".

use std::io;
use std::sync::Arc;

use super::current::{read_current, write_current};
use super::error::StoreError;
use super::options::{INDEX_FILE, NEW_INDEX_FILE, QUARANTINE_PREFIX};
use super::segment_header::segment_number;
use super::snapshot_id::{INCOMING_FILE, NEW_INCOMING_FILE, read_incoming};
use crate::io::Folder;
use crate::quarantine::QUARANTINE_FOLDER;

/// In a generation that is being removed and might otherwise be taken for one that is not.
const DISCARDED_FILE: &str = "discarded";

/// Name of the folder of a generation.
pub fn generation_name(number: u32) -> String {
    format!("g-{number:08}")
}

fn generation_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("g-")?.parse().ok()?;
    (generation_name(number) == name && number > 0).then_some(number)
}

/// The generations in the folder of a set.
#[derive(Clone, Debug)]
pub(super) struct Generations {
    folder: Arc<dyn Folder>,
}

impl Generations {
    /// Those in `folder`. A folder of a layout without generations is refused.
    pub(super) fn new(folder: Arc<dyn Folder>) -> Result<Self, StoreError> {
        let names = list(&*folder)?;
        let of_store = |name: &&String| *name == INDEX_FILE || segment_number(name).is_some();
        match names.iter().find(of_store) {
            Some(file) => Err(StoreError::FlatLayout { file: file.clone() }),
            None => Ok(Generations { folder }),
        }
    }

    /// Makes the names durable that a process which was killed had changed. Whoever relies on what
    /// is found here does this first: a later power cut could take them back.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        // What was moved there first, so that no cut leaves it at neither place.
        if subfolders(&*self.folder)?
            .iter()
            .any(|name| name == QUARANTINE_FOLDER)
        {
            sync(&*self.open_folder(QUARANTINE_FOLDER)?)?;
        }
        sync(&*self.folder)
    }

    /// The one that counts; `None` for a store that was never made to the end.
    pub(super) fn current(&self) -> Result<Option<u32>, StoreError> {
        read_current(&*self.folder)
    }

    /// From now on `number` counts.
    pub(super) fn make_current(&self, number: u32) -> Result<(), StoreError> {
        write_current(&*self.folder, number)
    }

    /// The numbers that are there, in order.
    pub(super) fn numbers(&self) -> Result<Vec<u32>, StoreError> {
        let names = subfolders(&*self.folder)?;
        let mut numbers: Vec<u32> = names
            .iter()
            .filter_map(|name| generation_number(name))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A number that nothing has.
    pub(super) fn next_number(&self) -> Result<u32, StoreError> {
        let mut highest = self.numbers()?.last().copied().unwrap_or(0);
        highest = highest.max(self.current()?.unwrap_or(0));
        if subfolders(&*self.folder)?
            .iter()
            .any(|name| name == QUARANTINE_FOLDER)
        {
            let names = subfolders(&*self.open_folder(QUARANTINE_FOLDER)?)?;
            let numbers = names.iter().filter_map(|name| generation_number(name));
            highest = numbers.fold(highest, u32::max);
        }
        Ok(highest + 1)
    }

    /// The folder of a generation that is there.
    pub(super) fn existing(&self, number: u32) -> Result<Arc<dyn Folder>, StoreError> {
        if self.numbers()?.contains(&number) {
            return self.make(number);
        }
        let what = "it is missing, and current names it";
        Err(StoreError::damaged(generation_name(number), what))
    }

    /// The folder of a generation, made when it is missing.
    pub(super) fn make(&self, number: u32) -> Result<Arc<dyn Folder>, StoreError> {
        self.open_folder(&generation_name(number))
    }

    fn open_folder(&self, name: &str) -> Result<Arc<dyn Folder>, StoreError> {
        let opened = self.folder.folder(name);
        opened.map_err(|source| StoreError::io("open", name, source))
    }

    /// The generation that holds what is left of a store that was never made to the end, or the
    /// first one. A store that lost its file `current` is damaged.
    pub(super) fn unfinished_first(&self) -> Result<u32, StoreError> {
        let numbers = self.numbers()?;
        let is_first = match numbers.as_slice() {
            [] => true,
            [1] => list(&*self.make(1)?)?
                .iter()
                .all(|name| name == INDEX_FILE || name == NEW_INDEX_FILE),
            _ => false,
        };
        if is_first {
            return Ok(1);
        }
        let what = "it is missing beside its generations";
        Err(StoreError::damaged(super::current::CURRENT_FILE, what))
    }

    /// Removes what was replaced and what a crash left, beside the generation that counts; what no
    /// crash explains is set aside. Returns the new names of that.
    pub(super) fn clear_up(&self, current: u32) -> Result<Vec<String>, StoreError> {
        let mut set_aside = Vec::new();
        for number in self.numbers()? {
            if number < current {
                self.remove(number)?;
            } else if number > current {
                set_aside.extend(self.clear_up_newer(number)?);
            }
        }
        Ok(set_aside)
    }

    fn clear_up_newer(&self, number: u32) -> Result<Option<String>, StoreError> {
        let folder = self.make(number)?;
        let _lock = match folder.lock() {
            Ok(lock) => lock,
            // A writer is at work there; it, or the next start, knows what to do with it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(source) => return Err(StoreError::io("lock", generation_name(number), source)),
        };
        let names = list(&*folder)?;
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        let is_begun = names.iter().all(|name| name == NEW_INCOMING_FILE);
        if is_begun || has(DISCARDED_FILE) {
            self.remove(number)?;
            return Ok(None);
        }
        if has(INCOMING_FILE) && read_incoming(&*folder)?.is_some() {
            return Ok(None);
        }
        self.set_aside(number).map(Some)
    }

    /// Removes a generation with all that is in it, but for files in quarantine.
    pub(super) fn remove(&self, number: u32) -> Result<(), StoreError> {
        let name = generation_name(number);
        let failed = |source| StoreError::io("remove", name.as_str(), source);
        let folder = self.make(number)?;
        let names = list(&*folder)?;
        if names.iter().any(|name| name == INCOMING_FILE) {
            // A part of it must not pass for a snapshot that can be resumed.
            folder
                .rename(INCOMING_FILE, DISCARDED_FILE)
                .map_err(failed)?;
        }
        // A process that was killed may have renamed it, without this.
        folder.sync().map_err(failed)?;
        let is_marker = |name: &String| name == DISCARDED_FILE;
        let (kept, others): (Vec<String>, Vec<String>) = list(&*folder)?
            .into_iter()
            .filter(|name| !is_marker(name))
            .partition(|name| name.starts_with(QUARANTINE_PREFIX));
        for other in others {
            folder.remove(&other).map_err(failed)?;
        }
        folder.sync().map_err(failed)?;
        if list(&*folder)?.iter().any(is_marker) {
            folder.remove(DISCARDED_FILE).map_err(failed)?;
            folder.sync().map_err(failed)?;
        }
        if kept.is_empty() {
            return self.folder.remove_folder(&name).map_err(failed);
        }
        self.set_aside(number).map(drop)
    }

    fn set_aside(&self, number: u32) -> Result<String, StoreError> {
        let name = generation_name(number);
        self.open_folder(QUARANTINE_FOLDER)?;
        let moved = self.folder.move_folder(&name, QUARANTINE_FOLDER, &name);
        moved.map_err(|source| StoreError::io("move", name.as_str(), source))?;
        Ok(format!("{QUARANTINE_FOLDER}/{name}"))
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync(folder: &dyn Folder) -> Result<(), StoreError> {
    let synced = folder.sync();
    // Never "full": after a failed sync nothing is known about what was changed before.
    synced.map_err(|source| StoreError::Io {
        doing: "sync",
        file: "the store's folder".to_owned(),
        source,
    })
}

/// The files of a folder.
pub(super) fn list(folder: &dyn Folder) -> Result<Vec<String>, StoreError> {
    let names = folder.list();
    names.map_err(|source| StoreError::io("list", "the store's folder", source))
}

fn subfolders(folder: &dyn Folder) -> Result<Vec<String>, StoreError> {
    let names = folder.folders();
    names.map_err(|source| StoreError::io("list", "the store's folder", source))
}

/// Removes a file that may be there.
pub(super) fn remove_if_there(folder: &dyn Folder, name: &str) -> Result<(), StoreError> {
    match folder.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| StoreError::io("remove", name, source)),
    }
}
