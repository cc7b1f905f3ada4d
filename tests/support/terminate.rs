//! Stopping a broker as an operator does.

use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::broker::Broker;

/// A broker that has not ended by then hangs; only a bound for broken ones.
const STOP_MAX: Duration = Duration::from_secs(60);

impl Broker {
    /// SIGTERM.
    pub(crate) fn signal_end(&self) {
        let pid = self.child.as_ref().expect("the broker runs").id();
        // A shell knows `kill` by itself; the program of this name is not everywhere.
        let sent = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -TERM {pid}"))
            .status();
        assert!(sent.expect("there is a shell").success());
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        let child = self.child.as_mut().expect("the broker was started");
        while began.elapsed() < STOP_MAX {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                self.child = None;
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the broker did not end");
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn terminate(&mut self) {
        self.signal_end();
        let status = self.ended();
        assert!(status.success(), "{status}");
    }
}
