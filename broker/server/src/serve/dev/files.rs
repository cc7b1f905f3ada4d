//! Files of secrets: readable by their owner alone, there whole or not at all.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Writes `path`, in place of what was there.
pub(super) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = write_beside(path, text)?;
    std::fs::rename(&new, path).with_context(|| format!("writing {}", path.display()))
}

/// Reads `path`; where there is none, places what `make` gives, unless somebody else is faster,
/// whose file is read then.
pub(super) fn read_or_place(
    path: &Path,
    make: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    let reading = || format!("reading {}", path.display());
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return read.with_context(reading),
    }
    let new = write_beside(path, &make()?)?;
    let placed = std::fs::hard_link(&new, path);
    std::fs::remove_file(&new).with_context(|| format!("removing {}", new.display()))?;
    match placed {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("writing {}", path.display()))
        }
        _ => std::fs::read_to_string(path).with_context(reading),
    }
}

/// Writes a file beside `path`, under a name that nobody else has.
fn write_beside(path: &Path, text: &str) -> anyhow::Result<PathBuf> {
    let new = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let writing = || format!("writing {}", new.display());
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .with_context(writing)?;
    file.write_all(text.as_bytes()).with_context(writing)?;
    Ok(new)
}
