//! What is in a folder, to be compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Length and CRC32C of every file below a folder, by path from there; `None` for a folder.
pub(crate) type Content = BTreeMap<PathBuf, Option<(u64, u32)>>;

/// Everything below `folder`.
pub(crate) fn content(folder: &Path) -> Content {
    let mut found = Content::new();
    add(folder, folder, &mut found);
    found
}

fn add(root: &Path, folder: &Path, found: &mut Content) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        let name = path
            .strip_prefix(root)
            .expect("it is below the root")
            .to_owned();
        if path.is_dir() {
            found.insert(name, None);
            add(root, &path, found);
        } else {
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                // A broker that runs gives its files other names now and then.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => panic!("{} cannot be read: {error}", path.display()),
            };
            found.insert(
                name,
                Some((bytes.len() as u64, sampan_protocol::checksum(&bytes))),
            );
        }
    }
}
