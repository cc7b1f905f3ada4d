//! The arguments of the load generator: names and defaults, and nothing that acts.

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use sampan_client::{Durability, QueueOptions};
use serde::Serialize;

/// Load generator for Sampan: starts real nodes, drives them through the SDK, and measures.
#[derive(Debug, Parser)]
#[command(name = "sampan-bench", version, about, long_about = None)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// A cluster on this machine.
    Cluster(ClusterArguments),
}

/// Arguments of `sampan-bench cluster`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterArguments {
    /// Broker nodes: 1 or 3.
    #[arg(long, default_value_t = 1, value_parser = parse_node_count)]
    pub(crate) nodes: u32,
    /// What is done and measured.
    #[arg(long, value_enum)]
    pub(crate) workload: Workload,
    /// Length of a body in bytes: 16 to 1048576.
    #[arg(long, default_value_t = 1_024, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(crate) body: u32,
    /// Client connections. failover and transfer have one.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) connections: u32,
    /// Unconfirmed sends per connection, where sends have no fixed rate.
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) window: u32,
    /// Queues; connection n uses queue n modulo this.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) queues: u32,
    /// Sets of queues. Default for three nodes: 1, and 16 for idle; for one node: its own default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) sets: Option<u32>,
    /// Threads of a node that own queues. Default for three nodes: 1; for one: its own default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(crate) cores: Option<u16>,
    /// Whether clients, and the nodes among each other, use TLS.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub(crate) tls: Switch,
    /// What the queues ask for: sends are confirmed when a majority has synced, or written, them.
    #[arg(long, value_enum, default_value_t = DurabilityArgument::Sync)]
    pub(crate) durability: DurabilityArgument,
    /// How long to measure, after some warming up. Default: 10, for idle 60.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: Option<u32>,
    /// Messages a second of all connections together, where sends have a fixed rate. Default:
    /// 20000 for catchup, otherwise 2000.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// How often failover and transfer do it.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,
    /// catchup: how long a follower is stopped; 0 leaves this part out.
    #[arg(long, default_value_t = 30, value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(0..=3_600))]
    pub(crate) pause: u32,
    /// catchup: what is stored before a node is replaced by a fresh one, in 10^9 bytes of bodies; 0
    /// leaves this part out.
    #[arg(long, default_value_t = 5, value_name = "GB",
        value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub(crate) backlog_gb: u32,
    /// drain and delayed: connections that receive and delete.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) consumers: u32,
    /// drain: messages that are sent before.
    #[arg(long, default_value_t = 3_000_000, value_name = "MESSAGES",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) backlog: u64,
    /// drain: start the nodes again before, so that bodies come from their files.
    #[arg(long)]
    pub(crate) cold: bool,
    /// delayed: messages that come due; with --waiting no more than a queue takes.
    #[arg(long, default_value_t = 1_000_000, value_name = "MESSAGES",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) count: u64,
    /// delayed: messages due a second; with the count it is how long the window is in which they
    /// are due.
    #[arg(long, default_value_t = 5_000, value_name = "MESSAGES",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) due_rate: u32,
    /// delayed: further messages, due within the day that begins an hour after the window.
    #[arg(long, default_value_t = 0, value_name = "MESSAGES",
        value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    pub(crate) waiting: u64,
    /// delayed: how long after the first send the window begins; all must be sent, and the nodes
    /// started again, before.
    #[arg(long, default_value_t = 90, value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) window_after: u32,
    /// A shell command that measures what the machine can do at most: run before produce and
    /// pipeline; its last line must be a JSON object with msgs_per_s.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) ceiling: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the connections do, and what happens to the nodes meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Send only.
    Produce,
    /// Send, receive and delete at the same time.
    Pipeline,
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
            Workload::Failover => "failover",
            Workload::Transfer => "transfer",
            Workload::Catchup => "catchup",
            Workload::Idle => "idle",
            Workload::Drain => "drain",
            Workload::Delayed => "delayed",
        }
    }
}

/// When sends are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArgument {
    /// When a majority has synced them.
    Sync,
    /// When a majority has written them.
    Async,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

impl Switch {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Switch::On => "on",
            Switch::Off => "off",
        }
    }
}

impl ClusterArguments {
    /// Refuses what does not go together.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        let needs_three = matches!(
            self.workload,
            Workload::Failover | Workload::Transfer | Workload::Catchup
        );
        if needs_three && self.nodes != 3 {
            let text = format!("--workload {} needs --nodes 3", self.workload.name());
            return Err(Arguments::command().error(ErrorKind::ArgumentConflict, text));
        }
        Ok(())
    }

    /// The queues are made so.
    pub(crate) fn queue_options(&self) -> QueueOptions {
        QueueOptions::new().durability(match self.durability {
            DurabilityArgument::Sync => Durability::Sync,
            DurabilityArgument::Async => Durability::Async,
        })
    }

    /// `None`: as the node does by itself.
    pub(crate) fn set_count(&self) -> Option<u32> {
        let default = match (self.workload, self.nodes) {
            (Workload::Idle, 3) => Some(16),
            (_, 3) => Some(1),
            _ => None,
        };
        self.sets.or(default)
    }

    /// `None`: as the node does by itself.
    pub(crate) fn core_count(&self) -> Option<u16> {
        self.cores.or((self.nodes == 3).then_some(1))
    }

    /// How long to measure.
    pub(crate) fn seconds(&self) -> u32 {
        let default = match self.workload {
            Workload::Idle => 60,
            _ => 10,
        };
        self.seconds.unwrap_or(default)
    }

    /// Messages a second.
    pub(crate) fn rate(&self) -> u32 {
        let default = match self.workload {
            Workload::Catchup => 20_000,
            _ => 2_000,
        };
        self.rate.unwrap_or(default)
    }
}

fn parse_node_count(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count @ (1 | 3)) => Ok(count),
        _ => Err("a cluster here has 1 node or 3".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<ClusterArguments, clap::Error> {
        let Arguments {
            verb: Verb::Cluster(arguments),
        } = Arguments::try_parse_from(line.split_whitespace())?;
        arguments.check().map(|()| arguments)
    }

    #[test]
    fn the_definition_is_sound_and_has_the_documented_defaults() {
        Arguments::command().debug_assert();
        let arguments = parse("sampan-bench cluster --workload produce").expect("good");
        assert_eq!(
            (arguments.nodes, arguments.body, arguments.connections),
            (1, 1_024, 4)
        );
        assert_eq!(
            (arguments.window, arguments.queues, arguments.seconds()),
            (1_024, 1, 10)
        );
        assert_eq!((arguments.tls, arguments.json), (Switch::On, false));
        assert_eq!(
            (arguments.set_count(), arguments.core_count()),
            (None, None)
        );
    }

    #[test]
    fn three_nodes_have_defaults_of_their_own() {
        let parse = |rest: &str| parse(&format!("sampan-bench cluster --nodes 3 {rest}"));
        let produce = parse("--workload produce").expect("good");
        assert_eq!(
            (produce.set_count(), produce.core_count()),
            (Some(1), Some(1))
        );
        let idle = parse("--workload idle").expect("good");
        assert_eq!((idle.set_count(), idle.seconds()), (Some(16), 60));
        let catchup = parse("--workload catchup").expect("good");
        assert_eq!((catchup.rate(), catchup.pause), (20_000, 30));
        assert_eq!(catchup.backlog_gb, 5);
        let transfer = parse("--workload transfer --rate 50").expect("good");
        assert_eq!((transfer.rate(), transfer.rounds), (50, 10));
    }

    #[test]
    fn what_is_sent_before_has_a_number_of_its_own() {
        let drain = parse("sampan-bench cluster --workload drain --cold").expect("good");
        assert_eq!((drain.backlog, drain.consumers), (3_000_000, 4));
        assert!(drain.cold);
        let delayed = parse("sampan-bench cluster --workload delayed --count 5").expect("good");
        assert_eq!((delayed.count, delayed.due_rate), (5, 5_000));
        assert_eq!((delayed.window_after, delayed.waiting), (90, 0));
    }

    #[test]
    fn what_this_version_cannot_do_is_wrong_usage() {
        for rest in [
            "",
            "--workload other",
            "--workload produce --nodes 2",
            "--workload failover",
            "--workload catchup --nodes 1",
            "--workload produce --body 8",
            "--workload produce --window 0",
            "--workload produce --sets 0",
            "--workload drain --backlog 0",
            "--workload delayed --due-rate 0",
        ] {
            let line = format!("sampan-bench cluster {rest}");
            assert_eq!(parse(&line).expect_err(&line).exit_code(), 2);
        }
    }

    #[test]
    fn workloads_and_switches_have_the_names_that_are_parsed() {
        for workload in Workload::value_variants() {
            let value = workload.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), workload.name());
        }
        for switch in Switch::value_variants() {
            let value = switch.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), switch.name());
        }
    }
}
