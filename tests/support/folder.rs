//! What is in a folder: of a running broker, files come and go while one looks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::first_line::START_MAX;
use crate::waiting::within;

/// A broker that has written nothing for so long has nothing left to write.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

/// Length and CRC32C of every file below a folder, by path from there; `None` for a folder.
pub(crate) type Content = BTreeMap<PathBuf, Option<(u64, u32)>>;

/// Everything below `folder`, to be compared.
pub(crate) fn content(folder: &Path) -> Content {
    let mut found = Content::new();
    walk(folder, &mut |path| {
        let name = path
            .strip_prefix(folder)
            .expect("it is below the folder")
            .to_owned();
        if path.is_dir() {
            found.insert(name, None);
        } else if let Ok(bytes) = fs::read(path) {
            found.insert(
                name,
                Some((bytes.len() as u64, sampan_protocol::checksum(&bytes))),
            );
        }
    });
    found
}

/// Everything below `folder`, once it has not changed for a while.
pub(crate) fn settled(folder: &Path) -> Content {
    let (mut since, mut before) = (Instant::now(), content(folder));
    within(START_MAX, "a folder that does not change", || {
        let now = content(folder);
        if now != before {
            (since, before) = (Instant::now(), now);
        }
        (since.elapsed() >= SETTLED_AFTER).then(|| before.clone())
    })
}

/// The files below `folder` whose names end like this, in order, and their lengths.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    walk(folder, &mut |path| {
        if path.extension().is_some_and(|end| end == extension)
            && let Ok(metadata) = fs::metadata(path)
        {
            found.push((path.to_owned(), metadata.len()));
        }
    });
    found.sort_unstable();
    found
}

fn walk(folder: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        each(&path);
        if path.is_dir() {
            walk(&path, each);
        }
    }
}
