//! Signals to children.

use std::io;
use std::process::Child;

use anyhow::Context;

/// Sends one to a child that was not waited for yet.
#[expect(unsafe_code, reason = "the standard library can only send SIGKILL")]
pub(crate) fn send(child: &Child, number: libc::c_int) -> anyhow::Result<()> {
    let pid = libc::pid_t::try_from(child.id())?;
    // SAFETY: kill takes no pointers; the child is not reaped yet, so the id is still its own.
    if unsafe { libc::kill(pid, number) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error()).context("cannot send a signal to a child")
}
