//! A timer that is exact to some microseconds. The runtime's own knows whole milliseconds, rounded
//! up, which is as long as what is measured.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use tokio::io::unix::AsyncFd;

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Ticker(AsyncFd<File>);

impl Ticker {
    /// Ticks first after `first`, and then in intervals; neither is 0.
    pub(crate) fn new(first: Duration, interval: Duration) -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        let setting = libc::itimerspec {
            it_interval: timespec(interval),
            it_value: timespec(first),
        };
        let timer = File::from(create(flags, &setting)?);
        Ok(Ticker(register(timer)?))
    }

    /// Waits for the next tick; those that nobody waited for count as one.
    pub(crate) async fn tick(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|timer| timer.get_ref().read_exact(&mut [0; 8]));
            if let Ok(read) = read {
                return read;
            }
        }
    }
}

#[expect(unsafe_code, reason = "the standard library has no timers")]
fn create(flags: libc::c_int, setting: &libc::itimerspec) -> io::Result<OwnedFd> {
    // SAFETY: it takes no pointers, and what it returns is checked.
    let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
    if timer < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and nobody else has it.
    let owned = unsafe { OwnedFd::from_raw_fd(timer) };
    // SAFETY: the setting is valid for reading, and the old one is not asked for.
    match unsafe { libc::timerfd_settime(timer, 0, setting, std::ptr::null_mut()) } {
        0 => Ok(owned),
        _ => Err(io::Error::last_os_error()),
    }
}

#[expect(
    unsafe_code,
    reason = "the runtime trusts a descriptor to stay the same"
)]
fn register(timer: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a file has one descriptor, which stays open for as long as the file lives.
    Ok(unsafe { AsyncFd::register(timer) }?)
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn ticks_come_no_earlier_than_they_should() {
        let began_at = Instant::now();
        let (first, interval) = (Duration::from_millis(3), Duration::from_micros(700));
        let ticker = Ticker::new(first, interval).expect("a timer");
        ticker.tick().await.expect("a tick");
        assert!(began_at.elapsed() >= first);
        ticker.tick().await.expect("a tick");
        assert!(began_at.elapsed() >= first + interval);
    }
}
