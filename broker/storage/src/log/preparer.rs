//! The preparer: gives up purged files and makes the next ones ready, off the write path.
//!
//! A file is ready when it is filled with zeros or with what an earlier use left, carries a header
//! of a new generation, and is synced under its name in a synced folder. A write into it then
//! changes no metadata, and its sync costs about half of that of a growing file.
//!
//! Filling takes the disk from the log's own syncs, so while there is no hurry it is done in small
//! pieces with pauses. That no send waits for a whole file is the aim; a gain was not measurable.
//!
//! A full disk is no fault: the file is tried again when another one is given up, and every
//! second. Any other failure latches the log.
//!
//! Invariants: a file has a name that recovery reads only while its header is synced. One file is
//! given up at a time, and its folder synced before the next one. No two spare files are given one
//! name: a rename replaces what has the name without a word.
//! Spec: spec/storage.md, "The log".

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file_header::{FileHeader, file_name, spare_name};
use super::files::LogFile;
use super::limits::{READY_COUNT, SPARE_COUNT_MAX};
use super::shared::Shared;
use super::state::LogState;
use super::{LogIdentity, LogOptions, Payload};
use crate::io::{File, Folder, is_full};

/// Bytes of zeros written at a time.
const FILL_LEN: usize = 256 * 1024;
/// Pause between them, while there is no hurry: a file of 64 MiB takes a second and a half.
const FILL_PAUSE: Duration = Duration::from_millis(5);
/// A file that is needed sooner after the one before is made in a hurry.
const CALM_INTERVAL: Duration = Duration::from_secs(2);
/// Why the lock is never poisoned.
const FAILED: &str = "whoever panics here stops the node";
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
    /// Makes the next file ready. `free_len_min` stays free beside it. `pause` is called between
    /// the pieces of a file that must be filled.
    pub(super) fn make(&mut self, free_len_min: u64, pause: impl Fn()) -> io::Result<LogFile> {
        let generation = self.next_generation;
        let spare = match self.spares.pop() {
            Some(spare) => spare,
            None => self.make_spare(generation, free_len_min, pause)?,
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
            name: self.free_spare_name(file.generation),
            file: file.file,
        };
        self.folder.rename(&name, &spare.name)?;
        self.folder.sync()?;
        self.spares.push(spare);
        Ok(())
    }

    /// A name for a spare file that no other has, by `number` or one of those behind it. A spare
    /// that was made for a generation may still wait, unused, when a file of that generation is
    /// given up: another spare became that file.
    fn free_spare_name(&self, number: u64) -> String {
        let is_free = |name: &String| self.spares.iter().all(|spare| spare.name != *name);
        let mut names = (number..).map(spare_name);
        names.find(is_free).expect("there are few spare files")
    }

    fn make_spare(&self, number: u64, free_len_min: u64, pause: impl Fn()) -> io::Result<Spare> {
        let needed = self.options.file_len.saturating_add(free_len_min);
        if self.folder.available_len()? < needed {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let name = self.free_spare_name(number);
        let file = self.folder.create(&name)?;
        if let Err(error) = fill(&*file, self.options.file_len, pause) {
            // What was filled so far is room that somebody else may need.
            self.folder.remove(&name)?;
            return Err(error);
        }
        Ok(Spare { name, file })
    }
}

fn fill(file: &dyn File, len: u64, pause: impl Fn()) -> io::Result<()> {
    let zeros = vec![0; FILL_LEN];
    let mut offset = 0;
    while offset < len {
        let part = usize::try_from(len - offset).map_or(FILL_LEN, |rest| rest.min(FILL_LEN));
        file.write_all_at(&zeros[..part], offset)?;
        offset += part as u64;
        if offset < len {
            pause();
        }
    }
    file.sync_data()
}

/// Leaves the disk to the log for a moment, unless that waits for the file.
fn pause_for_log<P: Payload>(shared: &Shared<P>) {
    let state = shared.state();
    let has_time = |state: &mut LogState<P>| !state.files.ready.is_empty() && !state.closing;
    let waited = shared
        .prepare
        .wait_timeout_while(state, FILL_PAUSE, has_time);
    drop(waited.expect(FAILED));
}

enum Job {
    GiveUp(LogFile),
    Make,
}

/// Keeps a log supplied with files.
pub struct Preparer<P> {
    shared: Arc<Shared<P>>,
    maker: FileMaker,
    /// When it began to make a file last.
    began_at: Option<Instant>,
}

impl<P: Payload> Preparer<P> {
    pub(super) fn new(shared: Arc<Shared<P>>, maker: FileMaker) -> Self {
        Preparer {
            shared,
            maker,
            began_at: None,
        }
    }

    /// Gives up or makes one file; `false` when there is nothing to do, or no room.
    pub fn step(&mut self) -> bool {
        let Some(job) = self.next_job() else {
            return false;
        };
        let result = match job {
            Job::GiveUp(file) => self.maker.give_up(file).map(|()| None),
            Job::Make => self.make().map(Some),
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

    fn make(&mut self) -> io::Result<LogFile> {
        let before = self.began_at.replace(Instant::now());
        let is_calm = before.is_some_and(|at| at.elapsed() >= CALM_INTERVAL);
        let shared = Arc::clone(&self.shared);
        let pause = move || {
            if is_calm {
                pause_for_log(&shared);
            }
        };
        self.maker.make(self.maker.options.free_len_min, pause)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimulatedDisk;

    const FILE_LEN: u64 = 64 * 1024;

    fn maker(folder: Arc<dyn Folder>, next_generation: u64) -> FileMaker {
        FileMaker {
            folder,
            identity: LogIdentity {
                node: 1,
                cluster: 2,
            },
            options: LogOptions {
                file_len: FILE_LEN,
                ..LogOptions::default()
            },
            next_generation,
            spares: Vec::new(),
        }
    }

    fn names_on_disk_are_those_in_memory(maker: &FileMaker) {
        let mut names: Vec<_> = maker.spares.iter().map(|spare| &spare.name).collect();
        names.sort_unstable();
        let found = maker.folder.list().unwrap();
        let found = found.iter().filter(|name| name.ends_with(".spare"));
        assert_eq!(found.collect::<Vec<_>>(), names);
    }

    #[test]
    fn a_spare_that_was_made_for_a_generation_and_the_file_of_that_generation_never_meet() {
        let mut maker = maker(SimulatedDisk::new().root(), 11);
        let eleventh = maker.make(0, || ()).unwrap();
        // Made for the twelfth, and left by a node that was killed before it was used.
        let made = maker.make_spare(12, 0, || ()).unwrap();
        maker.spares.push(made);
        // What is given up lies on top, and becomes the twelfth instead.
        maker.give_up(eleventh).unwrap();
        let twelfth = maker.make(0, || ()).unwrap();
        assert_eq!(twelfth.generation, 12);
        maker.give_up(twelfth).unwrap();
        names_on_disk_are_those_in_memory(&maker);
        assert_eq!(maker.spares.len(), 2);
        for generation in 13..16 {
            assert_eq!(maker.make(0, || ()).unwrap().generation, generation);
            names_on_disk_are_those_in_memory(&maker);
        }
    }
}
