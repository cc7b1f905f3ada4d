//! redb on the store's own file traits, so that a simulated disk covers it too.
//!
//! Two ways to open the same file: [`FileBackend`] writes through; [`ScratchBackend`] keeps what
//! redb writes in memory. redb marks a file as soon as it opens it, so looking at a folder that may
//! be foreign or damaged goes through the second, and leaves the file as it was.
//!
//! Invariant: a fenced backend answers errors only. A handle that is being given up can then not
//! write into the file that its successor has opened.
//! Spec: spec/storage.md, "The index file".

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::io::{File, is_full};

/// What went wrong below redb, which itself reports only the first error and later "previous".
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// A write found no room.
    full: AtomicBool,
    /// A write failed otherwise, or a sync failed at all.
    broken: AtomicBool,
    /// The handle is given up.
    fenced: AtomicBool,
}

impl Faults {
    /// Whether the only thing that went wrong is that a write found no room.
    pub(super) fn only_full(&self) -> bool {
        self.full.load(Ordering::Acquire) && !self.broken.load(Ordering::Acquire)
    }

    /// From now on the backend does nothing.
    pub(super) fn fence(&self) {
        self.fenced.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        if self.fenced.load(Ordering::Acquire) {
            return Err(io::Error::other("the handle was given up"));
        }
        Ok(())
    }

    fn note_write(&self, result: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &result {
            let flag = if is_full(error) {
                &self.full
            } else {
                &self.broken
            };
            flag.store(true, Ordering::Release);
        }
        result
    }

    fn note_sync(&self, result: io::Result<()>) -> io::Result<()> {
        if result.is_err() {
            self.broken.store(true, Ordering::Release);
        }
        result
    }
}

/// The file itself.
#[derive(Debug)]
pub(super) struct FileBackend {
    file: Arc<dyn File>,
    faults: Arc<Faults>,
}

impl FileBackend {
    /// Reads and writes `file`, noting what goes wrong.
    pub(super) fn new(file: Arc<dyn File>, faults: Arc<Faults>) -> Self {
        FileBackend { file, faults }
    }
}

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        self.faults.check()?;
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.faults.check()?;
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check()?;
        self.faults.note_write(self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.check()?;
        self.faults.note_sync(self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.check()?;
        self.faults.note_write(self.file.write_all_at(data, offset))
    }
}

const BLOCK_LEN: u64 = 4096;

/// The file as it is, with redb's writes on top, in memory.
#[derive(Debug)]
pub(super) struct ScratchBackend {
    file: Arc<dyn File>,
    state: Mutex<Scratch>,
}

#[derive(Debug)]
struct Scratch {
    /// Length of the real file: beyond it there are zeros.
    file_len: u64,
    len: u64,
    /// Blocks that were written, by their number. What redb writes while it opens a file is its
    /// header and, after a crash, its free pages: a small part of the file.
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl ScratchBackend {
    /// Looks at `file`.
    pub(super) fn new(file: Arc<dyn File>) -> io::Result<Self> {
        let file_len = file.len()?;
        let scratch = Scratch {
            file_len,
            len: file_len,
            blocks: BTreeMap::new(),
        };
        Ok(ScratchBackend {
            file,
            state: Mutex::new(scratch),
        })
    }

    fn state(&self) -> MutexGuard<'_, Scratch> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of the real file, zeros where it has ended.
    fn read_file(&self, file_len: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = file_len.saturating_sub(offset).min(out.len() as u64);
        let there = usize::try_from(there).map_err(io::Error::other)?;
        out[there..].fill(0);
        self.file.read_exact_at(&mut out[..there], offset)
    }
}

impl Scratch {
    fn check(&self, offset: u64, len: usize) -> io::Result<()> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(())
    }
}

/// The blocks that `len` bytes from `offset` on touch: number, start inside it, length.
fn blocks_of(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len as u64;
    (offset / BLOCK_LEN..end.div_ceil(BLOCK_LEN)).map(move |number| {
        let from = offset.max(number * BLOCK_LEN);
        let to = end.min((number + 1) * BLOCK_LEN);
        let start = usize::try_from(from - number * BLOCK_LEN).expect("inside a block");
        (
            number,
            start,
            usize::try_from(to - from).expect("inside a block"),
        )
    })
}

impl StorageBackend for ScratchBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        state.check(offset, out.len())?;
        self.read_file(state.file_len, offset, out)?;
        let mut done = 0;
        for (number, start, len) in blocks_of(offset, out.len()) {
            if let Some(block) = state.blocks.get(&number) {
                out[done..done + len].copy_from_slice(&block[start..start + len]);
            }
            done += len;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.len = len;
        state.file_len = state.file_len.min(len);
        state.blocks.split_off(&len.div_ceil(BLOCK_LEN));
        if let Some(block) = state.blocks.get_mut(&(len / BLOCK_LEN)) {
            let kept = usize::try_from(len % BLOCK_LEN).expect("inside a block");
            block[kept..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.check(offset, data.len())?;
        let mut done = 0;
        for (number, start, len) in blocks_of(offset, data.len()) {
            if !state.blocks.contains_key(&number) {
                let mut block = vec![0; BLOCK_LEN as usize];
                self.read_file(state.file_len, number * BLOCK_LEN, &mut block)?;
                state.blocks.insert(number, block);
            }
            if let Some(block) = state.blocks.get_mut(&number) {
                block[start..start + len].copy_from_slice(&data[done..done + len]);
            }
            done += len;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimulatedDisk;

    #[test]
    fn a_scratch_backend_shows_its_writes_and_leaves_the_file_alone() {
        let file = SimulatedDisk::new().root().create("file").unwrap();
        file.write_all_at(&[1; 6_000], 0).unwrap();
        let scratch = ScratchBackend::new(file.clone()).unwrap();
        scratch.write(4_000, &[2; 200]).unwrap();
        scratch.set_len(9_000).unwrap();
        let mut out = vec![9; 9_000];
        scratch.read(0, &mut out).unwrap();
        let expected = [vec![1; 4_000], vec![2; 200], vec![1; 1_800], vec![0; 3_000]].concat();
        assert_eq!(out, expected);
        scratch.set_len(4_100).unwrap();
        scratch.set_len(5_000).unwrap();
        scratch.read(4_000, &mut out[..1_000]).unwrap();
        assert_eq!(out[..1_000], [vec![2; 100], vec![0; 900]].concat());
        assert!(scratch.read(4_999, &mut out[..2]).is_err());
        file.read_exact_at(&mut out[..6_000], 0).unwrap();
        assert_eq!(out[..6_000], [1; 6_000]);
    }

    #[test]
    fn a_fenced_backend_does_nothing() {
        let file = SimulatedDisk::new().root().create("file").unwrap();
        let faults = Arc::new(Faults::default());
        let backend = FileBackend::new(file.clone(), faults.clone());
        backend.write(0, b"before").unwrap();
        faults.fence();
        assert!(backend.write(0, b"behind").is_err());
        assert_eq!(file.len().unwrap(), 6);
    }
}
