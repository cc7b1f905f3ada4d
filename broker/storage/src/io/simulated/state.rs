//! What the simulated disk holds: for every file and folder what programs see, what is certain,
//! and the changes between the two, in order.
//!
//! Files and folders live in one table and are never removed from it, so handles stay valid after
//! a file lost its name. The table grows with the files a test makes; tests are small.
//!
//! Invariants: `synced` with all of `unsynced` applied in order is `now`.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// What a real disk writes in one go, or not at all, when all is well. We let even this tear.
const SECTOR_LEN: usize = 512;

#[derive(Debug)]
pub(super) struct DiskState {
    nodes: Vec<Node>,
    pub(super) operation_count: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) fail_at: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) crashed: bool,
    /// The change of folders during which the power went: it may have happened or not.
    undecided: Option<FolderChange>,
}

/// A change of names of folders; durable once it returned.
#[derive(Clone, Debug)]
enum FolderChange {
    Move {
        from: (usize, String),
        to: (usize, String),
    },
    Remove(usize, String),
}

#[derive(Clone, Debug)]
enum Node {
    File(FileNode),
    Folder(FolderNode),
}

#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    pub(super) now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<ContentChange>,
    /// What the device does not give back.
    unreadable: Option<Range<usize>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FolderNode {
    now: BTreeMap<String, usize>,
    synced: BTreeMap<String, usize>,
    unsynced: Vec<EntryChange>,
    /// Folders below, always durable.
    pub(super) folders: BTreeMap<String, usize>,
    pub(super) locked: bool,
}

#[derive(Clone, Debug)]
enum ContentChange {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug)]
pub(super) enum EntryChange {
    Link {
        name: String,
        node: usize,
    },
    Unlink {
        name: String,
        node: usize,
    },
    Rename {
        from: String,
        to: String,
        node: usize,
    },
}

impl Default for DiskState {
    fn default() -> Self {
        DiskState {
            nodes: vec![Node::Folder(FolderNode::default())],
            operation_count: 0,
            crash_at: None,
            fail_at: None,
            capacity: None,
            crashed: false,
            undecided: None,
        }
    }
}

impl DiskState {
    pub(super) const ROOT: usize = 0;

    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.crashed {
            Err(io::Error::other("the power is gone"))
        } else {
            Ok(())
        }
    }

    pub(super) fn file(&mut self, node: usize) -> &mut FileNode {
        match &mut self.nodes[node] {
            Node::File(file) => file,
            Node::Folder(_) => unreachable!("handles of files name files"),
        }
    }

    pub(super) fn folder(&mut self, node: usize) -> &mut FolderNode {
        match &mut self.nodes[node] {
            Node::Folder(folder) => folder,
            Node::File(_) => unreachable!("handles of folders name folders"),
        }
    }

    pub(super) fn add_file(&mut self) -> usize {
        self.nodes.push(Node::File(FileNode::default()));
        self.nodes.len() - 1
    }

    pub(super) fn subfolder(&mut self, parent: usize, name: &str) -> io::Result<usize> {
        self.check_power()?;
        if let Some(node) = self.folder(parent).folders.get(name) {
            return Ok(*node);
        }
        self.begin()?;
        self.nodes.push(Node::Folder(FolderNode::default()));
        let node = self.nodes.len() - 1;
        self.folder(parent).folders.insert(name.to_owned(), node);
        Ok(node)
    }

    /// Moves `parent/name` to `parent/into/to`.
    pub(super) fn move_folder(
        &mut self,
        parent: usize,
        name: &str,
        into: &str,
        to: &str,
    ) -> io::Result<()> {
        self.check_power()?;
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let folders = &self.folder(parent).folders;
        let into = *folders.get(into).ok_or_else(missing)?;
        folders.get(name).ok_or_else(missing)?;
        if self.folder(into).folders.contains_key(to) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        self.change_folders(FolderChange::Move {
            from: (parent, name.to_owned()),
            to: (into, to.to_owned()),
        })
    }

    /// Removes `parent/name`, which must be empty.
    pub(super) fn remove_folder(&mut self, parent: usize, name: &str) -> io::Result<()> {
        self.check_power()?;
        let node = self.folder(parent).folders.get(name).copied();
        let node = node.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let folder = self.folder(node);
        if !folder.now.is_empty() || !folder.folders.is_empty() {
            return Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty));
        }
        self.change_folders(FolderChange::Remove(parent, name.to_owned()))
    }

    fn change_folders(&mut self, change: FolderChange) -> io::Result<()> {
        let result = self.begin();
        match &result {
            Ok(()) => change.apply(self),
            Err(_) => self.undecided = Some(change),
        }
        result
    }

    pub(super) fn change_entry(&mut self, folder: usize, change: EntryChange) -> io::Result<()> {
        let result = self.begin();
        let folder = self.folder(folder);
        change.apply(&mut folder.now);
        folder.unsynced.push(change);
        result
    }

    pub(super) fn sync_folder(&mut self, folder: usize) -> io::Result<()> {
        self.check_power()?;
        self.begin()?;
        let folder = self.folder(folder);
        folder.synced = folder.now.clone();
        folder.unsynced.clear();
        Ok(())
    }

    pub(super) fn write(&mut self, node: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_power()?;
        let end = offset.saturating_add(bytes.len() as u64);
        self.check_room(node, end)?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let result = self.begin();
        self.change(
            node,
            ContentChange::Write {
                offset,
                bytes: bytes.to_vec(),
            },
        );
        result
    }

    pub(super) fn set_len(&mut self, node: usize, len: u64) -> io::Result<()> {
        self.check_power()?;
        self.check_room(node, len)?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        let result = self.begin();
        self.change(node, ContentChange::SetLen(len));
        result
    }

    pub(super) fn sync_file(&mut self, node: usize) -> io::Result<()> {
        self.check_power()?;
        self.begin()?;
        let file = self.file(node);
        for change in file.unsynced.drain(..) {
            change.apply(&mut file.synced);
        }
        Ok(())
    }

    pub(super) fn available_len(&mut self) -> u64 {
        let used = self.used_len();
        self.capacity
            .map_or(u64::MAX / 2, |capacity| capacity.saturating_sub(used))
    }

    /// What is left on the disk after the power went.
    pub(super) fn after_crash(&self, seed: u64) -> DiskState {
        let mut choices = Choices::new(seed);
        let nodes = self.nodes.iter().map(|node| match node {
            Node::File(file) => Node::File(file.after_crash(&mut choices)),
            Node::Folder(folder) => Node::Folder(folder.after_crash(&mut choices)),
        });
        let mut left = DiskState {
            nodes: nodes.collect(),
            capacity: self.capacity,
            ..DiskState::default()
        };
        if let Some(change) = &self.undecided
            && choices.survives()
        {
            change.apply(&mut left);
        }
        left
    }

    /// What is left on the disk, and in the kernel, after the process was killed.
    pub(super) fn after_kill(&self) -> DiskState {
        let mut left = DiskState {
            nodes: self.nodes.clone(),
            capacity: self.capacity,
            ..DiskState::default()
        };
        for node in &mut left.nodes {
            if let Node::Folder(folder) = node {
                folder.locked = false;
            }
        }
        if let Some(change) = &self.undecided {
            change.apply(&mut left);
        }
        left
    }

    /// Counts an operation and says whether it goes through.
    fn begin(&mut self) -> io::Result<()> {
        self.operation_count += 1;
        if self.crash_at == Some(self.operation_count) {
            self.crashed = true;
            return self.check_power();
        }
        if self.fail_at == Some(self.operation_count) {
            return Err(io::Error::other("the device failed"));
        }
        Ok(())
    }

    fn change(&mut self, node: usize, change: ContentChange) {
        let file = self.file(node);
        change.apply(&mut file.now);
        file.unsynced.push(change);
    }

    fn check_room(&mut self, node: usize, end: u64) -> io::Result<()> {
        let growth = end.saturating_sub(self.file(node).now.len() as u64);
        if growth > 0 && growth > self.available_len() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn used_len(&mut self) -> u64 {
        let mut linked = Vec::new();
        for node in &self.nodes {
            if let Node::Folder(folder) = node {
                linked.extend(folder.now.values().copied());
            }
        }
        linked
            .into_iter()
            .map(|node| self.file(node).now.len() as u64)
            .sum()
    }
}

impl FileNode {
    fn after_crash(&self, choices: &mut Choices) -> FileNode {
        let mut left = self.synced.clone();
        for change in &self.unsynced {
            change.apply_by_chance(&mut left, choices);
        }
        FileNode {
            now: left.clone(),
            synced: left,
            unsynced: Vec::new(),
            unreadable: self.unreadable.clone(),
        }
    }

    /// From now on reading any of `range` fails.
    pub(super) fn spoil(&mut self, range: Range<usize>) {
        self.unreadable = Some(range);
    }

    pub(super) fn read(&self, range: Range<usize>) -> io::Result<&[u8]> {
        let is_bad = |bad: &Range<usize>| range.start < bad.end && bad.start < range.end;
        if self.unreadable.as_ref().is_some_and(is_bad) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let bytes = self.now.get(range);
        bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

impl FolderNode {
    pub(super) fn names(&self) -> Vec<String> {
        self.now.keys().cloned().collect()
    }

    pub(super) fn find(&self, name: &str) -> io::Result<usize> {
        self.now
            .get(name)
            .copied()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn after_crash(&self, choices: &mut Choices) -> FolderNode {
        let mut left = self.synced.clone();
        for change in &self.unsynced {
            if choices.survives() {
                change.apply(&mut left);
            }
        }
        FolderNode {
            now: left.clone(),
            synced: left,
            folders: self.folders.clone(),
            ..FolderNode::default()
        }
    }
}

impl FolderChange {
    fn apply(&self, disk: &mut DiskState) {
        match self {
            FolderChange::Move { from, to } => {
                if let Some(node) = disk.folder(from.0).folders.remove(&from.1) {
                    disk.folder(to.0).folders.insert(to.1.clone(), node);
                }
            }
            FolderChange::Remove(parent, name) => {
                disk.folder(*parent).folders.remove(name);
            }
        }
    }
}

impl EntryChange {
    fn apply(&self, entries: &mut BTreeMap<String, usize>) {
        let drop_name = |entries: &mut BTreeMap<String, usize>, name: &str, node: usize| {
            if entries.get(name) == Some(&node) {
                entries.remove(name);
            }
        };
        match self {
            EntryChange::Link { name, node } => {
                entries.insert(name.clone(), *node);
            }
            EntryChange::Unlink { name, node } => drop_name(entries, name, *node),
            EntryChange::Rename { from, to, node } => {
                drop_name(entries, from, *node);
                // A file has one name: an earlier rename of it may have been lost.
                entries.retain(|_, other| other != node);
                entries.insert(to.clone(), *node);
            }
        }
    }
}

impl ContentChange {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            ContentChange::Write { offset, bytes } => put(content, *offset, bytes),
            ContentChange::SetLen(len) => content.resize(*len, 0),
        }
    }

    fn apply_by_chance(&self, content: &mut Vec<u8>, choices: &mut Choices) {
        match self {
            ContentChange::SetLen(_) if choices.survives() => self.apply(content),
            ContentChange::SetLen(_) => {}
            ContentChange::Write { offset, bytes } => {
                let mut start = 0;
                while start < bytes.len() {
                    let room = SECTOR_LEN - (offset + start) % SECTOR_LEN;
                    let end = bytes.len().min(start + room);
                    let (from, until) = choices.surviving_part(end - start);
                    if from < until {
                        put(
                            content,
                            offset + start + from,
                            &bytes[start + from..start + until],
                        );
                    }
                    start = end;
                }
            }
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset {
        content.extend_from_slice(&vec![0; offset - content.len()]);
    }
    let inside = bytes.len().min(content.len() - offset);
    content[offset..offset + inside].copy_from_slice(&bytes[..inside]);
    content.extend_from_slice(&bytes[inside..]);
}

/// Seeded choices (splitmix64), the same on every machine.
struct Choices {
    seed: u64,
    state: u64,
}

impl Choices {
    fn new(seed: u64) -> Self {
        Choices { seed, state: seed }
    }

    fn survives(&mut self) -> bool {
        match self.seed {
            0 => false,
            1 => true,
            _ => self.next().is_multiple_of(2),
        }
    }

    /// The range of a sector that survives: all, nothing, or one side of a tear.
    fn surviving_part(&mut self, len: usize) -> (usize, usize) {
        if self.seed < 2 {
            return if self.survives() { (0, len) } else { (0, 0) };
        }
        let cut = usize::try_from(self.next() >> 33).unwrap_or(0) % (len + 1);
        match self.next() % 5 {
            0 | 1 => (0, len),
            2 | 3 => (0, 0),
            _ if self.next().is_multiple_of(2) => (0, cut),
            _ => (cut, len),
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
