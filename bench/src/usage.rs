//! What a process used, by the kernel's account: CPU time and memory from /proc, blocks on disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// Clock ticks per second in /proc; part of Linux's interface to programs, the same everywhere.
const TICKS_PER_SECOND: u64 = 100;
/// Length of a block in `MetadataExt::blocks`, whatever the file system's own is.
const BLOCK_LEN: u64 = 512;

/// CPU time of a process, user and system, all its threads.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the broker is gone")?;
    parse_cpu_time(&stat).context("/proc/PID/stat has another form than expected")
}

/// The largest resident size a process has had, in bytes.
pub(crate) fn memory_peak(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmHWM:")
}

/// The resident size of a process now, in bytes.
pub(crate) fn memory_now(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the broker is gone")?;
    parse_memory(&status, name).context("/proc/PID/status has another form than expected")
}

/// What the files below a folder take on the disk.
pub(crate) fn disk_len(folder: &Path) -> anyhow::Result<u64> {
    let mut len = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        len += metadata.blocks() * BLOCK_LEN;
        if metadata.is_dir() {
            len += disk_len(&entry.path())?;
        }
    }
    Ok(len)
}

fn parse_cpu_time(stat: &str) -> Option<Duration> {
    // The program's name stands in parentheses and may hold anything, parentheses included.
    let (_, rest) = stat.rsplit_once(')')?;
    // Counted from the state, which comes first: user time is 12th, system time 13th.
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(
        (user + system) * (1_000 / TICKS_PER_SECOND),
    ))
}

fn parse_memory(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_found_behind_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 900 1 2";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_cpu_time("7 (a) S 1"), None);
    }

    #[test]
    fn sizes_are_read_in_kibibytes() {
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n";
        assert_eq!(parse_memory(status, "VmHWM:"), Some(2_097_152));
        assert_eq!(parse_memory(status, "VmRSS:"), Some(1_048_576));
        assert_eq!(parse_memory("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn this_very_process_has_all_of_them() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(memory_peak(pid).expect("readable") > 0);
        assert!(memory_now(pid).expect("readable") > 0);
    }

    #[test]
    fn blocks_of_all_folders_below_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).expect("made");
        fs::write(inner.join("file"), vec![1; 100_000]).expect("written");
        fs::File::open(inner.join("file"))
            .and_then(|file| file.sync_all())
            .expect("synced");
        assert!(disk_len(folder.path()).expect("readable") >= 100_000);
    }
}
