//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders without anything of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "corpus", "artifacts"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize()
        .expect("the package lies in broker/server")
}

/// Every file below `folder` whose name ends like this, by its path from the root, with its text.
pub(crate) fn with_extension(folder: &str, extension: &str) -> Vec<(String, String)> {
    let root = root();
    let mut paths = Vec::new();
    add(&root.join(folder), extension, &mut paths);
    paths.sort_unstable();
    assert!(!paths.is_empty(), "no {extension} below {folder:?}");
    let named = |path: PathBuf| {
        let name = path
            .strip_prefix(&root)
            .expect("below the root")
            .display()
            .to_string();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, text)
    };
    paths.into_iter().map(named).collect()
}

fn add(folder: &Path, extension: &str, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() && !SKIPPED.contains(&name) {
            add(&path, extension, paths);
        } else if path.is_file() && path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
}

/// Fails with every complaint on a line of its own.
pub(crate) fn assert_none(complaints: &[String]) {
    assert!(
        complaints.is_empty(),
        "{} complaints:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}
