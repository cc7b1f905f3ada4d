//! Takes a data folder up, or refuses it and leaves it as it was.
//!
//! Everything that can be refused is looked at before anything is changed: the identity, whether
//! log and stores are all there, each store, then the log, which refuses before it writes. What
//! store and log must agree on is compared last: a store may be ahead of neither what its log still
//! has nor behind what its log has purged, or acknowledged messages are missing.
//!
//! A new folder gets its identity's name last, so that a folder half made is told from one that
//! lost its parts. Spec: spec/storage.md, "The data folder".

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use sampan_protocol::SetId;
use sampan_storage::io::{Folder, FolderLock};
use sampan_storage::log::{Log, LogError, LogIdentity, LogOptions, SetLogState};
use sampan_storage::store::{Recovered, Store, StoreError, StoreIdentity, StoreOptions};

use crate::identity::{Identity, IdentityError};
use crate::raft::payload::LogPayload;

const LOG_FOLDER: &str = "log";

/// Why a data folder could not be taken up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder's identity is missing, unreadable, or another's.
    #[error("identity of the data folder")]
    Identity(#[source] IdentityError),
    /// A part of the folder is gone.
    #[error("{} is missing: restore it from a backup of this node", .0.display())]
    Missing(PathBuf),
    /// The log.
    #[error("log of the data folder")]
    Log(#[source] LogError),
    /// The store of a set.
    #[error("store of set {0}")]
    Store(SetId, #[source] StoreError),
    /// Store and log are not of one time.
    #[error(
        "store of set {set} holds what was applied up to entry {applied}, but the log has entries \
         {first} to {last}: one of them is an older copy, or was lost; restore both together"
    )]
    Mismatch {
        /// The set.
        set: SetId,
        /// What the store has applied.
        applied: u64,
        /// The first entry that the log still has.
        first: u64,
        /// The last entry of the log.
        last: u64,
    },
    /// A file operation.
    #[error("data folder {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// A data folder that was taken up.
pub(crate) struct DataFolder {
    pub(crate) identity: Identity,
    /// Held for as long as the node is open.
    pub(crate) lock: FolderLock,
    pub(crate) log: Log<LogPayload>,
    /// The stores of all sets, by number.
    pub(crate) stores: Vec<(Store, Recovered)>,
}

impl DataFolder {
    /// Takes `folder` up; an empty one becomes a folder of `fresh`.
    pub(crate) fn open(
        folder: &Arc<dyn Folder>,
        fresh: Identity,
        log_options: LogOptions,
    ) -> Result<DataFolder, OpenError> {
        let lock = lock(folder)?;
        let identity = Identity::find(folder).map_err(OpenError::Identity)?;
        let io = |error| OpenError::Io(folder.path(), error);
        match &identity {
            Some(identity) => examine(folder, identity)?,
            None => fresh.begin(folder).map_err(io)?,
        }
        let is_new = identity.is_none();
        let identity = match identity {
            Some(identity) => identity,
            None => Identity::begun(folder).map_err(OpenError::Identity)?,
        };
        let log_folder = folder.folder(LOG_FOLDER).map_err(io)?;
        let log_identity = LogIdentity {
            node: identity.node,
            cluster: identity.cluster,
        };
        let (log, recovery) =
            Log::open(log_folder, log_identity, log_options).map_err(OpenError::Log)?;
        tracing::info!(?recovery, "log recovered");
        let mut stores = Vec::new();
        for set in identity.sets() {
            let set_folder = folder.folder(&set_folder(set)).map_err(io)?;
            let opened = open_store(set_folder, &identity, set)?;
            check_agreement(set, &opened.1, log.state(set))?;
            stores.push(opened);
        }
        if is_new {
            Identity::finish(folder).map_err(io)?;
        }
        Ok(DataFolder {
            identity,
            lock,
            log,
            stores,
        })
    }
}

fn lock(folder: &Arc<dyn Folder>) -> Result<FolderLock, OpenError> {
    folder.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Identity(IdentityError::InUse(folder.path())),
        _ => OpenError::Io(folder.path(), error),
    })
}

/// Looks at everything but the log, and changes nothing.
fn examine(folder: &Arc<dyn Folder>, identity: &Identity) -> Result<(), OpenError> {
    let folders = folder
        .folders()
        .map_err(|error| OpenError::Io(folder.path(), error))?;
    let is_there = |name: &str| match folders.iter().any(|folder| folder == name) {
        true => Ok(()),
        false => Err(OpenError::Missing(folder.path().join(name))),
    };
    is_there(LOG_FOLDER)?;
    for set in identity.sets() {
        is_there(&set_folder(set))?;
    }
    for set in identity.sets() {
        let set_folder = folder
            .folder(&set_folder(set))
            .map_err(|error| OpenError::Io(folder.path(), error))?;
        Store::examine(
            set_folder,
            store_identity(identity, set),
            StoreOptions::default(),
        )
        .map_err(|error| OpenError::Store(set, error))?;
    }
    Ok(())
}

fn set_folder(set: SetId) -> String {
    format!("set-{:04}", set.0)
}

fn store_identity(identity: &Identity, set: SetId) -> StoreIdentity {
    StoreIdentity {
        node: identity.node,
        cluster: identity.cluster,
        set,
    }
}

fn open_store(
    folder: Arc<dyn Folder>,
    identity: &Identity,
    set: SetId,
) -> Result<(Store, Recovered), OpenError> {
    let (store, recovered) = Store::open(
        folder,
        store_identity(identity, set),
        StoreOptions::default(),
    )
    .map_err(|error| OpenError::Store(set, error))?;
    for name in &recovered.quarantined {
        tracing::error!(%set, file = %name, "a file that nothing refers to is in quarantine");
    }
    Ok((store, recovered))
}

/// The entries behind what the store has applied must follow it without a gap.
fn check_agreement(set: SetId, store: &Recovered, log: SetLogState) -> Result<(), OpenError> {
    // openraft's first entry has index 0, so "none" stands one before it.
    let next = |index: Option<u64>| index.map_or(0, |index| index + 1);
    let applied = next(store.applied.map(|id| id.index));
    let first = next(log.purged.map(|id| id.index));
    let end = next(log.last.or(log.purged).map(|id| id.index));
    if (first..=end).contains(&applied) {
        return Ok(());
    }
    Err(OpenError::Mismatch {
        set,
        applied: applied.saturating_sub(1),
        first,
        last: end.saturating_sub(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sampan_storage::log::LogId;

    fn agree(applied: Option<u64>, purged: Option<u64>, last: Option<u64>) -> bool {
        let id = |index: Option<u64>| {
            index.map(|index| LogId {
                term: 1,
                node: 0,
                index,
            })
        };
        let store = Recovered {
            applied: id(applied),
            ..Recovered::default()
        };
        let log = SetLogState {
            vote: None,
            purged: id(purged),
            last: id(last),
        };
        check_agreement(SetId(0), &store, log).is_ok()
    }

    #[test]
    fn a_store_behind_the_purged_part_of_its_log_is_refused() {
        assert!(agree(Some(7), Some(7), Some(9)));
        assert!(agree(Some(8), Some(7), Some(9)));
        assert!(!agree(Some(6), Some(7), Some(9)));
        assert!(!agree(None, Some(7), Some(9)));
        assert!(agree(None, None, Some(9)));
    }

    #[test]
    fn a_store_ahead_of_its_log_is_refused() {
        assert!(agree(Some(9), Some(7), Some(9)));
        assert!(!agree(Some(10), Some(7), Some(9)));
        assert!(!agree(Some(3), None, None));
        assert!(agree(None, None, None));
    }
}
