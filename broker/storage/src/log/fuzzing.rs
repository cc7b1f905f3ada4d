//! What the fuzz target of log recovery runs; an ordinary test runs it over seeded inputs.
//!
//! Random bytes never get past a checksum, so the input is a little program: it writes a log as
//! any user would, changes bytes of its files where it says, and opens it again. An input may also
//! bring files of its own.
//!
//! Invariants that it checks: opening ends, with a log or with an error; what it opens can be read
//! from end to end and written on; a damaged log is not changed by looking at it.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use sampan_protocol::SetId;

use super::{Log, LogEntry, LogError, LogId, LogIdentity, LogOptions, Step, SteppedLog, Vote};
use crate::io::{Folder, SimulatedDisk};

const IDENTITY: LogIdentity = LogIdentity {
    node: 1,
    cluster: 1,
};
/// Calls that one input can make before its bytes are changed.
const CALL_COUNT_MAX: usize = 64;
/// Changes that one input can make to the files.
const CHANGE_COUNT_MAX: usize = 64;
/// Longest entry that an input appends.
const ENTRY_LEN_MAX: usize = 6000;

fn options() -> LogOptions {
    LogOptions {
        file_len: 64 * 1024,
        cache_len_max: 0,
        boot_id: || 1,
        ..LogOptions::default()
    }
}

/// Makes, changes and opens the log that `data` describes.
pub fn log_recovery(data: &[u8]) {
    let mut data = data;
    let disk = SimulatedDisk::new();
    let call_count = usize::from(take_u8(&mut data)) % CALL_COUNT_MAX;
    write_log(&disk, call_count, &mut data);
    change_files(&*disk.root(), &mut data);
    let before = names_and_lens(&*disk.root());
    match Log::<Bytes>::open_stepped(disk.root(), IDENTITY, options()) {
        Ok(SteppedLog {
            log, mut writer, ..
        }) => {
            for set in log.sets() {
                read_all(&log, set);
            }
            append(&log, SetId(9), 1, 10, false);
            while writer.step() == Step::Wrote {}
            writer.step_idle();
        }
        Err(_) => assert!(
            before == names_and_lens(&*disk.root()),
            "a look must change nothing"
        ),
    }
}

/// Calls as a user would make them.
fn write_log(disk: &SimulatedDisk, call_count: usize, data: &mut &[u8]) {
    let opened = Log::<Bytes>::open_stepped(disk.root(), IDENTITY, options());
    let SteppedLog {
        log,
        mut writer,
        mut preparer,
        ..
    } = opened.expect("a new log opens");
    for _ in 0..call_count {
        let (kind, argument) = (take_u8(data), take_u16(data));
        let set = SetId(u32::from(kind >> 6));
        let last = log.state(set).last;
        match kind % 8 {
            0 => log.save_vote(set, vote(argument), Box::new(drop)),
            1 => {
                let back = u64::from(argument % 4);
                let index = last.and_then(|last| last.index.checked_sub(back));
                log.truncate_after(set, index, Box::new(drop));
            }
            2 => {
                let index =
                    last.map_or(0, |last| last.index.saturating_sub(u64::from(argument % 4)));
                log.purge(
                    set,
                    LogId {
                        term: 1,
                        node: 1,
                        index,
                    },
                    Box::new(drop),
                );
            }
            3 => writer.step_idle(),
            4 => {
                let index = u64::from(argument % 64);
                let at = LogId {
                    term: 1,
                    node: 1,
                    index,
                };
                let at = (argument >= 256).then_some(at);
                log.reset(set, at, Box::new(drop));
            }
            7 => append(&log, set, 1, usize::from(argument), true),
            _ => append(
                &log,
                set,
                u64::from(argument % 3),
                usize::from(argument),
                false,
            ),
        }
        while preparer.step() {}
        if kind & 8 == 0 {
            writer.step();
        }
    }
}

fn append(log: &Log<Bytes>, set: SetId, term: u64, len: usize, lazy: bool) {
    let index = log
        .state(set)
        .last
        .map_or(0, |last| last.index.saturating_add(1));
    let payload = Bytes::from(vec![0x5A; len % ENTRY_LEN_MAX]);
    let id = LogId {
        term,
        node: 1,
        index,
    };
    let entries = vec![LogEntry { id, payload }];
    match lazy {
        true => log.append_lazily(set, entries, Box::new(drop)),
        false => log.append(set, entries, Box::new(drop)),
    }
}

fn vote(term: u16) -> Vote {
    Vote {
        term: u64::from(term),
        node: 1,
        committed: term.is_multiple_of(2),
    }
}

/// Writes pieces of the input over the files, cuts them, or adds some.
fn change_files(folder: &dyn Folder, data: &mut &[u8]) {
    for _ in 0..CHANGE_COUNT_MAX {
        if data.is_empty() {
            return;
        }
        let names = folder.list().unwrap_or_default();
        let kind = take_u8(data);
        let name = match names.get(usize::from(kind & 15)) {
            Some(name) => name.clone(),
            None => format!("{:08}.log", kind & 15),
        };
        let Ok(file) = folder.open(&name).or_else(|_| folder.create(&name)) else {
            return;
        };
        let page = u64::from(take_u8(data)) % 18 * 4096;
        let place = page + u64::from(take_u16(data)) % 4096;
        let piece = take_piece(data);
        let changed = match kind >> 4 {
            0 => file.set_len(place),
            1 => folder.remove(&name),
            _ => file.write_all_at(&piece, place),
        };
        if changed.is_err() {
            return;
        }
    }
}

fn read_all(log: &Log<Bytes>, set: SetId) {
    let state = log.state(set);
    let Some(last) = state.last else { return };
    let mut from = state
        .purged
        .map_or(0, |purged| purged.index.saturating_add(1));
    while from <= last.index && from != u64::MAX {
        match log.read(set, from, u64::MAX, 10_000) {
            Ok(entries) => {
                let ids: Vec<u64> = entries.iter().map(|entry| entry.id.index).collect();
                let right = ids.iter().copied().eq((from..).take(ids.len())) && !ids.is_empty();
                assert!(right, "entries come in order and without gaps");
                from += ids.len() as u64;
            }
            // A set's first entry may have any index.
            Err(LogError::NoEntry { .. }) if state.purged.is_none() && from == 0 => return,
            Err(error) => panic!("an entry that recovery saw can't be read: {error}"),
        }
    }
}

fn names_and_lens(folder: &dyn Folder) -> Vec<(String, u64)> {
    let names = folder.list().unwrap_or_default();
    let len = |name: &String| {
        folder
            .open(name)
            .and_then(|file: Arc<_>| file.len())
            .unwrap_or(0)
    };
    names.iter().map(|name| (name.clone(), len(name))).collect()
}

fn take_u8(data: &mut &[u8]) -> u8 {
    if data.is_empty() { 0 } else { data.get_u8() }
}

fn take_u16(data: &mut &[u8]) -> u16 {
    u16::from_le_bytes([take_u8(data), take_u8(data)])
}

fn take_piece(data: &mut &[u8]) -> Vec<u8> {
    let len = usize::from(take_u8(data)).min(data.len());
    let (piece, rest) = data.split_at(len);
    *data = rest;
    piece.to_vec()
}
