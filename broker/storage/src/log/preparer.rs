//! The preparer: gives up purged files and makes the next ones ready, off the write path.
//!
//! A file is ready when it is filled with zeros or with what an earlier use left, carries a header
//! of a new generation, and is synced under its name in a synced folder. A write into it then
//! changes no metadata, and its sync costs about half of that of a growing file.
//!
//! A full disk is no fault: the file is tried again when another one is given up, and every
//! second. Any other failure latches the log.
//!
//! Invariants: a file has a name that recovery reads only while its header is synced. One file is
//! given up at a time, and its folder synced before the next one.
//! Spec: spec/storage.md, "The log".

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::file_header::{FileHeader, file_name, spare_name};
use super::files::LogFile;
use super::limits::{READY_COUNT, SPARE_COUNT_MAX};
use super::shared::Shared;
use super::{LogIdentity, LogOptions, Payload};
use crate::io::{File, Folder, is_full};

/// Bytes of zeros written at a time.
const FILL_LEN: usize = 1024 * 1024;
/// When to look again whether a full disk has room.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// A file that waits to be used.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
}

/// Makes files without knowing of the log's state, so that opening can use it too.
#[derive(Debug)]
pub(super) struct FileMaker {
    pub(super) folder: Arc<dyn Folder>,
    pub(super) identity: LogIdentity,
    pub(super) options: LogOptions,
    pub(super) next_generation: u64,
    pub(super) spares: Vec<Spare>,
}

impl FileMaker {
    /// Makes the next file ready. `free_len_min` stays free beside it.
    pub(super) fn make(&mut self, free_len_min: u64) -> io::Result<LogFile> {
        let generation = self.next_generation;
        let spare = match self.spares.pop() {
            Some(spare) => spare,
            None => self.make_spare(generation, free_len_min)?,
        };
        let len = self.options.file_len;
        let header = FileHeader {
            identity: self.identity,
            generation,
            file_len: len,
        };
        if let Err(error) = self.put_in_place(&spare, &header) {
            self.spares.push(spare);
            return Err(error);
        }
        self.next_generation += 1;
        Ok(LogFile {
            generation,
            file: spare.file,
            len,
            seed: header.seed(),
        })
    }

    fn put_in_place(&self, spare: &Spare, header: &FileHeader) -> io::Result<()> {
        spare.file.write_all_at(&header.encode(), 0)?;
        spare.file.sync_data()?;
        self.folder
            .rename(&spare.name, &file_name(header.generation))?;
        self.folder.sync()
    }

    /// Takes `file` out of use and keeps it for later, or deletes it.
    pub(super) fn give_up(&mut self, file: LogFile) -> io::Result<()> {
        let name = file_name(file.generation);
        if self.spares.len() >= SPARE_COUNT_MAX || file.len != self.options.file_len {
            self.folder.remove(&name)?;
            return self.folder.sync();
        }
        let spare = Spare {
            name: spare_name(file.generation),
            file: file.file,
        };
        self.folder.rename(&name, &spare.name)?;
        self.folder.sync()?;
        self.spares.push(spare);
        Ok(())
    }

    fn make_spare(&self, number: u64, free_len_min: u64) -> io::Result<Spare> {
        let needed = self.options.file_len.saturating_add(free_len_min);
        if self.folder.available_len()? < needed {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let name = spare_name(number);
        let file = self.folder.create(&name)?;
        if let Err(error) = fill(&*file, self.options.file_len) {
            // What was filled so far is room that somebody else may need.
            self.folder.remove(&name)?;
            return Err(error);
        }
        Ok(Spare { name, file })
    }
}

fn fill(file: &dyn File, len: u64) -> io::Result<()> {
    let zeros = vec![0; FILL_LEN];
    let mut offset = 0;
    while offset < len {
        let part = usize::try_from(len - offset).map_or(FILL_LEN, |rest| rest.min(FILL_LEN));
        file.write_all_at(&zeros[..part], offset)?;
        offset += part as u64;
    }
    file.sync_data()
}

enum Job {
    GiveUp(LogFile),
    Make,
}

/// Keeps a log supplied with files.
pub struct Preparer<P> {
    shared: Arc<Shared<P>>,
    maker: FileMaker,
}

impl<P: Payload> Preparer<P> {
    pub(super) fn new(shared: Arc<Shared<P>>, maker: FileMaker) -> Self {
        Preparer { shared, maker }
    }

    /// Gives up or makes one file; `false` when there is nothing to do, or no room.
    pub fn step(&mut self) -> bool {
        let Some(job) = self.next_job() else {
            return false;
        };
        let result = match job {
            Job::GiveUp(file) => self.maker.give_up(file).map(|()| None),
            Job::Make => self.maker.make(self.maker.options.free_len_min).map(Some),
        };
        match result {
            Ok(ready) => {
                let mut state = self.shared.state();
                if let Some(file) = ready {
                    state.full = false;
                    state.files.ready.push_back(file);
                    self.shared.work.notify_one();
                }
                true
            }
            Err(error) if is_full(&error) => {
                let mut state = self.shared.state();
                if !state.full {
                    tracing::warn!(folder = %self.maker.folder.path().display(),
                        "no room to make another log file ready");
                }
                state.full = true;
                false
            }
            Err(error) => {
                self.shared.latch(error);
                false
            }
        }
    }

    /// Runs until the log is closed.
    pub(super) fn run(mut self) {
        loop {
            if self.step() {
                continue;
            }
            let shared = Arc::clone(&self.shared);
            let state = shared.state();
            if state.closing || state.latched.is_some() {
                return;
            }
            let has_work = !state.files.retired.is_empty()
                || (state.files.ready.len() < READY_COUNT && !state.full);
            if has_work {
                continue;
            }
            const FAILED: &str = "whoever panics here stops the node";
            if state.full {
                drop(
                    shared
                        .prepare
                        .wait_timeout(state, FULL_RETRY)
                        .expect(FAILED),
                );
            } else {
                drop(shared.prepare.wait(state).expect(FAILED));
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.shared.state();
        if state.check_open().is_err() {
            return None;
        }
        match state.files.retired.pop_front() {
            Some(file) => Some(Job::GiveUp(file)),
            None if state.files.ready.len() < READY_COUNT => Some(Job::Make),
            None => None,
        }
    }
}
