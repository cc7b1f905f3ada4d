//! What the store, its checkpoint jobs and its readers share: the files, and the latch.
//!
//! After a failed write or sync nobody knows what the disk holds, so the latch closes and nothing
//! is done until the store is opened again; a sync is never tried a second time. No room is the one
//! failure that is not: the transaction is undone, its leftovers in the segment files are removed,
//! and the same checkpoint can run again.
//!
//! Spec: spec/storage.md, "Checkpoints".

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::index::Index;
use super::meta::Meta;
use super::options::StoreOptions;
use super::repairs::Repairs;
use super::segment_account::SegmentAccounts;
use super::segment_header::segment_name;
use super::segments::Segments;

/// The store as of its last checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    pub(super) meta: Meta,
    pub(super) accounts: SegmentAccounts,
    /// Segments whose files are gone, and whose accounts the next checkpoint strikes.
    pub(super) unlinked: Vec<u32>,
}

/// The files of an open store.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) index: Index,
    pub(super) segments: Segments,
    pub(super) options: StoreOptions,
    /// Messages that take the place of damaged ones.
    pub(super) repairs: Repairs,
    committed: Mutex<Committed>,
    /// Segments that could not be read to be rewritten; not tried again until the next start.
    unreadable: Mutex<BTreeSet<u32>>,
    is_latched: AtomicBool,
    /// A snapshot took the store's place: no checkpoint writes into it any more.
    is_replaced: AtomicBool,
}

impl Shared {
    /// The files as they were found, with their state.
    pub(super) fn new(
        index: Index,
        segments: Segments,
        options: StoreOptions,
        committed: Committed,
    ) -> Arc<Self> {
        Arc::new(Shared {
            index,
            segments,
            options,
            repairs: Repairs::default(),
            committed: Mutex::new(committed),
            unreadable: Mutex::default(),
            is_latched: AtomicBool::new(false),
            is_replaced: AtomicBool::new(false),
        })
    }

    /// The state as of the last checkpoint. Locked by one checkpoint at a time.
    pub(super) fn committed(&self) -> MutexGuard<'_, Committed> {
        self.committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The segments that are not worth another try at rewriting them.
    pub(super) fn unreadable(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses when the latch is closed.
    pub(super) fn check_latch(&self) -> Result<(), StoreError> {
        if self.is_latched.load(Ordering::Acquire) {
            Err(StoreError::Latched)
        } else {
            Ok(())
        }
    }

    /// Refuses when nothing more may be written here.
    pub(super) fn check_writable(&self) -> Result<(), StoreError> {
        if self.is_replaced.load(Ordering::Acquire) {
            return Err(StoreError::Replaced);
        }
        self.check_latch()
    }

    /// Ends writing into this store, after a checkpoint that is running. Readers go on.
    pub(super) fn replace(&self) {
        let committed = self.committed();
        self.is_replaced.store(true, Ordering::Release);
        drop(committed);
    }

    pub(super) fn latch(&self) {
        self.is_latched.store(true, Ordering::Release);
    }

    /// Brings the store back to its last checkpoint after `error`, when that is possible without
    /// doubt; latches it otherwise. Returns the error to report.
    pub(super) fn settle(&self, error: StoreError, committed: &mut Committed) -> StoreError {
        let can_go_on = match &error {
            StoreError::Full { .. } | StoreError::TooLong { .. } => true,
            // redb may report a later error than the one that stopped it.
            StoreError::Io { .. } | StoreError::Latched => self.index.only_full(),
            _ => false,
        };
        if !can_go_on {
            self.latch();
            return error;
        }
        if let Err(error) = self.undo(committed) {
            self.latch();
            return error;
        }
        match error {
            StoreError::Io { file, source, .. } => StoreError::Full { file, source },
            StoreError::Latched => StoreError::Full {
                file: super::options::INDEX_FILE.to_owned(),
                source: std::io::Error::from(std::io::ErrorKind::StorageFull),
            },
            other => other,
        }
    }

    /// Removes what an undone checkpoint left, and opens the index anew.
    fn undo(&self, committed: &mut Committed) -> Result<(), StoreError> {
        let next = committed.accounts.next;
        let mut leftovers = self.segments.numbers()?;
        leftovers.retain(|number| *number >= next);
        self.segments.unlink(&leftovers)?;
        if let Some(number) = committed.accounts.newest.take()
            && let Some(account) = committed.accounts.account(number)
        {
            let failed = |source| StoreError::io("cut off", segment_name(number), source);
            let file = self.segments.file(number).map_err(failed)?;
            file.set_len(account.len).map_err(failed)?;
        }
        self.index.reopen()
    }
}
