//! The identity of the running kernel's boot.

/// Differs after every start of the machine; 0 where the kernel does not tell.
///
/// A process that was killed lost nothing that it had handed to the kernel. A machine that went
/// down may have, and this is how the next start tells the two apart.
pub fn machine_boot_id() -> u128 {
    let Ok(text) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") else {
        return 0;
    };
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    u128::from_str_radix(&digits, 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_id_stays_the_same_while_the_machine_runs() {
        assert_eq!(machine_boot_id(), machine_boot_id());
    }
}
