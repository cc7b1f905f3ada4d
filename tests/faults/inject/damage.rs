//! Damage to the files of a node that does not run.
//!
//! Knows as much of the log's layout as it takes to hit the newest batch with entries: batches
//! begin on pages, with a magic, their generation, count and sequence (spec/storage.md, "Batches").

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::StdRng;

const PAGE_LEN: u64 = 4_096;
const HEAD_LEN: usize = 40;

/// A batch of the log.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) file: PathBuf,
    pub(super) at: u64,
    pub(super) len: u32,
    sequence: u64,
}

/// Whole batches with more than state records, oldest first.
pub(super) fn batches(log: &Path) -> Vec<Batch> {
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

/// Flips a bit somewhere in this part of a file.
pub(super) fn flip(path: &Path, from: u64, len: u64, random: &mut StdRng) -> String {
    let file = File::options().read(true).write(true).open(path);
    let file = file.expect("the file can be opened");
    let at = from + random.random_range(0..len);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is that long");
    byte[0] ^= 1 << random.random_range(0..8);
    file.write_all_at(&byte, at)
        .expect("the file can be written");
    format!("{} at {at}", name(path))
}

/// Cuts a file off.
pub(super) fn cut(path: &Path, len: u64) -> String {
    let file = File::options().write(true).open(path);
    let cut = file.and_then(|file| file.set_len(len));
    cut.expect("the file can be cut off");
    format!("{} cut off at {len}", name(path))
}

/// Takes back everything from a place to the end of a file, which stays as long as it is.
pub(super) fn zero(path: &Path, from: u64) -> String {
    let file = File::options()
        .write(true)
        .open(path)
        .expect("the file can be opened");
    let len = file.metadata().expect("and looked at").len();
    let zeroed = file.set_len(from).and_then(|()| file.set_len(len));
    zeroed.expect("the file can be written");
    format!("{} zero from {from}", name(path))
}

/// Files of this kind below a folder, in order.
pub(super) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
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

fn name(path: &Path) -> String {
    let parts = path
        .iter()
        .rev()
        .take(2)
        .map(|part| part.to_string_lossy().into_owned());
    let parts: Vec<String> = parts.collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

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

    #[test]
    fn one_bit_of_the_named_part_is_flipped() {
        let (_folder, path) = log();
        let before = fs::read(&path).expect("a file");
        flip(&path, 8_192, 200, &mut StdRng::seed_from_u64(1));
        let after = fs::read(&path).expect("a file");
        let differing: Vec<usize> = (0..before.len())
            .filter(|at| before[*at] != after[*at])
            .collect();
        assert_eq!(differing.len(), 1);
        assert!((8_192..8_392).contains(&differing[0]));
        assert_eq!((before[differing[0]] ^ after[differing[0]]).count_ones(), 1);
    }

    #[test]
    fn zeroing_keeps_the_length_and_cutting_does_not() {
        let (_folder, path) = log();
        zero(&path, 8_192);
        let bytes = fs::read(&path).expect("a file");
        assert_eq!(bytes.len(), 6 * 4_096);
        assert!(bytes[8_192..].iter().all(|byte| *byte == 0));
        cut(&path, 5_000);
        assert_eq!(fs::metadata(&path).expect("a file").len(), 5_000);
    }
}
