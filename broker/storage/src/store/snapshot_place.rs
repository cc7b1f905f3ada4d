//! The generation in which a snapshot is put together, held by one writer at a time.
//!
//! A connection that broke may leave its writer behind for a while; the one that follows must not
//! remove or fill the same files. The lock on the generation's folder tells.
//!
//! Spec: spec/storage.md, "Snapshots".

use std::sync::Arc;

use super::current::CURRENT_FILE;
use super::error::StoreError;
use super::generations::Generations;
use super::options::{StoreIdentity, StoreOptions};
use crate::io::{Folder, FolderLock};

/// Where a snapshot is put together, and for whom.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) generations: Generations,
    pub(super) number: u32,
    pub(super) folder: Arc<dyn Folder>,
    pub(super) identity: StoreIdentity,
    pub(super) options: StoreOptions,
    /// Held so that no other writer removes it meanwhile.
    _lock: FolderLock,
}

impl Place {
    /// Takes the place of a generation, made when it is missing, for as long as the result lives.
    pub(super) fn take(
        generations: Generations,
        number: u32,
        identity: StoreIdentity,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let folder = generations.make(number)?;
        let lock = lock(&*folder)?;
        Ok(Place {
            generations,
            number,
            folder,
            identity,
            options,
            _lock: lock,
        })
    }
}

/// The generations above the one that counts.
pub(super) fn newer(generations: &Generations) -> Result<Vec<u32>, StoreError> {
    let current = generations.current()?;
    let current = current.ok_or_else(|| StoreError::damaged(CURRENT_FILE, "it is missing"))?;
    let mut numbers = generations.numbers()?;
    numbers.retain(|number| *number > current);
    Ok(numbers)
}

/// Removes a generation in which no writer is at work.
pub(super) fn remove_unlocked(generations: &Generations, number: u32) -> Result<(), StoreError> {
    let lock = lock(&*generations.make(number)?)?;
    drop(lock);
    generations.remove(number)
}

fn lock(folder: &dyn Folder) -> Result<FolderLock, StoreError> {
    let locked = folder.lock();
    locked.map_err(|source| StoreError::io("lock", "a snapshot that is being received", source))
}
