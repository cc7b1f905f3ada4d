//! Damage to the files of a node that does not run.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rand::Rng;
use rand::rngs::StdRng;

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
    use std::fs;
    use std::path::PathBuf;

    use rand::SeedableRng;

    use super::*;

    fn log() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("00000002.log");
        fs::write(&path, [7; 6 * 4_096]).expect("a file");
        (folder, path)
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
        let (kept, gone) = bytes.split_at(8_192);
        assert!(kept.iter().all(|byte| *byte == 7) && gone.iter().all(|byte| *byte == 0));
        cut(&path, 5_000);
        assert_eq!(fs::metadata(&path).expect("a file").len(), 5_000);
    }
}
