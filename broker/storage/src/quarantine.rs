//! Sets a damaged folder aside, so that a fresh one can be filled from other replicas.
//!
//! Nothing damaged is ever deleted or overwritten: it may be all that is left. The folder moves as
//! a whole to `quarantine/NAME-N` in the data folder, with a note of the reason. A mark beside it
//! says that NAME is to be made anew; while it is there, a missing or empty NAME is no damage.
//!
//! ```text
//!   mark written ──> folder moved ──> reason written ──> fresh one made ──> mark removed
//!   └────────────── set_aside, finished by pending ───┘                    └ replaced ┘
//! ```
//!
//! Invariants: at each step a crash leaves the folder at one place or the other, and the mark from
//! before the first change until after the last. A number is never given twice.
//! Spec: spec/storage.md, "Quarantine".

use std::io;
use std::sync::Arc;

use crate::io::{File, Folder};

/// Where damaged folders go, in the data folder, and in the folder of a set.
pub const QUARANTINE_FOLDER: &str = "quarantine";
/// Why the folder is there, in each folder that was set aside.
pub const REASON_FILE: &str = "reason.txt";
/// Longest reason that is kept.
pub const REASON_LEN_MAX: usize = 4_096;

const MARK_SUFFIX: &str = ".quarantine";
const NEW_MARK_SUFFIX: &str = ".quarantine-new";
const MAGIC: &str = "SMPNQUA1";

/// What a mark says: where the folder goes, and why.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    target: String,
    reason: String,
}

impl Mark {
    fn encode(&self) -> Vec<u8> {
        let content = format!("{}\n{}\n", self.target, self.reason);
        let crc = crc32c::crc32c(content.as_bytes());
        format!("{MAGIC} {crc:08x}\n{content}").into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (_, content) = text.split_once('\n')?;
        let (target, reason) = content.split_once('\n')?;
        let mark = Mark {
            target: target.to_owned(),
            reason: reason.strip_suffix('\n')?.to_owned(),
        };
        (mark.encode() == bytes).then_some(mark)
    }
}

/// Moves the folder `name` of the data folder into quarantine; nobody has it open. Returns where
/// it is now. [`replaced`] is to be called when a fresh one was made in its place.
///
/// # Errors
///
/// What the system says. [`pending`] finishes what was begun.
pub fn set_aside(data_folder: &Arc<dyn Folder>, name: &str, reason: &str) -> io::Result<String> {
    let number = 1 + highest_number(&**data_folder, name)?;
    let reason: String = reason.chars().filter(|own| *own != '\0').collect();
    let mark = Mark {
        target: format!("{name}-{number}"),
        reason: shortened(&reason).to_owned(),
    };
    let (new_name, mark_name) = (
        format!("{name}{NEW_MARK_SUFFIX}"),
        format!("{name}{MARK_SUFFIX}"),
    );
    remove_if_there(&**data_folder, &new_name)?;
    let file = data_folder.create(&new_name)?;
    put(&*file, &mark.encode())?;
    data_folder.rename(&new_name, &mark_name)?;
    data_folder.sync()?;
    carry_out(data_folder, name, &mark)
}

/// The folders that are to be made anew. Finishes the move of those that a crash interrupted. To
/// be asked before anything in the data folder is looked at.
///
/// # Errors
///
/// What the system says; [`io::ErrorKind::InvalidData`] for a mark that is damaged.
pub fn pending(data_folder: &Arc<dyn Folder>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for file in data_folder.list()? {
        let Some(name) = file.strip_suffix(MARK_SUFFIX) else {
            continue;
        };
        carry_out(data_folder, name, &read_mark(&**data_folder, &file)?)?;
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The fresh folder `name` is complete: from now on a missing one is damage again.
///
/// # Errors
///
/// What the system says.
pub fn replaced(data_folder: &Arc<dyn Folder>, name: &str) -> io::Result<()> {
    remove_if_there(&**data_folder, &format!("{name}{MARK_SUFFIX}"))?;
    data_folder.sync()
}

/// Moves the folder unless it was moved, and leaves the reason with it.
fn carry_out(data_folder: &Arc<dyn Folder>, name: &str, mark: &Mark) -> io::Result<String> {
    let place = data_folder.folder(QUARANTINE_FOLDER)?;
    let is_in = |folder: &Arc<dyn Folder>, wanted: &str| -> io::Result<bool> {
        Ok(folder.folders()?.iter().any(|own| own == wanted))
    };
    if !is_in(&place, &mark.target)? {
        if !is_in(data_folder, name)? {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        data_folder.move_folder(name, QUARANTINE_FOLDER, &mark.target)?;
    }
    let moved = place.folder(&mark.target)?;
    remove_if_there(&*moved, REASON_FILE)?;
    let file = moved.create(REASON_FILE)?;
    put(&*file, format!("{}\n", mark.reason).as_bytes())?;
    moved.sync()?;
    Ok(format!("{QUARANTINE_FOLDER}/{}", mark.target))
}

fn highest_number(data_folder: &dyn Folder, name: &str) -> io::Result<u64> {
    let place = data_folder.folder(QUARANTINE_FOLDER)?;
    let names = place.folders()?;
    let number = |other: &String| other.strip_prefix(name)?.strip_prefix('-')?.parse().ok();
    Ok(names.iter().filter_map(number).max().unwrap_or(0))
}

fn read_mark(data_folder: &dyn Folder, name: &str) -> io::Result<Mark> {
    let file = data_folder.open(name)?;
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "a damaged quarantine mark");
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    if len > 2 * REASON_LEN_MAX {
        return Err(invalid());
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Mark::decode(&bytes).ok_or_else(invalid)
}

fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_LEN_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

fn put(file: &dyn File, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    file.sync_data()
}

fn remove_if_there(folder: &dyn Folder, name: &str) -> io::Result<()> {
    match folder.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_a_changed_one_is_not() {
        let mark = Mark {
            target: "log-3".to_owned(),
            reason: "00000001.log is damaged\nat two places".to_owned(),
        };
        let bytes = mark.encode();
        assert_eq!(Mark::decode(&bytes), Some(mark));
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 4;
            assert_eq!(Mark::decode(&flipped), None, "byte {place}");
            assert_eq!(Mark::decode(&bytes[..place]), None);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let long = "ä".repeat(REASON_LEN_MAX);
        assert_eq!(shortened(&long).len(), REASON_LEN_MAX);
        assert_eq!(shortened(&format!("a{long}")).len(), REASON_LEN_MAX - 1);
    }
}
