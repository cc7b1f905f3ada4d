//! The real disk with a memory of what was not synced: test builds only.
//!
//! A killed process loses nothing that it handed to the kernel, so killing one says nothing about
//! its syncs. Behind this layer it does: whatever changes a file or a name first notes in an undo
//! journal how to take the change back, a sync empties the journal, and opening the folder again
//! after a kill takes back all that is noted. What is then there is what a power cut would have
//! left at the least.
//!
//! The journals lie in a folder `.undo` inside each folder and are never synced themselves: they
//! only have to outlive the process. A file's journal goes by its inode, so it follows a rename.
//!
//! Invariants: a note is whole before the change it belongs to begins. A removed or replaced file
//! stays in `.undo` until its folder is synced. A folder is opened through this layer by one
//! process at a time.
//! Spec: spec/storage.md, "Files and folders".

mod file_journal;
mod folder_journal;
mod notes;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use self::file_journal::FileJournal;
use self::folder_journal::{EntryChange, FolderJournal};
use super::disk::check_name;
use super::{DiskFolder, File, Folder, FolderLock};

/// Where the journals of a folder are.
const UNDO_FOLDER: &str = ".undo";

/// A folder whose unsynced changes are taken back when it is opened again after a kill.
#[derive(Clone, Debug)]
pub struct RecordingFolder {
    recorded: Arc<Recorded>,
    tree: Arc<Tree>,
}

/// Everything below one opened folder.
#[derive(Debug)]
struct Tree {
    folders: Mutex<BTreeMap<PathBuf, Arc<Recorded>>>,
    /// Keeps other processes from taking back what this one is doing.
    _lock: fs::File,
}

/// One folder, shared by all its handles.
#[derive(Debug)]
struct Recorded {
    disk: DiskFolder,
    state: Mutex<RecordedState>,
}

#[derive(Debug)]
struct RecordedState {
    journal: FolderJournal,
    /// By inode, as long as the file exists.
    files: BTreeMap<u64, Arc<Mutex<FileJournal>>>,
}

impl RecordingFolder {
    /// Opens the folder at `path`, after taking back what was not synced there and below.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] while another process has it open.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<RecordingFolder> {
        RecordingFolder::open_after(path.into(), roll_back)
    }

    /// Opens the folder at `path` as it is: only a process was killed, and the kernel kept what it
    /// was given.
    ///
    /// # Errors
    ///
    /// See [`RecordingFolder::open`].
    pub fn open_as_it_is(path: impl Into<PathBuf>) -> io::Result<RecordingFolder> {
        RecordingFolder::open_after(path.into(), forget_journals)
    }

    fn open_after(
        path: PathBuf,
        prepare: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<RecordingFolder> {
        let disk = DiskFolder::open(&path)?;
        let undo = path.join(UNDO_FOLDER);
        fs::create_dir_all(&undo)?;
        let lock = fs::File::open(&undo)?;
        lock.try_lock()?;
        prepare(&path)?;
        let tree = Arc::new(Tree {
            folders: Mutex::default(),
            _lock: lock,
        });
        RecordingFolder::enter(tree, disk)
    }

    fn enter(tree: Arc<Tree>, disk: DiskFolder) -> io::Result<RecordingFolder> {
        let path = disk.path();
        let mut folders = tree
            .folders
            .lock()
            .expect("nothing panics while it holds the tree");
        let recorded = match folders.get(&path) {
            Some(recorded) => Arc::clone(recorded),
            None => {
                let undo = path.join(UNDO_FOLDER);
                fs::create_dir_all(&undo)?;
                let journal = FolderJournal::open(&path, &undo)?;
                let state = RecordedState {
                    journal,
                    files: BTreeMap::new(),
                };
                let recorded = Arc::new(Recorded {
                    disk,
                    state: Mutex::new(state),
                });
                folders.insert(path, Arc::clone(&recorded));
                recorded
            }
        };
        drop(folders);
        Ok(RecordingFolder { recorded, tree })
    }

    /// What was at `path` and below is there no more.
    fn forget(&self, path: &Path) {
        let mut folders = self
            .tree
            .folders
            .lock()
            .expect("nothing panics while it holds the tree");
        folders.retain(|known, _| !known.starts_with(path));
    }

    fn state(&self) -> MutexGuard<'_, RecordedState> {
        self.recorded
            .state
            .lock()
            .expect("nothing panics while it holds the folder")
    }

    fn recorded_file(
        &self,
        state: &mut RecordedState,
        name: &str,
        file: Arc<dyn File>,
    ) -> io::Result<Arc<dyn File>> {
        let path = self.recorded.disk.path();
        let inode = fs::metadata(path.join(name))?.ino();
        let undo = path.join(UNDO_FOLDER);
        let journal = state.files.entry(inode).or_insert_with(|| {
            Arc::new(Mutex::new(FileJournal::new(file_journal::place(
                &undo, inode,
            ))))
        });
        Ok(Arc::new(RecordedFile {
            file,
            journal: Arc::clone(journal),
        }))
    }
}

impl Folder for RecordingFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        self.recorded.disk.list()
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        let mut names = self.recorded.disk.folders()?;
        names.retain(|name| name != UNDO_FOLDER);
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        let file = self.recorded.disk.open(name)?;
        self.recorded_file(&mut state, name, file)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        check_name(name)?;
        let mut state = self.state();
        if self.recorded.disk.path().join(name).exists() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        state.journal.note(&EntryChange::Create {
            name: name.to_owned(),
        })?;
        let file = self.recorded.disk.create(name)?;
        self.recorded_file(&mut state, name, file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        self.state().journal.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.state().journal.remove(name)
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Folder>> {
        check_name(name)?;
        let disk = DiskFolder::open(self.recorded.disk.path().join(name))?;
        Ok(Arc::new(RecordingFolder::enter(
            Arc::clone(&self.tree),
            disk,
        )?))
    }

    fn move_folder(&self, name: &str, into: &str, to: &str) -> io::Result<()> {
        self.recorded.disk.move_folder(name, into, to)?;
        self.forget(&self.recorded.disk.path().join(name));
        Ok(())
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let path = self.recorded.disk.path().join(name);
        let inside = DiskFolder::open(&path)?;
        let folders = inside.folders()?;
        if !inside.list()?.is_empty() || folders.iter().any(|name| name != UNDO_FOLDER) {
            return Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty));
        }
        self.forget(&path);
        // It holds nothing that a roll-back would need: the folder is synced.
        if path.join(UNDO_FOLDER).is_dir() {
            fs::remove_dir_all(path.join(UNDO_FOLDER))?;
        }
        self.recorded.disk.remove_folder(name)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        self.recorded.disk.sync()?;
        for inode in state.journal.synced()? {
            state.files.remove(&inode);
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<FolderLock> {
        self.recorded.disk.lock()
    }

    fn available_len(&self) -> io::Result<u64> {
        self.recorded.disk.available_len()
    }

    fn path(&self) -> PathBuf {
        self.recorded.disk.path()
    }
}

#[derive(Debug)]
struct RecordedFile {
    file: Arc<dyn File>,
    journal: Arc<Mutex<FileJournal>>,
}

impl RecordedFile {
    fn journal(&self) -> MutexGuard<'_, FileJournal> {
        self.journal
            .lock()
            .expect("nothing panics while it holds a journal")
    }
}

impl File for RecordedFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut journal = self.journal();
        journal.note(
            &*self.file,
            offset,
            offset.saturating_add(bytes.len() as u64),
        )?;
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut journal = self.journal();
        self.file.sync_data()?;
        journal.clear()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut journal = self.journal();
        journal.note(&*self.file, len, u64::MAX)?;
        self.file.set_len(len)
    }
}

/// Takes back everything that was not synced in the folder and below.
fn roll_back(path: &Path) -> io::Result<()> {
    let disk = DiskFolder::open(path)?;
    let undo = path.join(UNDO_FOLDER);
    if undo.is_dir() {
        FolderJournal::open(path, &undo)?.roll_back()?;
        for name in disk.list()? {
            let inode = fs::metadata(path.join(&name))?.ino();
            file_journal::roll_back(&file_journal::place(&undo, inode), &*disk.open(&name)?)?;
        }
        for leftover in DiskFolder::open(&undo)?.list()? {
            fs::remove_file(undo.join(leftover))?;
        }
    }
    for name in disk.folders()?.iter().filter(|name| *name != UNDO_FOLDER) {
        roll_back(&path.join(name))?;
    }
    Ok(())
}

/// Nothing noted in `path` and below is to be taken back any more.
fn forget_journals(path: &Path) -> io::Result<()> {
    let undo = path.join(UNDO_FOLDER);
    if undo.is_dir() {
        for leftover in DiskFolder::open(&undo)?.list()? {
            fs::remove_file(undo.join(leftover))?;
        }
    }
    let folders = DiskFolder::open(path)?.folders()?;
    for name in folders.iter().filter(|name| *name != UNDO_FOLDER) {
        forget_journals(&path.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
