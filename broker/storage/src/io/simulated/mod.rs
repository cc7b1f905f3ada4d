//! A disk in memory that crashes on command and then shows what a real one might.
//!
//! Every change and every sync is an operation with a number, from 1. A test runs its script once
//! to learn how many there are, then again for each of them with [`SimulatedDisk::crash_at`], and
//! looks at what [`SimulatedDisk::after_crash`] left. Killing a process can't test this: the
//! kernel keeps what a killed process wrote. [`SimulatedDisk::after_kill`] does that: the next
//! process sees all of it, and a later power cut may still take it back.
//!
//! Invariants: what was synced is there after a crash, whatever the seed. What was not is lost,
//! kept or torn for every 512-byte sector by itself; folder entries likewise, one by one. Handles
//! of the disk before the crash answer errors only.
//! Spec: spec/storage.md, "Files and folders".

mod state;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use self::state::{DiskState, EntryChange};
use super::disk::check_name;
use super::{File, Folder, FolderLock};

/// The simulated disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<DiskState>>,
}

impl SimulatedDisk {
    /// An empty disk without a limit to its size.
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::default()
    }

    /// The folder that holds all others.
    pub fn root(&self) -> Arc<dyn Folder> {
        Arc::new(SimulatedFolder {
            disk: self.clone(),
            node: DiskState::ROOT,
        })
    }

    /// How many writes, syncs and changes of names there were.
    pub fn operation_count(&self) -> u64 {
        self.state().operation_count
    }

    /// The power goes in the middle of operation `number`: it fails, and so does all that follows.
    pub fn crash_at(&self, number: u64) {
        self.state().crash_at = Some(number);
    }

    /// Operation `number` fails, leaving its traces; what follows works again.
    pub fn fail_at(&self, number: u64) {
        self.state().fail_at = Some(number);
    }

    /// The device gives bytes in `range` of the file `name` in the folder `folder` below the root
    /// back no more.
    ///
    /// # Errors
    ///
    /// No such file.
    pub fn spoil(&self, folder: &str, name: &str, range: Range<usize>) -> io::Result<()> {
        let mut state = self.state();
        let folder = state.subfolder(DiskState::ROOT, folder)?;
        let node = state.folder(folder).find(name)?;
        state.file(node).spoil(range);
        Ok(())
    }

    /// How many bytes all files together may have from now on.
    pub fn set_capacity(&self, len: u64) {
        self.state().capacity = Some(len);
    }

    /// Whether the power went.
    pub fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// What the power cut leaves. Seed 0: only what was synced; seed 1: everything; any other: a
    /// choice for every sector and every folder entry.
    pub fn after_crash(&self, seed: u64) -> SimulatedDisk {
        let survivors = self.state().after_crash(seed);
        SimulatedDisk {
            state: Arc::new(Mutex::new(survivors)),
        }
    }

    /// What a process finds that is started after this one was killed: everything, but what was not
    /// synced can still be lost by a power cut.
    pub fn after_kill(&self) -> SimulatedDisk {
        let survivors = self.state().after_kill();
        SimulatedDisk {
            state: Arc::new(Mutex::new(survivors)),
        }
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.state
            .lock()
            .expect("nothing panics while it holds the disk")
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedDisk")
    }
}

#[derive(Clone, Debug)]
struct SimulatedFolder {
    disk: SimulatedDisk,
    node: usize,
}

impl SimulatedFolder {
    fn file(&self, node: usize) -> Arc<dyn File> {
        Arc::new(SimulatedFile {
            disk: self.disk.clone(),
            node,
        })
    }
}

impl Folder for SimulatedFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.disk.state();
        state.check_power()?;
        Ok(state.folder(self.node).names())
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        let mut state = self.disk.state();
        state.check_power()?;
        Ok(state.folder(self.node).folders.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.disk.state();
        state.check_power()?;
        let node = state.folder(self.node).find(name)?;
        Ok(self.file(node))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        check_name(name)?;
        let mut state = self.disk.state();
        state.check_power()?;
        if state.folder(self.node).find(name).is_ok() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let node = state.add_file();
        state.change_entry(
            self.node,
            EntryChange::Link {
                name: name.to_owned(),
                node,
            },
        )?;
        Ok(self.file(node))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(to)?;
        let mut state = self.disk.state();
        state.check_power()?;
        let node = state.folder(self.node).find(from)?;
        let change = EntryChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            node,
        };
        state.change_entry(self.node, change)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check_power()?;
        let node = state.folder(self.node).find(name)?;
        state.change_entry(
            self.node,
            EntryChange::Unlink {
                name: name.to_owned(),
                node,
            },
        )
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Folder>> {
        check_name(name)?;
        let mut state = self.disk.state();
        let node = state.subfolder(self.node, name)?;
        Ok(Arc::new(SimulatedFolder {
            disk: self.disk.clone(),
            node,
        }))
    }

    fn move_folder(&self, name: &str, into: &str, to: &str) -> io::Result<()> {
        check_name(to)?;
        self.disk.state().move_folder(self.node, name, into, to)
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        self.disk.state().remove_folder(self.node, name)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().sync_folder(self.node)
    }

    fn lock(&self) -> io::Result<FolderLock> {
        let mut state = self.disk.state();
        state.check_power()?;
        let folder = state.folder(self.node);
        if folder.locked {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        folder.locked = true;
        Ok(FolderLock::new(HeldFolder(self.clone())))
    }

    fn available_len(&self) -> io::Result<u64> {
        Ok(self.disk.state().available_len())
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("simulated-{}", self.node))
    }
}

struct HeldFolder(SimulatedFolder);

impl Drop for HeldFolder {
    fn drop(&mut self) {
        self.0.disk.state().folder(self.0.node).locked = false;
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    node: usize,
}

impl File for SimulatedFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check_power()?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        buffer.copy_from_slice(state.file(self.node).read(start..end)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.state().write(self.node, offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.state().sync_file(self.node)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.check_power()?;
        Ok(state.file(self.node).now.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.state().set_len(self.node, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One synced file, one that is not, and a change to the first.
    fn script(disk: &SimulatedDisk) -> io::Result<()> {
        let root = disk.root();
        let file = root.create("kept")?;
        file.write_all_at(&[1; 1024], 0)?;
        file.sync_data()?;
        root.sync()?;
        file.write_all_at(&[2; 1024], 0)?;
        root.create("fresh")?.write_all_at(&[3; 600], 0)?;
        root.rename("kept", "renamed")?;
        Ok(())
    }

    fn content(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
        let file = disk.root().open(name).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn seed_0_keeps_what_was_synced_and_seed_1_everything() {
        let disk = SimulatedDisk::new();
        script(&disk).unwrap();
        let least = disk.after_crash(0);
        assert_eq!(least.root().list().unwrap(), ["kept"]);
        assert_eq!(content(&least, "kept"), [1; 1024]);
        let most = disk.after_crash(1);
        assert_eq!(most.root().list().unwrap(), ["fresh", "renamed"]);
        assert_eq!(content(&most, "renamed"), [2; 1024]);
        assert_eq!(content(&most, "fresh"), [3; 600]);
    }

    #[test]
    fn other_seeds_lose_keep_and_tear_by_sector() {
        let disk = SimulatedDisk::new();
        script(&disk).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 2..200 {
            let left = disk.after_crash(seed);
            let names = left.root().list().unwrap();
            let name = if names.contains(&"kept".to_owned()) {
                "kept"
            } else {
                "renamed"
            };
            let bytes = content(&left, name);
            assert_eq!(bytes.len(), 1024);
            assert!(bytes.iter().all(|byte| *byte == 1 || *byte == 2));
            let torn = |sector: &[u8]| sector.iter().any(|byte| *byte != sector[0]);
            seen.insert((names.len(), bytes[0], bytes[1023], torn(&bytes[..512])));
        }
        assert!(seen.len() > 8, "{seen:?}");
    }

    #[test]
    fn nothing_works_after_the_power_went() {
        let disk = SimulatedDisk::new();
        script(&disk).unwrap();
        let count = disk.operation_count();
        for number in 1..=count {
            let disk = SimulatedDisk::new();
            disk.crash_at(number);
            script(&disk).unwrap_err();
            assert!(disk.is_crashed());
            assert_eq!(disk.operation_count(), number);
            assert!(disk.root().list().is_err());
            if number > 4 {
                assert_eq!(content(&disk.after_crash(0), "kept"), [1; 1024]);
            }
        }
    }

    #[test]
    fn a_full_disk_refuses_to_grow_and_recovers() {
        let disk = SimulatedDisk::new();
        disk.set_capacity(1000);
        let root = disk.root();
        let file = root.create("a").unwrap();
        file.write_all_at(&[1; 900], 0).unwrap();
        assert!(super::super::is_full(
            &file.write_all_at(&[1; 900], 500).unwrap_err()
        ));
        assert_eq!(root.available_len().unwrap(), 100);
        file.write_all_at(&[2; 900], 0).unwrap();
        root.remove("a").unwrap();
        assert_eq!(root.available_len().unwrap(), 1000);
    }

    #[test]
    fn one_failing_operation_leaves_the_others_alone() {
        let disk = SimulatedDisk::new();
        let file = disk.root().create("a").unwrap();
        disk.fail_at(disk.operation_count() + 1);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
    }

    #[test]
    fn a_cut_while_a_folder_moves_leaves_it_at_one_place_or_the_other() {
        let disk = SimulatedDisk::new();
        disk.root().folder("from").unwrap().create("a").unwrap();
        disk.root().folder("into").unwrap();
        disk.crash_at(disk.operation_count() + 1);
        disk.root().move_folder("from", "into", "to").unwrap_err();
        let mut moved_count = 0;
        for seed in 0..20 {
            let root = disk.after_crash(seed).root();
            let moved = root.folder("into").unwrap().folders().unwrap();
            let stayed = root.folders().unwrap();
            assert_eq!(moved.len() + stayed.len(), 2, "{moved:?} {stayed:?}");
            moved_count += moved.len();
        }
        assert!(moved_count > 0 && moved_count < 20);
    }

    #[test]
    fn a_kill_loses_nothing_and_makes_nothing_certain() {
        let disk = SimulatedDisk::new();
        let root = disk.root();
        let _held = root.lock().unwrap();
        disk.crash_at(6);
        script(&disk).unwrap_err();
        let killed = disk.after_kill();
        killed.root().lock().unwrap();
        assert_eq!(content(&killed, "kept"), [2; 1024]);
        assert_eq!(killed.root().list().unwrap(), ["fresh", "kept"]);
        let least = killed.after_crash(0);
        assert_eq!(content(&least, "kept"), [1; 1024]);
        assert_eq!(least.root().list().unwrap(), ["kept"]);
        killed.root().sync().unwrap();
        let more = killed.after_crash(0);
        assert_eq!(more.root().list().unwrap(), ["fresh", "kept"]);
    }

    #[test]
    fn a_folder_is_held_by_one_at_a_time() {
        let disk = SimulatedDisk::new();
        let held = disk.root().lock().unwrap();
        assert!(disk.root().lock().is_err());
        drop(held);
        disk.root().lock().unwrap();
    }
}
