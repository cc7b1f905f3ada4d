//! Opening a log: claim the folder, walk the files, and only then change anything.
//!
//! Everything that can be refused is refused before the first write, so a folder that is not ours,
//! damaged, or newer than this release stays as it is. Then what a crash left is cleared away, and
//! an opening batch is written and synced: it takes the place of whatever was cut off, so that no
//! later crash can bring that back in parts.
//!
//! What was cut off is forgotten by that batch. Whoever must not forget it is told before: a crash
//! after the repair then finds the note, a crash before it finds the torn end again.
//!
//! Invariants: nothing is written before the walk is done and the caller was told. Once open
//! returns, all that the recovery saw is synced, and the next batch follows it in the chain.
//! Spec: spec/storage.md, "The log".

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::batch::Link;
use super::file_header::{FileHeader, file_name, number_in};
use super::files::{Files, LogFile};
use super::limits::{FILE_LEN_MAX, PAGE_LEN};
use super::preparer::{FileMaker, Preparer, Spare};
use super::record::RecordKind;
use super::recovery::{FileImage, Walker};
use super::set_log::SetLog;
use super::shared::Shared;
use super::state::LogState;
use super::writer::{Tail, Writer};
use super::{LogError, LogIdentity, LogOptions, Payload};
use crate::io::{Folder, FolderLock, is_full};

/// What opening a log found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The log ended in a batch that was not whole; it is gone.
    pub cut_off: bool,
    /// The end of the log is known to have been synced, or the log is new.
    pub clean: bool,
    /// The machine was started again since the log was last opened.
    pub boot_changed: bool,
}

/// A log without threads: whoever has it runs its two machines.
pub(super) struct Opened<P> {
    pub(super) shared: Arc<Shared<P>>,
    pub(super) recovery: Recovery,
    pub(super) writer: Writer<P>,
    pub(super) preparer: Preparer<P>,
}

/// What is in the folder of a log.
pub(super) struct Found {
    pub(super) files: Vec<LogFile>,
    pub(super) spares: Vec<(u64, String)>,
    pub(super) walker: Walker,
}

/// Opens the log; `before_repair` runs between the walk and the first write.
pub(super) fn open<P: Payload>(
    folder: Arc<dyn Folder>,
    identity: LogIdentity,
    options: LogOptions,
    before_repair: impl FnOnce(&Recovery) -> io::Result<()>,
) -> Result<Opened<P>, LogError> {
    let options = options.checked();
    let path = folder.path().display().to_string();
    let lock = claim(&*folder, &path)?;
    let found = walk(&*folder, &path, identity)?;
    let boot_id = (options.boot_id)();
    let is_new = found.files.is_empty();
    let recovery = Recovery {
        cut_off: found.walker.cut_off,
        clean: found.walker.closed && !found.walker.cut_off || is_new,
        boot_changed: found.walker.opened.is_some_and(|(last, _)| last != boot_id),
    };
    before_repair(&recovery)
        .map_err(|error| LogError::io(format!("noting what was found in {path}"), error))?;
    let maker = FileMaker {
        folder,
        identity,
        options,
        next_generation: found.files.last().map_or(1, |file| file.generation + 1),
        spares: Vec::new(),
    };
    start(found, maker, boot_id, recovery, lock).map_err(|error| match is_full(&error) {
        true => LogError::Full,
        false => LogError::io(format!("opening the log in {path}"), error),
    })
}

fn claim(folder: &dyn Folder, path: &str) -> Result<FolderLock, LogError> {
    let lock = folder.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => LogError::InUse {
            folder: path.to_owned(),
        },
        _ => LogError::io(format!("locking log folder {path}"), error),
    })?;
    // A process that was killed may have changed names that only the kernel knows. What is written
    // from here on relies on them, so a later power cut must not take them back.
    let synced = folder.sync();
    synced.map_err(|error| LogError::io(format!("syncing log folder {path}"), error))?;
    Ok(lock)
}

/// Reads everything; changes nothing.
pub(super) fn walk(
    folder: &dyn Folder,
    path: &str,
    identity: LogIdentity,
) -> Result<Found, LogError> {
    let names = folder
        .list()
        .map_err(|error| LogError::io(format!("listing {path}"), error))?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| number_in(name, "log"))
        .collect();
    numbers.sort_unstable();
    let spares = names
        .into_iter()
        .filter_map(|name| Some((number_in(&name, "spare")?, name)))
        .collect();
    let mut found = Found {
        files: Vec::new(),
        spares,
        walker: Walker::default(),
    };
    for generation in numbers {
        let place = folder
            .path()
            .join(file_name(generation))
            .display()
            .to_string();
        if let Some(last) = found.files.last()
            && last.generation + 1 != generation
        {
            return Err(LogError::damaged(
                &place,
                0,
                "the file before it is missing",
            ));
        }
        let file = walk_file(folder, generation, &place, identity, &mut found.walker)?;
        found.files.push(file);
    }
    found.walker.finish(path)?;
    if let (None, Some(oldest)) = (found.walker.tail, found.files.first())
        && oldest.generation != 1
    {
        let place = folder
            .path()
            .join(file_name(oldest.generation))
            .display()
            .to_string();
        return Err(LogError::damaged(
            &place,
            PAGE_LEN,
            "the oldest file has no batch",
        ));
    }
    Ok(found)
}

fn walk_file(
    folder: &dyn Folder,
    generation: u64,
    place: &str,
    identity: LogIdentity,
    walker: &mut Walker,
) -> Result<LogFile, LogError> {
    let reading = |error| LogError::io(format!("reading {place}"), error);
    let file = folder.open(&file_name(generation)).map_err(reading)?;
    let len = file.len().map_err(reading)?;
    if len > FILE_LEN_MAX {
        return Err(LogError::damaged(place, 0, "longer than any log file"));
    }
    let mut bytes = vec![0; usize::try_from(len).expect("checked against the longest file")];
    file.read_exact_at(&mut bytes, 0).map_err(reading)?;
    let header = FileHeader::decode(&bytes, place, identity)?;
    if header.generation != generation {
        return Err(LogError::damaged(
            place,
            0,
            "its name is that of another file",
        ));
    }
    if header.file_len != len {
        return Err(LogError::damaged(
            place,
            0,
            "its length is not what its header says",
        ));
    }
    let seed = header.seed();
    walker.walk(&FileImage {
        name: place,
        generation,
        seed,
        bytes: &bytes,
    })?;
    Ok(LogFile {
        generation,
        file,
        len,
        seed,
    })
}

/// Clears away what a crash left, and writes the opening batch.
fn start<P: Payload>(
    found: Found,
    mut maker: FileMaker,
    boot_id: u128,
    recovery: Recovery,
    lock: FolderLock,
) -> io::Result<Opened<P>> {
    let Found {
        files,
        spares,
        walker,
    } = found;
    clear(&mut maker, &files, spares, &walker)?;
    let files = split(files, walker.tail);
    let sets: BTreeMap<_, _> = walker
        .sets
        .into_iter()
        .map(|(set, walked)| (set, SetLog::new(walked.state, walked.terms, walked.extents)))
        .collect();
    if let Some(file) = files.used.back() {
        // The last batch may only be known to the kernel. The next one may go into another file.
        file.file.sync_data()?;
    }
    let mut state = LogState::new(maker.options, sets, files);
    let (file, offset) = first_place(&mut state, &mut maker, walker.tail)?;
    let open_count = walker
        .opened
        .map_or(0, |(_, count)| count.saturating_add(1));
    let link = walker.link.unwrap_or(Link {
        sequence: 1,
        previous_crc: 0,
    });
    let opened = RecordKind::Opened {
        boot_id,
        open_count,
    };
    let shared = Shared::new(state, lock);
    let mut writer = Writer::new(
        Arc::clone(&shared),
        Tail {
            file,
            offset,
            link,
            opened,
        },
    );
    writer.open()?;
    let preparer = Preparer::new(Arc::clone(&shared), maker);
    Ok(Opened {
        shared,
        recovery,
        writer,
        preparer,
    })
}

/// Where the opening batch goes, with the next file ready if there is no room for it here.
fn first_place<P: Payload>(
    state: &mut LogState<P>,
    maker: &mut FileMaker,
    tail: Option<(u64, usize)>,
) -> io::Result<(LogFile, usize)> {
    if let (Some((_, offset)), Some(file)) = (tail, state.files.used.back()) {
        let file = file.clone();
        let needed = state.state_len().next_multiple_of(PAGE_LEN);
        if offset as u64 + needed as u64 <= file.len || !state.files.ready.is_empty() {
            return Ok((file, offset));
        }
        // What purged files give up counts when the disk is full.
        state.retire_files();
        while let Some(file) = state.files.retired.pop_front() {
            maker.give_up(file)?;
        }
        state.files.ready.push_back(maker.make(0, || ())?);
        return Ok((file, offset));
    }
    let first = match state.files.ready.pop_front() {
        Some(first) => first,
        None => maker.make(0, || ())?,
    };
    state.files.used.push_back(first.clone());
    Ok((first, PAGE_LEN))
}

/// Overwrites what was begun behind the end, and sorts out the spare files.
fn clear(
    maker: &mut FileMaker,
    files: &[LogFile],
    spares: Vec<(u64, String)>,
    walker: &Walker,
) -> io::Result<()> {
    for (generation, begun) in &walker.empty {
        if let (true, Some(file)) = (begun, files.iter().find(|f| f.generation == *generation)) {
            file.file.write_all_at(&[0; PAGE_LEN], PAGE_LEN as u64)?;
            file.file.sync_data()?;
        }
    }
    clear_leftovers(files, &walker.leftovers)?;
    for (_, name) in spares {
        let file = maker.folder.open(&name)?;
        if file.len()? == maker.options.file_len {
            maker.spares.push(Spare { name, file });
        } else {
            maker.folder.remove(&name)?;
        }
    }
    Ok(())
}

/// Makes sure that no batch that was cut off is taken for one of those that will be written.
fn clear_leftovers(files: &[LogFile], leftovers: &[(u64, u64)]) -> io::Result<()> {
    for file in files {
        let of_file = |(generation, _): &&(u64, u64)| *generation == file.generation;
        let mut offsets = leftovers.iter().filter(of_file).peekable();
        if offsets.peek().is_none() {
            continue;
        }
        for (_, offset) in offsets {
            file.file.write_all_at(&[0; PAGE_LEN], *offset)?;
        }
        file.file.sync_data()?;
    }
    Ok(())
}

/// Files up to the tail are in use, those after it are ready.
fn split(files: Vec<LogFile>, tail: Option<(u64, usize)>) -> Files {
    let last_used = tail.map_or(0, |(generation, _)| generation);
    let (used, ready) = files
        .into_iter()
        .partition(|file| file.generation <= last_used);
    Files {
        used,
        ready,
        ..Files::default()
    }
}
