//! What the process uses, as the kernel counts it. Left out where the kernel does not say.

use super::text::{Kind, Text};

/// The unit of processor time in `/proc`, the same on every architecture that Linux runs on today.
const TICKS_PER_SECOND: u64 = 100;

/// Adds processor time and memory.
pub(super) fn add(text: &mut Text) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(ticks) = processor_ticks(&stat) {
        let help = "Processor time of the process, user and system.";
        let (seconds, rest) = (ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND);
        let value = format_args!("{seconds}.{rest:02}");
        text.one(
            "sampan_process_cpu_seconds_total",
            Kind::Counter,
            help,
            value,
        );
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(len) = resident_len(&status) {
        let help = "Memory of the process that is in use.";
        text.one("sampan_process_resident_bytes", Kind::Gauge, help, len);
    }
}

/// Fields 14 and 15; the second, a name in parentheses, may hold spaces.
fn processor_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_len(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 200 34 0 0";
        assert_eq!(processor_ticks(stat), Some(234));
        assert_eq!(processor_ticks("7 (a"), None);
        assert_eq!(resident_len("Name:\ta\nVmRSS:\t    12 kB\n"), Some(12_288));
        assert_eq!(resident_len("VmRSS:\t12"), None);
    }
}
