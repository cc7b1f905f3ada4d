//! A test build's wall clock, which a test can move: the file that the environment variable
//! `SAMPAN_SIMULATED_CLOCK` names holds milliseconds, with a sign, that are added to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sampan_cluster::{Reading, SystemTime, TimeSource};

const VARIABLE: &str = "SAMPAN_SIMULATED_CLOCK";
const INTERVAL: Duration = Duration::from_millis(50);

/// See the module's documentation.
pub(super) struct SimulatedClock {
    own: SystemTime,
    ahead_ms: Arc<AtomicI64>,
}

impl SimulatedClock {
    /// Follows the file from now on.
    pub(super) fn start() -> Self {
        let ahead_ms = Arc::new(AtomicI64::new(0));
        if let Some(path) = std::env::var_os(VARIABLE).map(PathBuf::from) {
            ahead_ms.store(read(&path), Ordering::Relaxed);
            let shared = ahead_ms.clone();
            std::thread::spawn(move || {
                loop {
                    // On a thread of its own, in test builds only: a clock that is asked on a core
                    // thread must not read files.
                    std::thread::sleep(INTERVAL);
                    shared.store(read(&path), Ordering::Relaxed);
                }
            });
        }
        SimulatedClock {
            own: SystemTime::default(),
            ahead_ms,
        }
    }
}

/// A file that is not there, or is being written, moves nothing.
fn read(path: &PathBuf) -> i64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

impl TimeSource for SimulatedClock {
    fn read(&self) -> Reading {
        let own = self.own.read();
        let ahead_ms = self.ahead_ms.load(Ordering::Relaxed);
        Reading {
            wall_ms: own.wall_ms.saturating_add_signed(ahead_ms),
            ..own
        }
    }
}
