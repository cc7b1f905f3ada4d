//! Waiting for checkpoints.

use crate::broker::Broker;
use crate::first_line::START_MAX;
use crate::folder::files;
use crate::waiting::within;

impl Broker {
    /// Waits until segment files hold that many bytes.
    pub(crate) fn wait_for_segments(&self, len: u64) {
        let held = || {
            let segments = files(&self.data(), "seg");
            segments.iter().map(|(_, len)| len).sum::<u64>()
        };
        let what = format!("{len} bytes in segments");
        within(START_MAX, &what, || (held() >= len).then_some(()));
    }
}
