//! A test build's power: a killed broker's files go back to their last sync when it starts again,
//! as after a power cut, and the machine counts as started again.
//!
//! With `SAMPAN_SIMULATED_POWER_CUT=0` in the environment only the process was killed: the files
//! are taken as they are. The file `DATA.power-cuts` counts the cuts, which tell the boots apart.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use sampan_storage::io::{Folder, RecordingFolder, machine_boot_id};

const VARIABLE: &str = "SAMPAN_SIMULATED_POWER_CUT";

static CUT_COUNT: AtomicU64 = AtomicU64::new(0);

/// The data folder as the cut left it.
pub(super) fn data_folder(path: &Path) -> anyhow::Result<Arc<dyn Folder>> {
    let opening = || format!("opening {}", path.display());
    let counter = path.with_extension("power-cuts");
    let text = std::fs::read_to_string(&counter).unwrap_or_default();
    let count: u64 = text.trim().parse().unwrap_or(0);
    let is_cut = std::env::var(VARIABLE).as_deref() != Ok("0");
    let folder = if is_cut {
        RecordingFolder::open(path).with_context(opening)?
    } else {
        RecordingFolder::open_as_it_is(path).with_context(opening)?
    };
    let count = count + u64::from(is_cut);
    std::fs::write(&counter, count.to_string()).with_context(opening)?;
    CUT_COUNT.store(count, Ordering::Relaxed);
    Ok(Arc::new(folder))
}

/// Differs after each cut.
pub(super) fn boot_id() -> u128 {
    machine_boot_id() ^ u128::from(CUT_COUNT.load(Ordering::Relaxed))
}
