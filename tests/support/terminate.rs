//! Stopping a broker as an operator does.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::broker::Broker;
use crate::waiting::looks;

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
        let child = self.child.as_mut().expect("the broker was started");
        let status = looks(STOP_MAX, || {
            child.try_wait().expect("a child can be waited for")
        });
        let status = status.expect("the broker ends");
        self.child = None;
        status
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn terminate(&mut self) {
        self.signal_end();
        let status = self.ended();
        assert!(status.success(), "{status}");
    }
}
