//! Waiting for checkpoints.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::first_line::START_MAX;
use crate::folder::files;

impl Broker {
    /// Waits until segment files hold that many bytes.
    pub(crate) fn wait_for_segments(&self, len: u64) {
        let began = Instant::now();
        let held = || {
            files(&self.data(), "seg")
                .iter()
                .map(|(_, len)| len)
                .sum::<u64>()
        };
        while held() < len {
            assert!(
                began.elapsed() < START_MAX,
                "{} of {len} bytes in segments",
                held()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
