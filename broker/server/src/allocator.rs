//! The allocator, how long it keeps what was freed, and the size of its pages.
//!
//! Bodies lie in memory until the next checkpoint, a second or less under load, and are freed all
//! at once. mimalloc gives freed memory back to the system after a second, so under load each byte
//! of it was soon asked for again, and cleared by the kernel first: an eighth of the CPU time of
//! three nodes that only take messages in.
//! The price of keeping it longer: after a burst the process looks larger for a while. Bodies are
//! freed by the checkpointer, and what another thread freed a core's heap looks at only when it
//! allocates again: at the next checkpoint, a minute later, if the burst was the last.
//!
//! The kernel clears a page when it is first touched, while whoever touched it waits: 2 MiB at a
//! time for a huge page, milliseconds on a virtual machine; on a core thread every message waits
//! with it. The broker touches what it asks for once, so it gains nothing by huge pages.

use std::io;

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

/// Makes the kernel give this process no huge pages, whatever the system's setting and the
/// allocator's wish. Source: prctl(2), `PR_SET_THP_DISABLE`.
///
/// # Errors
///
/// The kernel knows no such switch.
#[expect(unsafe_code, reason = "the standard library has no prctl")]
pub(crate) fn refuse_huge_pages() -> io::Result<()> {
    // SAFETY: this operation takes numbers only.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1_u64, 0_u64, 0_u64, 0_u64) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
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

    #[test]
    fn the_kernel_gives_no_huge_pages_when_told_so() {
        refuse_huge_pages().expect("Linux since 3.15");
        let status = std::fs::read_to_string("/proc/self/status").expect("this process");
        let enabled = status.lines().find(|line| line.starts_with("THP_enabled:"));
        assert_eq!(enabled, Some("THP_enabled:\t0"), "{status}");
    }
}
