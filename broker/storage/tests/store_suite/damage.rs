//! Goal: whatever byte of a store is damaged, nobody gets a wrong message, and none is missing
//! without a word: damage is reported, or nothing of value was hit.
//! Method: every byte of the headers in the segment files, and 20,000 seeded bytes of index and
//! segments, are changed one at a time. Each copy is opened, read in full, carried on with, and
//! read again. This runs in child processes, because a damaged index may bring redb to abort; a
//! child that ends so is replaced by one that goes on behind the byte.
//!
//! To repeat one byte: `SAMPAN_DAMAGE_ONLY=number cargo test -p sampan-storage --test store_suite
//! damage::the_child -- --nocapture`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sampan_protocol::{MessageId, QueueId};
use sampan_storage::io::{Folder, SimulatedDisk};
use sampan_storage::store::{
    EXTENT_HEADER_LEN, EXTENT_RECORD_LEN, Recovered, SEGMENT_HEADER_LEN, Store,
};

use crate::image::{Files, ImageFolder, files};
use crate::support::{Harness, IDENTITY, Model, OPTIONS, batch, log_id, row_key};

const SEEDED_COUNT: usize = 20_000;
const INDEX: &str = "g-00000001/store.redb";
const LANE_COUNT: usize = 2;
/// A child that hangs over one byte is as good as one that crashed.
const HANG: Duration = Duration::from_secs(120);
/// Aborts are outside what the store can turn into an error; more than a few would be a defect.
const ABORT_COUNT_MAX: usize = 5;

const ENV_LANE: &str = "SAMPAN_DAMAGE_LANE";
const ENV_FROM: &str = "SAMPAN_DAMAGE_FROM";
const ENV_PROGRESS: &str = "SAMPAN_DAMAGE_PROGRESS";
const ENV_ONLY: &str = "SAMPAN_DAMAGE_ONLY";

/// A store that was closed, the same one killed, and what it should hold.
struct Original {
    closed: Files,
    killed: Files,
    models: BTreeMap<u64, Model>,
    given: BTreeMap<QueueId, Vec<MessageId>>,
}

/// One byte to be changed.
#[derive(Clone, Debug)]
struct Flip {
    file: String,
    offset: usize,
    mask: u8,
    is_killed: bool,
}

fn original() -> Original {
    let disk = SimulatedDisk::new();
    let mut harness = Harness::open(disk.root()).unwrap();
    for round in 1..=4 {
        for queue in 1..=3 {
            harness.insert(QueueId(queue), 8, 300, false);
            harness.insert(QueueId(queue), 3, 20, true);
        }
        harness.remove_living(QueueId(1), |id| id % 5 == round % 5);
        let row = |number| {
            let filler = u8::try_from(number + round).unwrap();
            (
                row_key(QueueId(1 + number % 3), number),
                Some(vec![filler; 150]),
            )
        };
        harness.checkpoint((0..40).map(row).collect()).unwrap();
    }
    let killed = files(&*disk.root());
    let mut given: BTreeMap<QueueId, Vec<MessageId>> = BTreeMap::new();
    for (queue, id) in &harness.given {
        given.entry(*queue).or_default().push(MessageId(*id));
    }
    let models = harness.checkpoints.clone();
    drop(harness);
    Original {
        closed: files(&*disk.root()),
        killed,
        models,
        given,
    }
}

/// Offsets of every byte of the headers and records of a segment file.
fn header_bytes(segment: &[u8]) -> Vec<usize> {
    let mut offsets: Vec<usize> = (0..SEGMENT_HEADER_LEN).collect();
    let mut start = SEGMENT_HEADER_LEN;
    while start < segment.len() {
        let number = |at: usize| {
            let bytes = segment[start + at..start + at + 4].try_into().unwrap();
            usize::try_from(u32::from_le_bytes(bytes)).unwrap()
        };
        let (count, content_len) = (number(32), number(36));
        let content_start = start + EXTENT_HEADER_LEN + count * EXTENT_RECORD_LEN;
        offsets.extend(start..content_start);
        start = content_start + content_len;
    }
    offsets
}

/// The bytes of a file in pages that hold anything.
fn used_bytes(file: &[u8]) -> Vec<usize> {
    let pages = file.chunks(512).enumerate();
    let used = pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    used.flat_map(|(number, page)| (number * 512..).take(page.len()))
        .collect()
}

fn flips(original: &Original) -> Vec<Flip> {
    let mut flips = Vec::new();
    let mut rng = StdRng::seed_from_u64(20);
    let segments: Vec<_> = original
        .closed
        .iter()
        .filter(|(name, _)| name.ends_with(".seg"))
        .collect();
    for (file, bytes) in &segments {
        for offset in header_bytes(bytes) {
            let mask = 1 << (offset % 8);
            flips.push(Flip {
                file: (*file).clone(),
                offset,
                mask,
                is_killed: false,
            });
        }
    }
    let used = [
        used_bytes(&original.closed[INDEX]),
        used_bytes(&original.killed[INDEX]),
    ];
    for number in 0..SEEDED_COUNT {
        let is_killed = number % 2 == 1;
        let mask = rng.random_range(1..=u8::MAX);
        let (file, offset) = if number % 4 < 3 {
            let used = &used[usize::from(is_killed)];
            (INDEX.to_owned(), used[rng.random_range(0..used.len())])
        } else {
            let (file, bytes) = segments[rng.random_range(0..segments.len())];
            (file.clone(), rng.random_range(0..bytes.len()))
        };
        flips.push(Flip {
            file,
            offset,
            mask,
            is_killed,
        });
    }
    flips
}

/// What came of one changed byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Reported,
    Unaffected,
    /// The store before the last checkpoint, whole: the log brings it up to date.
    Older,
}

fn judge(original: &Original, flip: &Flip) -> Verdict {
    let files = if flip.is_killed {
        &original.killed
    } else {
        &original.closed
    };
    let mut files = files.clone();
    let file = files.get_mut(&flip.file).unwrap();
    file[flip.offset] ^= flip.mask;
    let folder = ImageFolder::copy_of(&files);
    let Some((store, recovered)) = open_and_read(original, &folder) else {
        return Verdict::Reported;
    };
    if carry_on(store, &recovered, original, &folder).is_none() {
        return Verdict::Reported;
    }
    let is_last = recovered.applied.map(|applied| applied.index) == Some(4);
    if is_last {
        Verdict::Unaffected
    } else {
        Verdict::Older
    }
}

/// Compares all that there is; `None` when damage was reported.
fn open_and_read(original: &Original, folder: &Arc<dyn Folder>) -> Option<(Store, Recovered)> {
    let (store, recovered) = Store::open(folder.clone(), IDENTITY, OPTIONS).ok()?;
    let index = recovered.applied.map_or(0, |applied| applied.index);
    let model = original
        .models
        .get(&index)
        .expect("a checkpoint that was made");
    let rows: BTreeMap<_, _> = recovered
        .rows
        .iter()
        .map(|(key, row)| (*key, row.to_vec()))
        .collect();
    assert!(
        rows == model.rows && recovered.membership == model.membership,
        "wrong state"
    );
    read_all(&store, model, original).then_some((store, recovered))
}

/// Whether everything could be read; what is read must be right.
fn read_all(store: &Store, model: &Model, original: &Original) -> bool {
    for (queue, ids) in &original.given {
        let Ok(found) = store.reader().read(*queue, ids) else {
            return false;
        };
        for (id, found) in ids.iter().zip(found) {
            let found = found.map(|message| (message.sent_at, message.content));
            let expected = model.messages.get(&(*queue, id.0));
            assert!(
                found.as_ref() == expected,
                "wrong message {id} of queue {queue}"
            );
        }
    }
    true
}

/// A checkpoint on top, which uses what the index says of free pages, and another restart.
fn carry_on(
    mut store: Store,
    recovered: &Recovered,
    original: &Original,
    folder: &Arc<dyn Folder>,
) -> Option<()> {
    let queue = QueueId(9);
    let body = batch(queue, MessageId(1), 2, 100);
    let expected: Vec<Bytes> = (0..2).map(|place| body.body(place).unwrap()).collect();
    store.insert(queue, MessageId(1), 0, 2, crate::support::SENT_AT, body);
    let row = (row_key(queue, 1), Some(vec![9; 2_000]));
    let job = store
        .begin_checkpoint(log_id(99), Vec::new(), std::iter::once(row))
        .ok()?;
    store.finish_checkpoint(job.run()).ok()?;
    drop(store);
    let (store, again) = Store::open(folder.clone(), IDENTITY, OPTIONS).ok()?;
    assert_eq!(again.applied, Some(log_id(99)));
    assert_eq!(again.rows.len(), recovered.rows.len() + 1);
    let found = store
        .reader()
        .read(queue, &[MessageId(1), MessageId(2)])
        .ok()?;
    for (found, expected) in found.into_iter().zip(expected) {
        assert!(found.is_some_and(|message| message.content.ends_with(&expected)));
    }
    let index = recovered.applied.map_or(0, |applied| applied.index);
    read_all(&store, &original.models[&index], original).then_some(())
}

/// Does nothing when it is run as an ordinary test.
#[test]
fn the_child() {
    if let Ok(only) = std::env::var(ENV_ONLY) {
        let original = original();
        let flip = flips(&original)[only.parse::<usize>().unwrap()].clone();
        println!("{flip:?}: {:?}", judge(&original, &flip));
    } else if let Ok(lane) = std::env::var(ENV_LANE) {
        run_lane(lane.parse().unwrap());
    }
}

fn run_lane(lane: usize) {
    let from: usize = std::env::var(ENV_FROM).unwrap().parse().unwrap();
    let progress = PathBuf::from(std::env::var(ENV_PROGRESS).unwrap());
    let watched = progress.clone();
    std::thread::spawn(move || abort_when_hanging(&watched));
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let original = original();
    let flips = flips(&original);
    let mut verdicts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for (number, flip) in flips
        .iter()
        .enumerate()
        .filter(|(number, _)| number % LANE_COUNT == lane)
    {
        if number < from {
            continue;
        }
        std::fs::write(&progress, format!("{number}\n")).unwrap();
        let verdict = std::panic::catch_unwind(|| judge(&original, flip));
        let verdict = verdict.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            std::fs::write(&progress, format!("{number} {flip:?} {text:?}\n")).unwrap();
            std::process::exit(7);
        });
        *verdicts.entry(verdict).or_default() += 1;
    }
    std::panic::set_hook(default_hook);
    std::fs::write(&progress, format!("done {verdicts:?}\n")).unwrap();
}

fn abort_when_hanging(progress: &Path) {
    let mut last = String::new();
    loop {
        // A watchdog: what hangs gives no sign, so progress is compared after a time.
        std::thread::sleep(HANG);
        let now = std::fs::read_to_string(progress).unwrap_or_default();
        if now == last && !now.is_empty() {
            std::process::abort();
        }
        last = now;
    }
}

/// Runs the children of one lane, one after the other; returns the bytes over which one aborted.
fn lead_lane(lane: usize, progress: &Path) -> Vec<usize> {
    let (mut aborted, mut from) = (Vec::new(), 0);
    loop {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["damage::the_child", "--exact"])
            .env(ENV_LANE, lane.to_string())
            .env(ENV_FROM, from.to_string())
            .env(ENV_PROGRESS, progress)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let said = std::fs::read_to_string(progress).unwrap();
        if status.success() {
            println!("lane {lane}: {said}");
            return aborted;
        }
        assert_eq!(
            status.code(),
            None,
            "a wrong message, or a panic that went through: {said}"
        );
        let number: usize = said.trim().parse().unwrap();
        aborted.push(number);
        from = number + 1;
        assert!(
            aborted.len() <= ABORT_COUNT_MAX,
            "aborted over the bytes {aborted:?}"
        );
    }
}

#[test]
fn no_changed_byte_leads_to_a_wrong_message() {
    let folder = tempfile::tempdir().unwrap();
    let lead = |lane: usize| lead_lane(lane, &folder.path().join(format!("lane-{lane}")));
    let aborted: Vec<Vec<usize>> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANE_COUNT)
            .map(|lane| scope.spawn(move || lead(lane)))
            .collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    println!("aborted over the bytes {aborted:?}");
}
