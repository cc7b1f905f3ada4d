//! Where the batches of a stopped node's log are, for tests that damage them.
//!
//! Knows as much of the log's layout as it takes to hit the newest batch with entries: batches
//! begin on pages, with a magic, their generation, count and sequence (spec/storage.md, "Batches").

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(crate) const PAGE_LEN: u64 = 4_096;
const HEAD_LEN: usize = 40;

/// A batch of the log.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) file: PathBuf,
    pub(crate) at: u64,
    pub(crate) len: u32,
    sequence: u64,
}

/// Whole batches with more than state records, oldest first.
pub(crate) fn batches(log: &Path) -> Vec<Batch> {
    let mut found = Vec::new();
    for path in files(log, "log") {
        let file = File::open(&path).expect("a file of the log can be read");
        let len = file.metadata().expect("and looked at").len();
        let mut head = [0; HEAD_LEN + 8];
        file.read_exact_at(&mut head, 0).expect("it has a header");
        let generation = &head[40..48];
        for page in 1..len / PAGE_LEN {
            let mut batch = [0; HEAD_LEN];
            let at = page * PAGE_LEN;
            file.read_exact_at(&mut batch, at)
                .expect("it has whole pages");
            if &batch[..4] == b"SBAT" && &batch[16..24] == generation {
                found.extend(parse(&path, at, &batch));
            }
        }
    }
    found.sort_by_key(|batch| batch.sequence);
    found
}

fn parse(file: &Path, at: u64, head: &[u8; HEAD_LEN]) -> Option<Batch> {
    let u32_at = |at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let state_count = u32::from(u16::from_le_bytes([head[6], head[7]]));
    let sequence = u64::from(u32_at(24)) | u64::from(u32_at(28)) << 32;
    (u32_at(8) > state_count).then(|| Batch {
        file: file.to_owned(),
        at,
        len: u32_at(12),
        sequence,
    })
}

/// Files of this kind below a folder, in order.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log file with the batches 5 (closing), 6, 7 and one of an earlier generation.
    fn log() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("00000002.log");
        let mut bytes = vec![0; 6 * 4_096];
        bytes[40] = 2;
        for (page, generation, count, sequence) in
            [(1, 2, 0u8, 5), (2, 2, 3, 6), (3, 2, 3, 7), (4, 1, 3, 9)]
        {
            let batch = &mut bytes[page * 4_096..];
            batch[..4].copy_from_slice(b"SBAT");
            (batch[8], batch[12], batch[16], batch[24]) = (count, 200, generation, sequence);
        }
        fs::write(&path, bytes).expect("a file");
        (folder, path)
    }

    #[test]
    fn the_newest_batch_with_entries_of_the_right_generation_is_found() {
        let (folder, path) = log();
        let batches = batches(folder.path());
        let newest = batches.last().expect("two batches");
        assert_eq!(
            (newest.at, newest.len, newest.sequence),
            (3 * 4_096, 200, 7)
        );
        assert_eq!((batches.len(), &newest.file), (2, &path));
    }
}
