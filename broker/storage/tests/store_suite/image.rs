//! A folder in memory that starts as a copy of given files: cheap to make thousands of times.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sampan_storage::io::{File, Folder, FolderLock};

/// Files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The folder.
#[derive(Debug, Default)]
pub(crate) struct ImageFolder {
    files: Mutex<BTreeMap<String, Arc<ImageFile>>>,
}

#[derive(Debug, Default)]
struct ImageFile {
    bytes: Mutex<Vec<u8>>,
}

impl ImageFolder {
    /// Copies of `files`.
    pub(crate) fn copy_of(files: &Files) -> Arc<dyn Folder> {
        let copy = |bytes: &Vec<u8>| {
            Arc::new(ImageFile {
                bytes: Mutex::new(bytes.clone()),
            })
        };
        let files = files
            .iter()
            .map(|(name, bytes)| (name.clone(), copy(bytes)))
            .collect();
        Arc::new(ImageFolder {
            files: Mutex::new(files),
        })
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Folder for ImageFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
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

    fn folder(&self, _name: &str) -> io::Result<Arc<dyn Folder>> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
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
