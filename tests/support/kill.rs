//! Killing a broker, which `launch` brings back on the same data and port.

use crate::broker::Broker;

impl Broker {
    /// SIGKILL. The process is gone when this returns.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the broker runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be reaped");
    }
}
