//! What can be measured.

use clap::ValueEnum;
use serde::Serialize;

/// What the connections do, and what happens to the nodes meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Send only.
    Produce,
    /// Send, receive and delete at the same time.
    Pipeline,
    /// `pipeline` on one queue, and then on many.
    ManyQueues,
    /// Send at a fixed rate, however long sends take.
    Latency,
    /// Send one message at a time, the next when it is confirmed.
    Single,
    /// Send one message at a time to consumers that wait for it.
    Wakeup,
    /// Receives that wait, and nothing comes.
    Parked,
    /// Ready messages: few, and then many; what memory they take.
    Backlog,
    /// Send at a fixed rate while checkpoints run, and while none does.
    Checkpoint,
    /// Send at a fixed rate while the leader is killed again and again.
    Failover,
    /// Send at a fixed rate while leadership is handed over again and again.
    Transfer,
    /// `pipeline` at a fixed rate while a follower is stopped, and while one is replaced.
    Catchup,
    /// Nothing.
    Idle,
    /// Receive and delete what was sent before.
    Drain,
    /// Receive and delete messages that are due at random within a window.
    Delayed,
}

impl Workload {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Produce => "produce",
            Workload::Pipeline => "pipeline",
            Workload::ManyQueues => "many-queues",
            Workload::Latency => "latency",
            Workload::Single => "single",
            Workload::Wakeup => "wakeup",
            Workload::Parked => "parked",
            Workload::Backlog => "backlog",
            Workload::Checkpoint => "checkpoint",
            Workload::Failover => "failover",
            Workload::Transfer => "transfer",
            Workload::Catchup => "catchup",
            Workload::Idle => "idle",
            Workload::Drain => "drain",
            Workload::Delayed => "delayed",
        }
    }

    /// Whether a ceiling says how good its result is.
    pub(crate) fn has_ceiling(self) -> bool {
        use Workload::{Latency, Pipeline, Produce, Single};
        matches!(self, Produce | Pipeline | Latency | Single)
    }

    /// Whether something is done to one of three nodes.
    pub(crate) fn needs_three_nodes(self) -> bool {
        matches!(
            self,
            Workload::Failover | Workload::Transfer | Workload::Catchup
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_have_one_name_on_the_command_line_and_in_results() {
        for workload in Workload::value_variants() {
            let value = workload.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), workload.name());
            let json = serde_json::to_value(workload).expect("plain values");
            assert_eq!(json, workload.name());
        }
    }
}
