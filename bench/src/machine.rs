//! The machine that was measured on, by the kernel's account. What it does not say is empty or 0.

use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

/// See the head of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    /// Logical ones that this process may use.
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
}

impl Machine {
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            cpu: cpu(&text("/proc/cpuinfo")),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_bytes(&text("/proc/meminfo")).unwrap_or(0),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

fn cpu(cpuinfo: &str) -> String {
    // Not every architecture has the name.
    let lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let mut models = lines.filter(|(name, _)| name.trim() == "model name");
    let model = models.next().map(|(_, model)| model.trim().to_owned());
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let line = lines.find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cores, gibibytes) = (self.cores, self.memory_bytes >> 30);
        let Machine { cpu, kernel, .. } = self;
        write!(
            f,
            "{cpu}, cores {cores}, memory {gibibytes} GiB, Linux {kernel}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\n\nmodel name\t: B\n";
        assert_eq!(cpu(cpuinfo), "A CPU @ 2 GHz");
        assert_eq!(cpu(""), std::env::consts::ARCH);
        assert_eq!(memory_bytes("MemTotal:   2048 kB\n"), Some(2_097_152));
        assert_eq!(memory_bytes("MemFree: 1 kB"), None);
        assert!(Machine::read().cores > 0);
    }
}
