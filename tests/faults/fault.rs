//! The kinds of faults.

/// What is done to the cluster during a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillLeader,
    KillFollower,
    KillTwo,
    KillAll,
    PauseLeader,
    PauseFollower,
    IsolateLeader,
    OneWay,
    Flapping,
    SlowLinks,
    ClockHour,
    ClockMonth,
    PowerCutOne,
    PowerCutAll,
    DiskFull,
    FlippedLogBit,
    FlippedStoreBit,
    TruncatedLog,
    WipedFolder,
    ReplaceNode,
    AddAndRemoveNode,
    TransferLeader,
    Drain,
    RollingRestart,
}

/// A refusal that a caller may hear of while a disk is full.
const STORAGE_FULL: u16 = 500;

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Fault; 24] = [
        Fault::KillLeader,
        Fault::KillFollower,
        Fault::KillTwo,
        Fault::KillAll,
        Fault::PauseLeader,
        Fault::PauseFollower,
        Fault::IsolateLeader,
        Fault::OneWay,
        Fault::Flapping,
        Fault::SlowLinks,
        Fault::ClockHour,
        Fault::ClockMonth,
        Fault::PowerCutOne,
        Fault::PowerCutAll,
        Fault::DiskFull,
        Fault::FlippedLogBit,
        Fault::FlippedStoreBit,
        Fault::TruncatedLog,
        Fault::WipedFolder,
        Fault::ReplaceNode,
        Fault::AddAndRemoveNode,
        Fault::TransferLeader,
        Fault::Drain,
        Fault::RollingRestart,
    ];

    /// Its name in words, as the reports say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::KillLeader => "kill leader",
            Fault::KillFollower => "kill follower",
            Fault::KillTwo => "kill two",
            Fault::KillAll => "kill all",
            Fault::PauseLeader => "pause leader",
            Fault::PauseFollower => "pause follower",
            Fault::IsolateLeader => "isolate leader",
            Fault::OneWay => "one-way partition",
            Fault::Flapping => "flapping partition",
            Fault::SlowLinks => "slow links",
            Fault::ClockHour => "clock off by 1 h",
            Fault::ClockMonth => "clock off by 30 days",
            Fault::PowerCutOne => "power cut of one",
            Fault::PowerCutAll => "power cut of all",
            Fault::DiskFull => "disk full",
            Fault::FlippedLogBit => "flipped bit in the log",
            Fault::FlippedStoreBit => "flipped bit in the store",
            Fault::TruncatedLog => "truncated log",
            Fault::WipedFolder => "wiped folder",
            Fault::ReplaceNode => "replace node",
            Fault::AddAndRemoveNode => "add and remove node",
            Fault::TransferLeader => "transfer leader",
            Fault::Drain => "drain",
            Fault::RollingRestart => "rolling restart",
        }
    }

    /// The fault that is called so, hyphens and spaces alike.
    pub(crate) fn by_name(name: &str) -> Option<Fault> {
        let plain = |text: &str| text.replace('-', " ");
        Fault::ALL
            .into_iter()
            .find(|fault| plain(fault.name()) == plain(name))
    }

    /// Whether it needs a broker that was built to simulate.
    pub(crate) fn needs_simulation(self) -> bool {
        matches!(
            self,
            Fault::ClockHour | Fault::ClockMonth | Fault::PowerCutOne | Fault::PowerCutAll
        )
    }

    /// Whether it means anything to a node that is alone.
    pub(crate) fn fits_single_node(self) -> bool {
        matches!(
            self,
            Fault::KillAll
                | Fault::PauseLeader
                | Fault::ClockHour
                | Fault::ClockMonth
                | Fault::PowerCutAll
                | Fault::DiskFull
                | Fault::RollingRestart
        )
    }

    /// Numbers of refusals that callers may hear of because of it.
    pub(crate) fn allowed(self) -> &'static [u16] {
        match self {
            Fault::DiskFull => &[STORAGE_FULL],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_listed_once_and_found_by_its_name() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(Fault::by_name(&fault.name().replace(' ', "-")), Some(fault));
            assert_eq!(fault as usize, place);
        }
        assert_eq!(Fault::by_name("rain"), None);
    }
}
