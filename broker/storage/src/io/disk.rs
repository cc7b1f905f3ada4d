//! The real disk: positioned reads and writes, `fdatasync`, and a lock on the folder itself.
//!
//! The lock is taken on the folder's own handle, not on a lock file: claiming a folder then
//! changes nothing in it, so looking at a folder that belongs to somebody else leaves no trace.
//!
//! Invariants: a new folder is durable before it is handed out. A file is never opened by a name
//! that leads out of its folder.
//! Spec: spec/storage.md, "Files and folders".

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::direct::DirectFile;
use super::{File, Folder, FolderLock};

/// A folder of the file system.
#[derive(Clone, Debug)]
pub struct DiskFolder {
    path: PathBuf,
}

impl DiskFolder {
    /// The folder at `path`; made, with its parents, when it is missing.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<DiskFolder> {
        let path = path.into();
        make_durably(&path)?;
        Ok(DiskFolder { path })
    }

    fn names(&self, want_folders: bool) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let wanted = if want_folders {
                kind.is_dir()
            } else {
                kind.is_file()
            };
            // A name that is not UTF-8 is none of ours.
            if let (true, Ok(name)) = (wanted, entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn place(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name)?;
        Ok(self.path.join(name))
    }
}

impl Folder for DiskFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        self.names(false)
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        self.names(true)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.place(name)?;
        let file = fs::OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Arc::new(DiskFile::new(file, &path)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.place(name)?;
        let mut options = fs::OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Arc::new(DiskFile::new(file, &path)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.place(from)?, self.place(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.place(name)?)
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Folder>> {
        Ok(Arc::new(DiskFolder::open(self.place(name)?)?))
    }

    fn move_folder(&self, name: &str, into: &str, to: &str) -> io::Result<()> {
        let (from, into) = (self.place(name)?, self.place(into)?);
        check_name(to)?;
        let target = into.join(to);
        if target.exists() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        fs::rename(from, target)?;
        // The new name first: between the two syncs it may have both, but never none.
        fs::File::open(into)?.sync_all()?;
        self.sync()
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        fs::remove_dir(self.place(name)?)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    fn lock(&self) -> io::Result<FolderLock> {
        let folder = fs::File::open(&self.path)?;
        folder.try_lock()?;
        Ok(FolderLock::new(folder))
    }

    fn available_len(&self) -> io::Result<u64> {
        available_len(&self.path)
    }

    fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

#[derive(Debug)]
struct DiskFile {
    file: fs::File,
    direct: Option<DirectFile>,
}

impl DiskFile {
    fn new(file: fs::File, path: &Path) -> Self {
        DiskFile {
            file,
            direct: DirectFile::open(path),
        }
    }
}

impl File for DiskFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let is_read = match &self.direct {
            Some(direct) => direct.read_exact(buffer, offset)?,
            None => false,
        };
        match is_read {
            true => Ok(()),
            false => self.file.read_exact_at(buffer, offset),
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let pages = match &self.direct {
            Some(direct) => direct.write_pages(bytes, offset)?,
            None => 0..0,
        };
        let (start, end) = (pages.start, pages.end);
        if start == end {
            return self.file.write_all_at(bytes, offset);
        }
        self.file.write_all_at(&bytes[..start], offset)?;
        self.file.write_all_at(&bytes[end..], offset + end as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

/// Refuses names that are not a plain name inside one folder.
pub(super) fn check_name(name: &str) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a plain file name",
        ));
    }
    Ok(())
}

/// Makes `path` and its missing parents; each is synced into the folder that holds it.
pub(super) fn make_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::File::open(parent)?.sync_all()
}

#[expect(
    unsafe_code,
    reason = "the standard library does not tell the free space"
)]
fn available_len(path: &Path) -> io::Result<u64> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "zero byte in a path"))?;
    let mut about = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a C string and `about` has room for what the call fills in.
    let result = unsafe { libc::statvfs(path.as_ptr(), about.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled in all of `about`.
    let about = unsafe { about.assume_init() };
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, DiskFolder) {
        let place = tempfile::tempdir().unwrap();
        let folder = DiskFolder::open(place.path().join("a/b")).unwrap();
        (place, folder)
    }

    #[test]
    fn files_and_folders_are_listed_apart_and_sorted() {
        let (_place, folder) = folder();
        folder.create("b").unwrap();
        folder.create("a").unwrap();
        folder.folder("c").unwrap();
        assert_eq!(folder.list().unwrap(), ["a", "b"]);
        assert_eq!(folder.folders().unwrap(), ["c"]);
        folder.rename("a", "z").unwrap();
        folder.remove("b").unwrap();
        folder.sync().unwrap();
        assert_eq!(folder.list().unwrap(), ["z"]);
    }

    #[test]
    fn a_folder_moves_with_what_is_in_it_and_only_an_empty_one_is_removed() {
        let (_place, folder) = folder();
        folder.folder("from").unwrap().create("a").unwrap();
        folder.folder("into").unwrap();
        folder.move_folder("from", "into", "to").unwrap();
        assert_eq!(folder.folders().unwrap(), ["into"]);
        let into = folder.folder("into").unwrap();
        let moved = into.folder("to").unwrap();
        assert_eq!(moved.list().unwrap(), ["a"]);
        folder.folder("from").unwrap();
        let taken = folder.move_folder("from", "into", "to").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert!(into.remove_folder("to").is_err());
        moved.remove("a").unwrap();
        into.remove_folder("to").unwrap();
        assert!(into.folders().unwrap().is_empty());
    }

    #[test]
    fn a_folder_is_held_by_one_at_a_time() {
        let (_place, folder) = folder();
        let held = folder.lock().unwrap();
        assert_eq!(folder.lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        folder.lock().unwrap();
        assert!(folder.list().unwrap().is_empty());
    }

    #[test]
    fn what_is_written_at_an_offset_is_read_there() {
        let (_place, folder) = folder();
        let file = folder.create("a").unwrap();
        assert!(folder.create("a").is_err());
        file.write_all_at(b"message", 4096).unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.len().unwrap(), 4103);
        let mut read = [0; 7];
        folder
            .open("a")
            .unwrap()
            .read_exact_at(&mut read, 4096)
            .unwrap();
        assert_eq!(&read, b"message");
        assert!(file.read_exact_at(&mut read, 4097).is_err());
        file.set_len(1).unwrap();
        assert_eq!(file.len().unwrap(), 1);
    }

    #[test]
    fn a_long_write_at_any_offset_is_read_as_it_was_written() {
        let (_place, folder) = folder();
        let file = folder.create("a").unwrap();
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 + n / 251) as u8).collect();
        let mut end = 0;
        for (offset, len) in [
            (0, 1 << 20),
            (1 << 20, 40_000),
            (1_088_577, 2_500_001),
            (4096, 65_536),
        ] {
            file.write_all_at(&bytes[..len], offset).unwrap();
            let mut read = vec![0; len];
            folder
                .open("a")
                .unwrap()
                .read_exact_at(&mut read, offset)
                .unwrap();
            assert!(read == bytes[..len], "{len} bytes at {offset}");
            end = end.max(offset + len as u64);
            assert_eq!(file.len().unwrap(), end);
        }
    }

    #[test]
    fn a_long_read_sees_short_writes_and_no_more_than_the_file_has() {
        let (_place, folder) = folder();
        let file = folder.create("a").unwrap();
        let mut bytes: Vec<u8> = (0..2_500_000u32).map(|n| (n * 3 + n / 249) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        // Through the page cache, into pages that were written past it.
        for offset in [0, 70_000, 1_048_570, 2_499_990] {
            bytes[offset..offset + 10].copy_from_slice(b"ten bytes.");
            file.write_all_at(b"ten bytes.", offset as u64).unwrap();
        }
        let read = |from: usize, len: usize| {
            let mut read = vec![0; len];
            let done = file.read_exact_at(&mut read, from as u64);
            done.map(|()| read)
        };
        for (from, to) in [
            (0, 2_500_000),
            (1, 1 << 20),
            (4_095, 69_999),
            (65_537, 2_500_000),
        ] {
            let read = read(from, to - from).unwrap();
            assert!(read == bytes[from..to], "{from} to {to}");
        }
        for (from, len) in [(0, 2_500_001), (2_400_000, 100_001), (2_500_000, 40_000)] {
            let error = read(from, len).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::UnexpectedEof,
                "{len} from {from}"
            );
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let (_place, folder) = folder();
        for name in ["", ".", "..", "../a", "a/b"] {
            assert_eq!(
                folder.create(name).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
    }

    #[test]
    fn free_space_is_told() {
        let (_place, folder) = folder();
        assert!(folder.available_len().unwrap() > 0);
    }
}
