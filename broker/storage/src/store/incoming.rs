//! A snapshot that was received whole, and takes the place of the store.
//!
//! One rename decides. Before it, the old store is what a restart finds, and the snapshot waits
//! beside it; behind it, the new one. The store that is replaced may still be read meanwhile, and
//! a checkpoint of it that is running ends first.
//!
//! Spec: spec/storage.md, "Snapshots".

use super::error::StoreError;
use super::open::{Recovered, open_generation};
use super::queue_store::{Retired, Store};
use super::snapshot_id::SnapshotId;
use super::snapshot_place::Place;

/// A whole snapshot beside the store.
#[derive(Debug)]
pub struct Incoming {
    pub(super) place: Place,
    pub(super) id: SnapshotId,
}

impl Incoming {
    /// Which snapshot it is.
    pub fn id(&self) -> &SnapshotId {
        &self.id
    }

    /// Puts the snapshot in the place of `retired`, turns the readers of that to it, and removes
    /// the files of the old store. Blocks on the disk, for as long as removing them takes.
    ///
    /// `retired` is the store of the same set on this node, by [`Store::retire`].
    ///
    /// # Errors
    ///
    /// What the disk says. The old store is then still read, but takes no more checkpoints: the
    /// folder is to be opened again, and has the one or the other.
    pub fn install(self, retired: Retired) -> Result<(Store, Recovered), StoreError> {
        let Incoming { place, .. } = self;
        retired.shared.replace();
        place.generations.make_current(place.number)?;
        let (shared, mut recovered) =
            open_generation(place.folder.clone(), place.identity, retired.options)?;
        let store = Store::in_place_of(retired, shared);
        let set_aside = place.generations.clear_up(place.number)?;
        recovered.quarantined.extend(set_aside);
        Ok((store, recovered))
    }
}
