//! The generation in which a snapshot is put together, held by one writer at a time.
//!
//! A connection that broke may leave its writer behind for a while; the one that follows must not
//! remove or fill the same files. The lock on the generation's folder tells.
//!
//! Spec: spec/storage.md, "Snapshots".

use std::io;
use std::sync::Arc;

use super::current::CURRENT_FILE;
use super::error::StoreError;
use super::generations::{Generations, generation_name, sync};
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
        if !is_newer(&generations, number)? {
            // Another writer was faster, and its snapshot is the store now.
            let source = io::Error::other("it was installed meanwhile");
            return Err(StoreError::io("fill", generation_name(number), source));
        }
        // What a process that was killed left there may be gone on with.
        sync(&*folder)?;
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

/// The generations above the one that counts. Any of them may be that one a moment later: who
/// changes one takes its lock, which an installation holds, and looks again.
pub(super) fn newer(generations: &Generations) -> Result<Vec<u32>, StoreError> {
    let current = existing_current(generations)?;
    let mut numbers = generations.numbers()?;
    numbers.retain(|number| *number > current);
    Ok(numbers)
}

fn is_newer(generations: &Generations, number: u32) -> Result<bool, StoreError> {
    Ok(number > existing_current(generations)?)
}

fn existing_current(generations: &Generations) -> Result<u32, StoreError> {
    let current = generations.current()?;
    current.ok_or_else(|| StoreError::damaged(CURRENT_FILE, "it is missing"))
}

/// Removes a generation in which no writer is at work, unless it counts by now.
pub(super) fn remove_unlocked(generations: &Generations, number: u32) -> Result<(), StoreError> {
    let _lock = lock(&*generations.make(number)?)?;
    if is_newer(generations, number)? {
        generations.remove(number)
    } else {
        Ok(())
    }
}

fn lock(folder: &dyn Folder) -> Result<FolderLock, StoreError> {
    let locked = folder.lock();
    locked.map_err(|source| StoreError::io("lock", "a snapshot that is being received", source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimulatedDisk;

    fn generations() -> Generations {
        let generations = Generations::new(SimulatedDisk::new().root()).unwrap();
        generations.make_current(1).unwrap();
        for number in 1..=3 {
            generations.make(number).unwrap();
        }
        generations
    }

    #[test]
    fn a_generation_that_was_installed_since_it_was_listed_is_not_removed() {
        let generations = generations();
        let listed = newer(&generations).unwrap();
        assert_eq!(listed, [2, 3]);
        generations.make_current(2).unwrap();
        for number in listed {
            remove_unlocked(&generations, number).unwrap();
        }
        assert_eq!(generations.numbers().unwrap(), [1, 2]);
    }

    #[test]
    fn a_generation_that_was_installed_since_it_was_listed_is_not_filled() {
        let generations = generations();
        let identity = StoreIdentity {
            node: 1,
            cluster: 2,
            set: sampan_protocol::SetId(3),
        };
        let take = |number| {
            let options = StoreOptions::default();
            Place::take(generations.clone(), number, identity, options)
        };
        drop(take(2).unwrap());
        generations.make_current(2).unwrap();
        take(2).unwrap_err();
        take(3).unwrap();
    }

    #[test]
    fn what_a_writer_holds_is_not_cleared_up() {
        let generations = generations();
        let held = generations.make(2).unwrap().lock().unwrap();
        assert!(remove_unlocked(&generations, 2).is_err());
        generations.clear_up(1).unwrap();
        assert_eq!(generations.numbers().unwrap(), [1, 2]);
        drop(held);
        generations.clear_up(1).unwrap();
        assert_eq!(generations.numbers().unwrap(), [1]);
    }
}
