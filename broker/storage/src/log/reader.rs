//! Reading entries: from memory what is new, from the files what is old.
//!
//! A file is read without the lock, so it may be purged and used again in the meantime. The
//! record's checksum, kept in memory, tells: bytes that fail it are damage only if the entry is
//! still in the log.
//!
//! Invariant: an entry that is handed out has the index asked for and right checksums.
//! Spec: spec/storage.md, "The log".

use std::sync::Arc;

use bytes::Bytes;
use sampan_protocol::SetId;

use super::extents::Extent;
use super::file_header::file_name;
use super::record::entries_in;
use super::shared::Shared;
use super::state::LogState;
use super::{LogEntry, LogError, LogId, Payload};
use crate::io::File;

/// Entries from here to there, as many as fit.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    set: SetId,
    from: u64,
    /// Exclusive.
    until: u64,
    len_max: usize,
    /// One entry at least, even if it does not fit.
    at_least_one: bool,
}

/// What a look under the lock gave.
enum Found<P> {
    Entries(Vec<LogEntry<P>>),
    OnDisk(OnDisk),
}

/// A record on disk that holds the next entries.
struct OnDisk {
    file: Arc<dyn File>,
    extent: Extent,
    /// Ids of the entries that count, from the one wanted next.
    ids: Vec<LogId>,
}

/// Entries of a set that are all in memory; see `Log::read_cached`.
pub(super) fn read_cached<P: Payload>(
    shared: &Shared<P>,
    set: SetId,
    from: u64,
    until: u64,
    len_max: usize,
) -> Option<Vec<LogEntry<P>>> {
    let wanted = Wanted {
        set,
        from,
        until,
        len_max,
        at_least_one: true,
    };
    match look(&shared.state(), wanted) {
        Ok(Found::Entries(entries)) => Some(entries),
        Ok(Found::OnDisk(_)) | Err(_) => None,
    }
}

/// Reads entries of a set; see `Log::read`.
pub(super) fn read<P: Payload>(
    shared: &Shared<P>,
    set: SetId,
    from: u64,
    until: u64,
    len_max: usize,
) -> Result<Vec<LogEntry<P>>, LogError> {
    let mut wanted = Wanted {
        set,
        from,
        until,
        len_max,
        at_least_one: true,
    };
    let mut entries = Vec::new();
    loop {
        let found = look(&shared.state(), wanted)?;
        let is_last = matches!(found, Found::Entries(_));
        let part = match found {
            Found::Entries(part) => part,
            Found::OnDisk(place) => match read_record(&place, wanted) {
                Ok(part) => part,
                Err(_) if !is_there(&shared.state(), wanted, &place.extent) => continue,
                Err(error) => return Err(error),
            },
        };
        let part_len: usize = part.iter().map(|entry| entry.payload.encoded_len()).sum();
        let is_over = part.is_empty() || part_len >= wanted.len_max;
        wanted.from += part.len() as u64;
        wanted.len_max = wanted.len_max.saturating_sub(part_len);
        wanted.at_least_one = false;
        if entries.is_empty() {
            entries = part;
        } else {
            entries.extend(part);
        }
        if is_last || is_over || wanted.from >= until {
            return Ok(entries);
        }
    }
}

fn look<P: Payload>(state: &LogState<P>, wanted: Wanted) -> Result<Found<P>, LogError> {
    if let Some(cause) = &state.latched {
        return Err(LogError::Latched(Arc::clone(cause)));
    }
    let Wanted { set, from, .. } = wanted;
    let none = LogError::NoEntry { set, index: from };
    let Some(set_log) = state.sets.get(&set) else {
        return Ok(Found::Entries(Vec::new()));
    };
    let Some(last) = set_log.accepted.last else {
        return Ok(Found::Entries(Vec::new()));
    };
    let until = wanted.until.min(last.index.saturating_add(1));
    if from >= until {
        return Ok(Found::Entries(Vec::new()));
    }
    if set_log
        .accepted
        .purged_index()
        .is_some_and(|purged| from <= purged)
    {
        return Err(none);
    }
    let cached = (from..until).map_while(|index| set_log.cache.find(index));
    let mut entries = Vec::new();
    let mut len = 0;
    for (entry, entry_len) in cached {
        len += entry_len;
        if len > wanted.len_max && !(wanted.at_least_one && entries.is_empty()) {
            break;
        }
        entries.push(entry.clone());
    }
    if !entries.is_empty() || len > 0 {
        return Ok(Found::Entries(entries));
    }
    let extent = *set_log.extents.find(from).ok_or(none)?;
    let file = state
        .files
        .find(extent.generation)
        .ok_or(LogError::NoEntry { set, index: from })?;
    // A cut that is not written yet leaves the record as it was: what was appended after the cut is
    // in memory, and the record must not be asked for it.
    let in_memory = set_log.cache.first_index().unwrap_or(u64::MAX);
    let end = until.min(extent.last() + 1).min(in_memory);
    let ids = (from..end).map_while(|index| set_log.id_of(index));
    let (file, ids) = (Arc::clone(&file.file), ids.collect());
    Ok(Found::OnDisk(OnDisk { file, extent, ids }))
}

fn read_record<P: Payload>(place: &OnDisk, wanted: Wanted) -> Result<Vec<LogEntry<P>>, LogError> {
    let extent = &place.extent;
    let name = file_name(extent.generation);
    let mut bytes = vec![0; extent.len as usize];
    place
        .file
        .read_exact_at(&mut bytes, u64::from(extent.offset))
        .map_err(|error| LogError::io(format!("reading {name}"), error))?;
    let damaged = |what| LogError::damaged(&name, extent.offset as usize, what);
    if crc32c::crc32c(&bytes) != extent.crc {
        return Err(damaged("entries fail their checksum"));
    }
    let places = entries_in(&bytes, extent.stored_count)
        .ok_or_else(|| damaged("entries do not fill their record"))?;
    let bytes = Bytes::from(bytes);
    let skipped = usize::try_from(wanted.from - extent.first).unwrap_or(usize::MAX);
    let mut entries: Vec<LogEntry<P>> = Vec::new();
    let mut len = 0;
    for (id, place) in place.ids.iter().zip(places.into_iter().skip(skipped)) {
        len += place.len();
        if len > wanted.len_max && !(wanted.at_least_one && entries.is_empty()) {
            break;
        }
        let payload = P::decode(bytes.slice(place)).map_err(|what| LogError::Payload {
            set: wanted.set,
            index: id.index,
            what,
        })?;
        entries.push(LogEntry { id: *id, payload });
    }
    if entries.is_empty() && wanted.at_least_one {
        return Err(damaged("entries are not where the index says"));
    }
    Ok(entries)
}

/// Whether entries that could not be read are still in the log, where they were looked for. If they
/// were purged, cut off or reset meanwhile, their file may hold something else.
fn is_there<P: Payload>(state: &LogState<P>, wanted: Wanted, extent: &Extent) -> bool {
    let Some(set_log) = state.sets.get(&wanted.set) else {
        return false;
    };
    let purged = set_log.accepted.purged_index();
    let known = set_log.extents.find(wanted.from);
    purged.is_none_or(|purged| wanted.from > purged)
        && known.is_some_and(|known| {
            (known.generation, known.offset) == (extent.generation, extent.offset)
        })
}
