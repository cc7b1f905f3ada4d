//! Reads messages and state rows of one open store, as of its last checkpoint.
//!
//! A read looks the ids up in a short transaction, then reads each extent once; extents that lie
//! one behind the other are read together. An extent that was only read ahead may be damaged
//! without harm: nobody asked for it.
//!
//! A checkpoint may unlink a segment between the look-up and the read; whoever asked then asks
//! again.
//!
//! Spec: spec/storage.md, "Reading".

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use redb::ReadTransaction;
use sampan_core::RowKey;
use sampan_protocol::{MessageId, QueueId};

use super::error::StoreError;
use super::extent_cache::ExtentCache;
use super::extent_entry::{EXTENT_KEY_LEN, ExtentEntry, Place, extent_key};
use super::index::{EXTENTS, Indexed, REMOVALS, ROWS};
use super::options::{INDEX_FILE, READAHEAD_LEN};
use super::reader::{ReadRow, StoredMessage};
use super::seal::{Table, unseal};
use super::segment_extent::Extent;
use super::segment_header::segment_name;
use super::segments::Segments;
use super::shared::Shared;

/// Reads from one open store.
#[derive(Debug)]
pub(super) struct DiskReader {
    pub(super) shared: Arc<Shared>,
    cache: Mutex<ExtentCache>,
}

/// Why extents could not be read.
pub(super) enum ReadFailure {
    /// A segment is gone since the look-up.
    Gone(u32),
    Failed(StoreError),
}

impl From<StoreError> for ReadFailure {
    fn from(error: StoreError) -> Self {
        ReadFailure::Failed(error)
    }
}

/// What was read, and why the rest could not be.
#[derive(Default)]
struct Read {
    extents: BTreeMap<Place, Extent>,
    damage: BTreeMap<Place, StoreError>,
}

impl DiskReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let cache = ExtentCache::new(shared.options.extent_cache_len);
        DiskReader {
            shared,
            cache: Mutex::new(cache),
        }
    }

    /// The messages of `queue` with these ids, in the order of `ids`.
    pub(super) fn read(
        &self,
        queue: QueueId,
        ids: &[MessageId],
    ) -> Result<Vec<Option<StoredMessage>>, ReadFailure> {
        self.shared.check_latch()?;
        let repaired = self.shared.repairs.find(queue, ids);
        if repaired.is_empty() {
            let entries = self.look_up(queue, ids)?;
            let read = self.extents(&entries)?;
            return Ok(answer(ids, &entries, read)?);
        }
        // The extents of these are damaged, so they are not looked at.
        let others: Vec<MessageId> = ids
            .iter()
            .filter(|id| !repaired.contains_key(id))
            .copied()
            .collect();
        let entries = self.look_up(queue, &others)?;
        let read = self.extents(&entries)?;
        let mut found = answer(&others, &entries, read)?.into_iter();
        let either = |id: &MessageId| match repaired.get(id) {
            Some(message) => Some(message.clone()),
            None => found.next().flatten(),
        };
        Ok(ids.iter().map(either).collect())
    }

    /// The state row under `key`.
    pub(super) fn read_rows(&self, keys: &[RowKey]) -> Result<Vec<ReadRow>, StoreError> {
        self.shared.check_latch()?;
        self.shared.index.read(|transaction| {
            let table = transaction.open_table(ROWS).indexed()?;
            let read = |key: &RowKey| {
                let bytes = key.encode();
                let Some(value) = table.get(&bytes).indexed()? else {
                    return Ok((*key, None));
                };
                let content = unseal(Table::Rows, &bytes, value.value())?;
                Ok((*key, Some(Bytes::copy_from_slice(content))))
            };
            keys.iter().map(read).collect()
        })
    }

    /// The extents that hold `ids`, in ascending order, and those that are worth reading ahead.
    fn look_up(&self, queue: QueueId, ids: &[MessageId]) -> Result<Vec<ExtentEntry>, StoreError> {
        let mut sorted: Vec<u64> = ids.iter().map(|id| id.0).collect();
        sorted.sort_unstable();
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
            return Ok(Vec::new());
        };
        let is_drain = self.cache().continues(queue, *first, last + 1);
        self.shared.index.read(|transaction| {
            if is_removed(transaction, queue)? {
                return Ok(Vec::new());
            }
            let table = transaction.open_table(EXTENTS).indexed()?;
            let mut entries = find_extents(&table, queue, &sorted)?;
            if is_drain {
                read_ahead(&table, &mut entries)?;
            }
            Ok(entries)
        })
    }

    /// The extents of `entries`, from the cache or from their segments.
    fn extents(&self, entries: &[ExtentEntry]) -> Result<Read, ReadFailure> {
        let mut read = Read::default();
        let mut missing: Vec<&ExtentEntry> = Vec::new();
        {
            let mut cache = self.cache();
            for entry in entries {
                match cache.find(&entry.place) {
                    Some(extent) => drop(read.extents.insert(entry.place, extent)),
                    None => missing.push(entry),
                }
            }
        }
        missing.sort_by_key(|entry| entry.place);
        for run in missing.chunk_by(|before, after| adjoins(before.place, after.place)) {
            for piece in pieces(run) {
                self.read_piece(piece, &mut read)?;
            }
        }
        Ok(read)
    }

    /// Reads extents that lie one behind the other in one go.
    fn read_piece(&self, piece: &[&ExtentEntry], read: &mut Read) -> Result<(), ReadFailure> {
        let Some(first) = piece.first() else {
            return Ok(());
        };
        let len = piece.iter().map(|entry| entry.place.len as usize).sum();
        let mut bytes = match read_place(&self.shared.segments, first.place, len) {
            // One of them may still be there.
            Err(ReadFailure::Failed(_)) if piece.len() > 1 => {
                return piece
                    .iter()
                    .try_for_each(|entry| self.read_piece(&[*entry], read));
            }
            Err(ReadFailure::Failed(error)) if error.is_damage() => {
                read.damage.insert(first.place, error);
                return Ok(());
            }
            other => other?,
        };
        for entry in piece {
            let own = bytes.split_to(entry.place.len as usize);
            match check_extent(entry, own) {
                Ok(extent) => {
                    self.cache().insert(entry.place, extent.clone());
                    read.extents.insert(entry.place, extent);
                }
                Err(error) => drop(read.damage.insert(entry.place, error)),
            }
        }
        Ok(())
    }

    fn cache(&self) -> MutexGuard<'_, ExtentCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type ExtentTable = redb::ReadOnlyTable<&'static [u8; EXTENT_KEY_LEN], &'static [u8]>;

fn is_removed(transaction: &ReadTransaction, queue: QueueId) -> Result<bool, StoreError> {
    let table = transaction.open_table(REMOVALS).indexed()?;
    Ok(table.get(queue.0).indexed()?.is_some())
}

fn find_extents(
    table: &ExtentTable,
    queue: QueueId,
    sorted: &[u64],
) -> Result<Vec<ExtentEntry>, StoreError> {
    let mut entries: Vec<ExtentEntry> = Vec::new();
    // Ids before this one are in no extent that is not listed already.
    let mut next = 0;
    for id in sorted {
        if *id < next {
            continue;
        }
        let (from, to) = (extent_key(queue, *id), extent_key(queue, u64::MAX));
        let row = table
            .range::<&[u8; EXTENT_KEY_LEN]>(&from..=&to)
            .indexed()?
            .next();
        let Some(row) = row else { break };
        let (key, value) = row.indexed()?;
        let entry = ExtentEntry::decode(key.value(), value.value())?;
        if entry.first > *id {
            next = entry.first;
            continue;
        }
        next = entry.last.saturating_add(1);
        entries.push(entry);
    }
    Ok(entries)
}

/// Adds the extents that follow the last one in its segment, up to a limit.
fn read_ahead(table: &ExtentTable, entries: &mut Vec<ExtentEntry>) -> Result<(), StoreError> {
    let Some(last) = entries.last() else {
        return Ok(());
    };
    let (queue, mut place) = (last.queue, last.place);
    let mut len = place.len as usize;
    let from = extent_key(queue, last.last.saturating_add(1));
    let to = extent_key(queue, u64::MAX);
    for row in table
        .range::<&[u8; EXTENT_KEY_LEN]>(&from..=&to)
        .indexed()?
    {
        let (key, value) = row.indexed()?;
        let entry = ExtentEntry::decode(key.value(), value.value())?;
        len += entry.place.len as usize;
        if !adjoins(place, entry.place) || len > READAHEAD_LEN {
            break;
        }
        place = entry.place;
        entries.push(entry);
    }
    Ok(())
}

fn adjoins(before: Place, after: Place) -> bool {
    before.segment == after.segment && before.offset + u64::from(before.len) == after.offset
}

/// Cuts a run of extents into pieces that are read in one go.
fn pieces<'a, 'e>(run: &'a [&'e ExtentEntry]) -> impl Iterator<Item = &'a [&'e ExtentEntry]> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let mut len = 0;
        let fits = rest.iter().take_while(|entry| {
            len += entry.place.len as usize;
            len <= READAHEAD_LEN
        });
        let count = fits.count().max(1).min(rest.len());
        let (piece, others) = rest.split_at(count);
        rest = others;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Reads `len` bytes of a segment. A part that the device does not give back is damage like one
/// that changed: another replica has the messages. What keeps every file from being opened is not.
pub(super) fn read_place(
    segments: &Segments,
    place: Place,
    len: usize,
) -> Result<Bytes, ReadFailure> {
    let name = segment_name(place.segment);
    let file = match segments.file(place.segment) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReadFailure::Gone(place.segment));
        }
        Err(error) if error.raw_os_error() != Some(libc::EIO) => {
            return Err(ReadFailure::Failed(StoreError::io("open", name, error)));
        }
        opened => opened,
    };
    let mut bytes = vec![0; len];
    let read = file.and_then(|file| file.read_exact_at(&mut bytes, place.offset));
    read.map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it is cut short".to_owned(),
            _ => format!("it cannot be read: {error}"),
        };
        ReadFailure::Failed(StoreError::damaged_at(name, place.offset, what))
    })?;
    Ok(Bytes::from(bytes))
}

/// The bytes as the extent that the index names.
pub(super) fn check_extent(entry: &ExtentEntry, bytes: Bytes) -> Result<Extent, StoreError> {
    let damaged = |what: &str| {
        StoreError::damaged_at(segment_name(entry.place.segment), entry.place.offset, what)
    };
    let extent = Extent::decode(bytes).map_err(damaged)?;
    let header = extent.header();
    let found = (header.queue, header.first, header.last, header.segment);
    if found != (entry.queue, entry.first, entry.last, entry.place.segment) {
        return Err(damaged("another extent lies there"));
    }
    Ok(extent)
}

fn answer(
    ids: &[MessageId],
    entries: &[ExtentEntry],
    mut read: Read,
) -> Result<Vec<Option<StoredMessage>>, StoreError> {
    let mut answers: Vec<Option<StoredMessage>> = vec![None; ids.len()];
    let mut wanted: Vec<(u64, usize)> = Vec::with_capacity(ids.len());
    wanted.extend(ids.iter().enumerate().map(|(place, id)| (id.0, place)));
    wanted.sort_unstable();
    for entry in entries {
        let from = wanted.partition_point(|(id, _)| *id < entry.first);
        let to = wanted.partition_point(|(id, _)| *id <= entry.last);
        let living = wanted[from..to]
            .iter()
            .filter(|(id, _)| entry.is_alive(*id));
        let mut living = living.peekable();
        if living.peek().is_none() {
            continue;
        }
        let Some(extent) = read.extents.get(&entry.place) else {
            return Err(messages_lost(entry, read.damage.remove(&entry.place)));
        };
        for message in extent.messages() {
            while let Some((_, place)) = living.next_if(|(id, _)| *id == message.id) {
                let content = extent.content(&message);
                let (sent_at, record) = (message.sent_at, message.record);
                answers[*place] = Some(StoredMessage {
                    sent_at,
                    record,
                    content,
                });
            }
        }
        if living.next().is_some() {
            let what = format!(
                "it names a message that {} lacks",
                segment_name(entry.place.segment)
            );
            return Err(StoreError::damaged(INDEX_FILE, what));
        }
    }
    Ok(answers)
}

/// The damage of one extent, with the messages that it takes along.
pub(super) fn messages_lost(entry: &ExtentEntry, error: Option<StoreError>) -> StoreError {
    let what = match error {
        Some(StoreError::Damaged { what, .. }) => what,
        Some(other) => return other,
        None => "it was not read".to_owned(),
    };
    StoreError::DamagedMessages {
        file: segment_name(entry.place.segment),
        offset: entry.place.offset,
        what,
        queue: entry.queue,
        ids: entry.living().map(MessageId).collect(),
    }
}
