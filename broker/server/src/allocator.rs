//! The allocator, and how long it keeps what was freed.
//!
//! Bodies lie in memory until the next checkpoint, a second or less under load, and are freed all
//! at once. mimalloc gives freed memory back to the system after a second, so under load each byte
//! of it was soon asked for again, and cleared by the kernel first: an eighth of the CPU time of
//! three nodes that only take messages in.
//! The price of keeping it longer: after a burst the process looks larger for a while.

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay`, which the bindings do not name. In milliseconds.
const PURGE_DELAY: mi_option_t = 15;
/// Longer than it takes to write down what is in memory; short enough to be seen as a burst's end.
const KEEP_FREED_MS: i64 = 10_000;

/// Makes the allocator keep freed memory for ten seconds, unless `MIMALLOC_PURGE_DELAY` is set.
#[expect(unsafe_code, reason = "the allocator has no safe way to be told")]
pub(crate) fn keep_freed_memory() {
    // SAFETY: any option takes any number at any time; this one is of a kind that exists.
    unsafe { mi_option_set_default(PURGE_DELAY, KEEP_FREED_MS) }
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    #[expect(unsafe_code, reason = "the allocator has no safe way to be asked")]
    fn delay() -> i64 {
        // SAFETY: it only reads.
        unsafe { mi_option_get(PURGE_DELAY) }
    }

    /// The number of the option is that of a header; its default tells whether it still is.
    #[test]
    fn the_option_that_is_set_is_the_delay() {
        assert_eq!(delay(), 1_000, "MIMALLOC_PURGE_DELAY is not set");
        keep_freed_memory();
        assert_eq!(delay(), KEEP_FREED_MS);
    }
}
