//! Waiting for what another process, or its log, is to say soon.

use std::time::{Duration, Instant};

/// Between two looks: nothing tells when another process has got so far.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `found` finds something. What has not come within `longest` never will: it is only a
/// bound for what is broken.
pub(crate) fn within<T>(longest: Duration, what: &str, found: impl FnMut() -> Option<T>) -> T {
    let found = looks(longest, found);
    found.unwrap_or_else(|| panic!("never came: {what}"))
}

/// The same for callers who have more to say of what never came.
pub(crate) fn looks<T>(longest: Duration, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return Some(found);
        }
        if began.elapsed() >= longest {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}
