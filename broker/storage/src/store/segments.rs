//! The segment files of a store: opened when they are needed, and never too many at a time.
//!
//! A segment that a snapshot reads is pinned. It may die meanwhile; its file then goes with the
//! first checkpoint after the last pin. Keeping it open instead would lose it to a restart of the
//! index, and would not keep it from being cut.
//!
//! Spec: spec/storage.md, "Segment files".

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::generations::sync;
use super::lru::Lru;
use super::options::{OPEN_SEGMENT_COUNT_MAX, StoreIdentity};
use super::segment_header::{
    SEGMENT_HEADER_LEN, check_segment_header, encode_segment_header, segment_name, segment_number,
};
use crate::io::{File, Folder};

/// The segment files in one folder.
#[derive(Debug)]
pub(super) struct Segments {
    folder: Arc<dyn Folder>,
    identity: StoreIdentity,
    open: Mutex<Lru<u32, Arc<dyn File>>>,
    /// How many snapshots read each segment.
    pins: Mutex<BTreeMap<u32, usize>>,
}

impl Segments {
    /// The files in `folder`.
    pub(super) fn new(folder: Arc<dyn Folder>, identity: StoreIdentity) -> Self {
        Segments {
            folder,
            identity,
            open: Mutex::new(Lru::new(OPEN_SEGMENT_COUNT_MAX)),
            pins: Mutex::default(),
        }
    }

    /// The file of a segment. A file that is gone is [`io::ErrorKind::NotFound`].
    pub(super) fn file(&self, number: u32) -> io::Result<Arc<dyn File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.find(&number) {
            return Ok(file.clone());
        }
        let file = self.folder.open(&segment_name(number))?;
        open.insert(number, file.clone(), 1);
        Ok(file)
    }

    /// Makes the file of a new segment, with its header.
    pub(super) fn create(&self, number: u32) -> Result<Arc<dyn File>, StoreError> {
        let name = segment_name(number);
        let failed = |source| StoreError::io("create", name.as_str(), source);
        let file = self.folder.create(&name).map_err(failed)?;
        let header = encode_segment_header(self.identity, number);
        file.write_all_at(&header, 0).map_err(failed)?;
        Ok(file)
    }

    /// Compares a file with what its account says: header and length.
    pub(super) fn check(&self, number: u32, len: u64) -> Result<(), StoreError> {
        let name = segment_name(number);
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => StoreError::damaged(name.as_str(), "it is missing"),
            io::ErrorKind::UnexpectedEof => StoreError::damaged(name.as_str(), "it is cut short"),
            _ => StoreError::io("open", name.as_str(), source),
        };
        let file = self.file(number).map_err(failed)?;
        let mut header = [0; SEGMENT_HEADER_LEN];
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        check_segment_header(&header, self.identity, number)?;
        let found = file.len().map_err(failed)?;
        if found < len {
            let what = format!("it has {found} of {len} bytes");
            return Err(StoreError::damaged(name, what));
        }
        Ok(())
    }

    /// The numbers of all files in the folder.
    pub(super) fn numbers(&self) -> Result<Vec<u32>, StoreError> {
        let names = self.folder.list();
        let names = names.map_err(|source| StoreError::io("list", "the store's folder", source))?;
        Ok(names
            .iter()
            .filter_map(|name| segment_number(name))
            .collect())
    }

    /// Unlinks the files of `numbers` that are there, durably.
    pub(super) fn unlink(&self, numbers: &[u32]) -> Result<(), StoreError> {
        for number in numbers {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.remove(number);
            drop(open);
            let name = segment_name(*number);
            match self.folder.remove(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(|source| StoreError::io("remove", name, source))?,
            }
        }
        if numbers.is_empty() {
            Ok(())
        } else {
            self.sync_folder()
        }
    }

    /// Pins the segments that `choose` names. No segment is let go while it chooses, so what it
    /// sees in the index is still there.
    pub(super) fn pin<T>(
        &self,
        choose: impl FnOnce() -> Result<(T, Vec<u32>), StoreError>,
    ) -> Result<(T, Vec<u32>), StoreError> {
        let mut pins = self.pins();
        let (found, numbers) = choose()?;
        for number in &numbers {
            *pins.entry(*number).or_default() += 1;
        }
        Ok((found, numbers))
    }

    /// Takes back what was pinned.
    pub(super) fn unpin(&self, numbers: &[u32]) {
        let mut pins = self.pins();
        for number in numbers {
            let left = pins.get(number).map_or(0, |count| count - 1);
            if left == 0 {
                pins.remove(number);
            } else {
                pins.insert(*number, left);
            }
        }
    }

    /// Those of `numbers` that no snapshot reads. They are dead in the last checkpoint, so no
    /// later snapshot will.
    pub(super) fn unpinned(&self, mut numbers: Vec<u32>) -> Vec<u32> {
        let pins = self.pins();
        numbers.retain(|number| !pins.contains_key(number));
        numbers
    }

    /// How many segments snapshots read.
    pub(super) fn pinned_count(&self) -> usize {
        self.pins().len()
    }

    fn pins(&self) -> MutexGuard<'_, BTreeMap<u32, usize>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes new and removed names durable.
    pub(super) fn sync_folder(&self) -> Result<(), StoreError> {
        sync(&*self.folder)
    }
}
