//! Takes a data folder up, or refuses it and leaves it as it was.
//!
//! Everything that can be refused is looked at before anything is changed: the identity, whether
//! log and stores are all there, each store, then the log, which refuses before it writes. What
//! store and log must agree on is compared last: a store may be ahead of neither what its log still
//! has nor behind what its log has purged, or acknowledged messages are missing.
//!
//! A node that has peers, and is not the only voter of what it holds, goes further: what is damaged
//! moves to quarantine and is filled again from the peers, and a replica that may have lost entries
//! becomes suspect, which is written down before anything is repaired. A log that ends before its
//! store goes on behind it; one that begins behind its store begins again there, for what is
//! between the two is nowhere on this node.
//!
//! A new folder gets its identity's name last, so that a folder half made is told from one that
//! lost its parts. Spec: spec/storage.md, "The data folder", "Quarantine", "Suspect replicas".

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use sampan_protocol::SetId;
use sampan_storage::io::{Folder, FolderLock};
use sampan_storage::log::{Log, LogError, LogId, LogIdentity, LogOptions, Recovery, SetLogState};
use sampan_storage::quarantine;
use sampan_storage::store::{Recovered, Store, StoreError, StoreIdentity, StoreOptions};

use crate::identity::{Identity, IdentityError};
use crate::raft::payload::LogPayload;
use crate::suspicion::Suspicion;

pub(crate) const LOG_FOLDER: &str = "log";

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
    /// The folder is another node's.
    #[error("the data folder is of node {found}, but this is node {wanted}: name the right folder")]
    WrongNode {
        /// Whose it is.
        found: u64,
        /// Who wanted it.
        wanted: u64,
    },
    /// A file operation.
    #[error("data folder {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// How a data folder is to be taken up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenOptions {
    /// What a new folder becomes.
    pub(crate) fresh: Identity,
    pub(crate) log: LogOptions,
    /// There are peers to repair damage from.
    pub(crate) has_peers: bool,
    /// The folder is new under an id that had another one: nothing of it may vote yet.
    pub(crate) is_replacement: bool,
    /// An operator says that nothing is missing, whatever it looks like.
    pub(crate) trust_log: bool,
}

/// A data folder that was taken up.
pub(crate) struct DataFolder {
    pub(crate) identity: Identity,
    /// Held for as long as the node is open.
    pub(crate) lock: FolderLock,
    pub(crate) log: Log<LogPayload>,
    /// The stores of all sets, by number.
    pub(crate) stores: Vec<(Store, Recovered)>,
    pub(crate) suspicion: Suspicion,
}

impl DataFolder {
    /// Takes `folder` up; an empty one becomes a folder of `options.fresh`.
    pub(crate) fn open(
        folder: &Arc<dyn Folder>,
        options: OpenOptions,
    ) -> Result<DataFolder, OpenError> {
        let lock = lock(folder)?;
        let io = |error| OpenError::Io(folder.path(), error);
        // A process that was killed may have renamed files and not synced that. What is built on
        // their names from here on must not outlive them.
        folder.sync().map_err(io)?;
        let found = Identity::find(folder).map_err(OpenError::Identity)?;
        let is_new = found.is_none();
        let identity = match found {
            Some(identity) => identity,
            None => {
                options.fresh.begin(folder).map_err(io)?;
                Identity::begun(folder).map_err(OpenError::Identity)?
            }
        };
        let suspicion = Suspicion::open(folder.clone()).map_err(io)?;
        if is_new && options.is_replacement {
            suspicion.raise(identity.sets()).map_err(io)?;
        }
        let opening = Opening {
            folder,
            identity,
            options,
            suspicion: &suspicion,
        };
        let mut anew = quarantine::pending(folder).map_err(io)?;
        if !is_new {
            opening.examine(&mut anew)?;
        }
        let log = opening.open_log(&mut anew)?;
        let stores = opening.open_stores(&log)?;
        for name in anew {
            quarantine::replaced(folder, &name).map_err(io)?;
        }
        if options.trust_log {
            for set in suspicion.all() {
                tracing::warn!(%set, "trusted by the operator's word");
                suspicion.absolve(set).map_err(io)?;
            }
        }
        if is_new {
            Identity::finish(folder).map_err(io)?;
        }
        Ok(DataFolder {
            identity,
            lock,
            log,
            stores,
            suspicion,
        })
    }
}

/// A folder that is being taken up.
struct Opening<'a> {
    folder: &'a Arc<dyn Folder>,
    identity: Identity,
    options: OpenOptions,
    suspicion: &'a Suspicion,
}

impl Opening<'_> {
    fn io(&self, error: io::Error) -> OpenError {
        OpenError::Io(self.folder.path(), error)
    }

    /// Whether somebody else has what these sets hold: this node is not their only voter. An
    /// operator may give it up.
    fn can_be_refilled(&self, sets: impl IntoIterator<Item = SetId>) -> bool {
        let is_only_copy = |set| {
            let voters = self.suspicion.hard_state().voters(set);
            voters.is_some_and(|voters| voters.are_only(self.identity.node))
        };
        let mut sets = sets.into_iter();
        self.options.has_peers && (self.options.trust_log || !sets.any(is_only_copy))
    }

    /// Looks at everything but the log. Without peers nothing is changed; with peers a damaged
    /// store goes to quarantine, and its name to `anew`.
    fn examine(&self, anew: &mut Vec<String>) -> Result<(), OpenError> {
        let folders = self.folder.folders().map_err(|error| self.io(error))?;
        let names =
            std::iter::once(LOG_FOLDER.to_owned()).chain(self.identity.sets().map(set_folder));
        for name in names {
            if !folders.contains(&name) && !anew.contains(&name) {
                return Err(OpenError::Missing(self.folder.path().join(name)));
            }
        }
        for set in self.identity.sets() {
            let name = set_folder(set);
            if anew.contains(&name) {
                continue;
            }
            let set_folder = self.folder.folder(&name).map_err(|error| self.io(error))?;
            let identity = store_identity(&self.identity, set);
            match Store::examine(set_folder, identity, StoreOptions::default()) {
                Ok(_) => {}
                Err(error) if error.is_damage() && self.can_be_refilled([set]) => {
                    self.set_aside(&name, &error, [set], anew)?;
                }
                Err(error) => return Err(OpenError::Store(set, error)),
            }
        }
        Ok(())
    }

    /// Suspects `sets`, then moves the folder `name` to quarantine.
    fn set_aside(
        &self,
        name: &str,
        error: &dyn std::error::Error,
        sets: impl IntoIterator<Item = SetId>,
        anew: &mut Vec<String>,
    ) -> Result<(), OpenError> {
        let io = |error| self.io(error);
        self.suspicion.raise(sets).map_err(io)?;
        let place = quarantine::set_aside(self.folder, name, &error.to_string()).map_err(io)?;
        tracing::error!(
            folder = name, place, error = %error,
            "damaged: set aside, and to be filled again from the peers"
        );
        anew.push(name.to_owned());
        Ok(())
    }

    fn open_log(&self, anew: &mut Vec<String>) -> Result<Log<LogPayload>, OpenError> {
        match self.try_log() {
            Err(OpenError::Log(error))
                if is_damage(&error) && self.can_be_refilled(self.identity.sets()) =>
            {
                self.set_aside(LOG_FOLDER, &error, self.identity.sets(), anew)?;
                self.try_log()
            }
            opened => opened,
        }
    }

    fn try_log(&self) -> Result<Log<LogPayload>, OpenError> {
        let folder = self.folder.folder(LOG_FOLDER);
        let folder = folder.map_err(|error| self.io(error))?;
        let identity = LogIdentity {
            node: self.identity.node,
            cluster: self.identity.cluster,
        };
        let note = |recovery: &Recovery| {
            let is_lost = recovery.cut_off || recovery.boot_changed && !recovery.clean;
            match is_lost {
                true => self.suspicion.raise(self.identity.sets()),
                false => Ok(()),
            }
        };
        let opened = Log::open_noting(folder, identity, self.options.log, note);
        let (log, recovery) = opened.map_err(OpenError::Log)?;
        tracing::info!(?recovery, "log recovered");
        Ok(log)
    }

    fn open_stores(&self, log: &Log<LogPayload>) -> Result<Vec<(Store, Recovered)>, OpenError> {
        let sets = self.identity.sets();
        sets.map(|set| {
            let (store, recovered) = self.open_store(set)?;
            self.bring_together(set, &recovered, log)?;
            Ok((store, recovered))
        })
        .collect()
    }

    fn open_store(&self, set: SetId) -> Result<(Store, Recovered), OpenError> {
        let folder = self.folder.folder(&set_folder(set));
        let folder = folder.map_err(|error| self.io(error))?;
        let identity = store_identity(&self.identity, set);
        let opened = Store::open(folder, identity, StoreOptions::default());
        let (store, recovered) = opened.map_err(|error| OpenError::Store(set, error))?;
        for name in &recovered.quarantined {
            tracing::error!(%set, file = %name, "a file that nothing refers to is in quarantine");
        }
        Ok((store, recovered))
    }

    /// Store and log of a set must be of one time, or be made so.
    fn bring_together(
        &self,
        set: SetId,
        store: &Recovered,
        log: &Log<LogPayload>,
    ) -> Result<(), OpenError> {
        let state = log.state(set);
        let Err(mismatch) = check_agreement(set, store, state) else {
            return Ok(());
        };
        let is_ahead = next(store.applied.map(|id| id.index)) > end_of(state);
        match store.applied {
            // The store is fresh or an older copy: its leader sends what is missing.
            applied if !is_ahead && self.can_be_refilled([set]) => {
                tracing::error!(%set, error = %mismatch, "entries are missing from the store");
                let raised = self.suspicion.raise([set]);
                raised.map_err(|error| self.io(error))?;
                wait_for(|done| log.reset(set, applied, done)).map_err(OpenError::Log)
            }
            // A snapshot came, and the log was not told before the node stopped.
            Some(applied) if is_ahead && store.snapshot_applied == Some(applied) => {
                wait_for(|done| log.purge(set, applied, done)).map_err(OpenError::Log)
            }
            Some(applied) if is_ahead && self.can_be_refilled([set]) => {
                tracing::error!(%set, error = %mismatch, "entries are missing from the log");
                let raised = self.suspicion.raise([set]);
                raised.map_err(|error| self.io(error))?;
                wait_for(|done| log.purge(set, applied, done)).map_err(OpenError::Log)
            }
            _ => Err(mismatch),
        }
    }
}

fn is_damage(error: &LogError) -> bool {
    matches!(
        error,
        LogError::Damaged { .. } | LogError::EntriesMissing { .. }
    )
}

/// Waits for a call of the log. For threads that may block.
pub(crate) fn wait_for(call: impl FnOnce(sampan_storage::log::Done)) -> Result<(), LogError> {
    let (done, result) = std::sync::mpsc::channel();
    call(Box::new(move |result| {
        // Whoever waits is still there: it blocks below.
        drop(done.send(result));
    }));
    result.recv().unwrap_or(Err(LogError::Closed))
}

fn lock(folder: &Arc<dyn Folder>) -> Result<FolderLock, OpenError> {
    folder.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Identity(IdentityError::InUse(folder.path())),
        _ => OpenError::Io(folder.path(), error),
    })
}

/// Name of the folder of a set.
pub(crate) fn set_folder(set: SetId) -> String {
    format!("set-{:04}", set.0)
}

pub(crate) fn store_identity(identity: &Identity, set: SetId) -> StoreIdentity {
    StoreIdentity {
        node: identity.node,
        cluster: identity.cluster,
        set,
    }
}

/// The folder of a set's store.
pub(crate) fn folder_of_set(folder: &Arc<dyn Folder>, set: SetId) -> io::Result<Arc<dyn Folder>> {
    folder.folder(&set_folder(set))
}

/// One behind `index`. openraft's first entry has index 0, so "none" stands one before it.
fn next(index: Option<u64>) -> u64 {
    index.map_or(0, |index| index + 1)
}

/// One behind the log's last entry.
fn end_of(log: SetLogState) -> u64 {
    next(log.last.or(log.purged).map(|id: LogId| id.index))
}

/// The entries behind what the store has applied must follow it without a gap.
fn check_agreement(set: SetId, store: &Recovered, log: SetLogState) -> Result<(), OpenError> {
    let applied = next(store.applied.map(|id| id.index));
    let first = next(log.purged.map(|id| id.index));
    let end = end_of(log);
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
mod tests;
