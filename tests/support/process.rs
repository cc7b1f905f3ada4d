//! What the kernel says of a broker's process.

use std::fs;

use crate::broker::Broker;

impl Broker {
    pub(super) fn proc_file(&self, name: &str) -> String {
        let pid = self.child.as_ref().expect("the broker runs").id();
        fs::read_to_string(format!("/proc/{pid}/{name}")).expect("Linux, and the broker runs")
    }

    /// Memory that it has in use, in bytes.
    pub(crate) fn resident_len(&self) -> u64 {
        let status = self.proc_file("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .expect("VmRSS in kB");
        kib.parse::<u64>().expect("a number") * 1024
    }
}
