//! Deduplication keys as one would write them in an hour: each key with the message that was stored
//! with it, and when.

use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    known: BTreeMap<Vec<u8>, (u64, u64)>,
}

impl Keys {
    /// Forgets what a window has passed.
    pub(crate) fn forget(&mut self, window_ms: u32, now: u64) {
        self.known
            .retain(|_, (_, stored_at)| now < *stored_at + u64::from(window_ms));
    }

    /// The message that has this key.
    pub(crate) fn find(&self, key: &[u8]) -> Option<u64> {
        self.known.get(key).map(|(id, _)| *id)
    }

    pub(crate) fn remember(&mut self, key: &[u8], id: u64, now: u64) {
        let before = self.known.insert(key.to_vec(), (id, now));
        assert_eq!(before, None, "stored twice within the window");
    }
}
