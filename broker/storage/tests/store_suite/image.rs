//! A folder in memory that starts as a copy of given files: cheap to make thousands of times.
//! A file of a folder below it has the name `folder/file`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sampan_storage::io::{File, Folder, FolderLock};

use crate::support::content;

/// Files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The folder.
#[derive(Debug, Default)]
pub(crate) struct ImageFolder {
    files: Mutex<BTreeMap<String, Arc<ImageFile>>>,
    folders: Mutex<BTreeMap<String, Arc<ImageFolder>>>,
}

#[derive(Debug, Default)]
struct ImageFile {
    bytes: Mutex<Vec<u8>>,
}

impl ImageFolder {
    /// Copies of `files`.
    pub(crate) fn copy_of(files: &Files) -> Arc<dyn Folder> {
        let root = Arc::new(ImageFolder::default());
        for (path, bytes) in files {
            let (folder, name) = match path.split_once('/') {
                Some((folder, name)) => (root.below(folder), name),
                None => (root.clone(), path.as_str()),
            };
            let file = Arc::new(ImageFile {
                bytes: Mutex::new(bytes.clone()),
            });
            folder.files.lock().unwrap().insert(name.to_owned(), file);
        }
        root
    }

    fn below(&self, name: &str) -> Arc<ImageFolder> {
        let mut folders = self.folders.lock().unwrap();
        folders.entry(name.to_owned()).or_default().clone()
    }
}

/// All files of a folder and of those below it.
pub(crate) fn files(folder: &dyn Folder) -> Files {
    let mut files = Files::new();
    for name in folder.list().unwrap() {
        files.insert(name.clone(), content(folder, &name));
    }
    for below in folder.folders().unwrap() {
        let inside = self::files(&*folder.folder(&below).unwrap());
        let inside = inside.into_iter();
        files.extend(inside.map(|(name, bytes)| (format!("{below}/{name}"), bytes)));
    }
    files
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Folder for ImageFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        Ok(self.folders.lock().unwrap().keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = self.files.lock().unwrap().get(name).cloned();
        Ok(file.ok_or_else(missing)?)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = Arc::new(ImageFile::default());
        self.files
            .lock()
            .unwrap()
            .insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock().unwrap();
        let file = files.remove(from).ok_or_else(missing)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files
            .lock()
            .unwrap()
            .remove(name)
            .map(drop)
            .ok_or_else(missing)
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Folder>> {
        Ok(self.below(name))
    }

    fn move_folder(&self, name: &str, into: &str, to: &str) -> io::Result<()> {
        let moved = self.folders.lock().unwrap().remove(name);
        let moved = moved.ok_or_else(missing)?;
        let into = self.below(into);
        into.folders.lock().unwrap().insert(to.to_owned(), moved);
        Ok(())
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        let removed = self.folders.lock().unwrap().remove(name);
        removed.map(drop).ok_or_else(missing)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self) -> io::Result<FolderLock> {
        Ok(FolderLock::new(()))
    }

    fn available_len(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("image")
    }
}

/// No file of an image grows past this: a damaged length must not eat the machine's memory.
const FILE_LEN_MAX: u64 = 64 * 1024 * 1024;

fn place(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let end = offset.saturating_add(len as u64);
    if end > FILE_LEN_MAX {
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    }
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    Ok(start..start + len)
}

impl File for ImageFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let range = place(offset, buffer.len());
        let found = range.ok().and_then(|range| bytes.get(range));
        let found = found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_all_at(&self, written: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes.lock().unwrap();
        let range = place(offset, written.len())?;
        if bytes.len() < range.end {
            bytes.resize(range.end, 0);
        }
        bytes[range].copy_from_slice(written);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let range = place(len, 0)?;
        self.bytes.lock().unwrap().resize(range.end, 0);
        Ok(())
    }
}
