//! The arguments of `sampan-bench cluster`.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, ValueEnum};
use sampan_client::{Durability, QueueOptions};

use super::{Arguments, Switch, Workload};
use crate::body_len::BodyLen;

/// Most receives that one connection of `many-queues` and `parked` has waiting: below what the
/// broker and the SDK allow, with room for sends.
const RECEIVES_PER_CONNECTION_MAX: u32 = 4_000;

/// Arguments of `sampan-bench cluster`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterArguments {
    /// Broker nodes: 1 or 3.
    #[arg(long, default_value_t = 1, value_parser = parse_node_count)]
    pub(crate) nodes: u32,
    /// What is done and measured.
    #[arg(long, value_enum)]
    pub(crate) workload: Workload,
    /// Length of a body in bytes, 16 to 1048576; or a range like 64..4096, over which lengths are
    /// evenly spread, the same in every run.
    #[arg(long, default_value = "1024", value_name = "BYTES")]
    pub(crate) body: BodyLen,
    /// Client connections. Default: 4, for parked 50. failover, transfer and single have one.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) connections: Option<u32>,
    /// Unconfirmed sends per connection, where sends have no fixed rate.
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) window: u32,
    /// Queues. Connection n uses queue n modulo this; with more queues than connections each queue
    /// has one connection, which sends to its queues in turn. Default: 1, for many-queues 1000.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) queues: Option<u32>,
    /// Messages in a row to one queue, before a connection with several goes on to its next.
    #[arg(long, default_value_t = 1, value_name = "MESSAGES",
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) burst: u32,
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
    /// How long to load the nodes before measuring. Default: 1, for failover, transfer and catchup
    /// 3, for parked 5 and for idle 10, both without load.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=3_600))]
    pub(crate) warm_up: Option<u32>,
    /// How long to measure, after warming up. Default: 10, for parked and checkpoint 30, for idle
    /// 60.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: Option<u32>,
    /// Messages a second of all connections together, where sends have a fixed rate. Default:
    /// 20000 for catchup and checkpoint, otherwise 2000.
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
    /// drain, delayed and wakeup: connections that receive and delete.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) consumers: u32,
    /// drain: messages that are sent before. backlog: how many are many. Default: 3000000 for
    /// drain, 5000000 for backlog.
    #[arg(long, value_name = "MESSAGES",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) backlog: Option<u64>,
    /// parked: receives that wait, of all connections together.
    #[arg(long, default_value_t = 50_000, value_name = "RECEIVES",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) parked: u32,
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
    #[arg(long, value_name = "COMMAND", conflicts_with = "with_ceiling")]
    pub(crate) ceiling: Option<String>,
    /// Measure what the machine can do at most just before, as `sampan-bench ceiling` does: for
    /// produce and pipeline with the same connections, window and body, for latency and single with
    /// one message at a time.
    #[arg(long)]
    pub(crate) with_ceiling: bool,
    /// Write a page with the result's tables and charts, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// When sends are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArgument {
    /// When a majority has synced them.
    Sync,
    /// When a majority has written them.
    Async,
}

impl ClusterArguments {
    /// Refuses what does not go together.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        let conflict = |text: String| {
            let error = Arguments::command().error(ErrorKind::ArgumentConflict, text);
            Err(error)
        };
        let name = self.workload.name();
        if self.workload.needs_three_nodes() && self.nodes != 3 {
            return conflict(format!("--workload {name} needs --nodes 3"));
        }
        if self.with_ceiling && !self.workload.has_ceiling() {
            return conflict(format!("--workload {name} is compared with no ceiling"));
        }
        let receives = match self.workload {
            Workload::Parked => self.parked,
            Workload::Pipeline | Workload::ManyQueues => self.queues(),
            _ => 0,
        };
        if receives.div_ceil(self.connections()) > RECEIVES_PER_CONNECTION_MAX {
            return conflict(format!(
                "{receives} receives need more than {} --connections",
                self.connections()
            ));
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

    /// Client connections.
    pub(crate) fn connections(&self) -> u32 {
        let default = match self.workload {
            Workload::Parked => 50,
            _ => 4,
        };
        self.connections.unwrap_or(default)
    }

    /// Queues.
    pub(crate) fn queues(&self) -> u32 {
        let default = match self.workload {
            Workload::ManyQueues => 1_000,
            _ => 1,
        };
        self.queues.unwrap_or(default)
    }

    /// Messages that are stored.
    pub(crate) fn backlog(&self) -> u64 {
        let default = match self.workload {
            Workload::Backlog => 5_000_000,
            _ => 3_000_000,
        };
        self.backlog.unwrap_or(default)
    }

    /// How long to load the nodes before measuring.
    pub(crate) fn warm_up(&self) -> Duration {
        let default = match self.workload {
            Workload::Idle => 10,
            Workload::Parked => 5,
            workload if workload.needs_three_nodes() => 3,
            _ => 1,
        };
        Duration::from_secs(self.warm_up.unwrap_or(default).into())
    }

    /// How long to measure, in whole seconds.
    pub(crate) fn seconds(&self) -> u32 {
        let default = match self.workload {
            Workload::Idle => 60,
            Workload::Parked | Workload::Checkpoint => 30,
            _ => 10,
        };
        self.seconds.unwrap_or(default)
    }

    /// How long to measure.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.seconds().into())
    }

    /// Messages a second.
    pub(crate) fn rate(&self) -> u32 {
        let default = match self.workload {
            Workload::Catchup | Workload::Checkpoint => 20_000,
            _ => 2_000,
        };
        self.rate.unwrap_or(default)
    }
}

pub(super) fn parse_node_count(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count @ (1 | 3)) => Ok(count),
        _ => Err("a cluster here has 1 node or 3".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Verb;
    use super::*;

    fn parse(line: &str) -> Result<ClusterArguments, clap::Error> {
        let words = line.split_whitespace();
        let Verb::Cluster(arguments) = Arguments::try_parse_from(words)?.verb else {
            panic!("{line} is not about a cluster");
        };
        arguments.check().map(|()| *arguments)
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let arguments = parse("sampan-bench cluster --workload produce").expect("good");
        assert_eq!(
            (arguments.nodes, arguments.body, arguments.connections()),
            (1, BodyLen::fixed(1_024), 4)
        );
        assert_eq!(
            (arguments.window, arguments.queues(), arguments.seconds()),
            (1_024, 1, 10)
        );
        assert_eq!((arguments.tls, arguments.json), (Switch::On, false));
        assert_eq!(arguments.warm_up(), Duration::from_secs(1));
        assert_eq!(
            (arguments.set_count(), arguments.core_count()),
            (None, None)
        );
    }

    #[test]
    fn workloads_have_defaults_of_their_own() {
        let parse =
            |rest: &str| parse(&format!("sampan-bench cluster --workload {rest}")).expect("good");
        let parked = parse("parked");
        assert_eq!((parked.parked, parked.connections()), (50_000, 50));
        assert_eq!(parked.seconds(), 30);
        assert_eq!(parse("many-queues").queues(), 1_000);
        assert_eq!(parse("many-queues --queues 10000").queues(), 10_000);
        assert_eq!(parse("backlog").backlog(), 5_000_000);
        assert_eq!(parse("checkpoint").rate(), 20_000);
        assert_eq!(
            (parse("latency").rate(), parse("latency").burst),
            (2_000, 1)
        );
        assert_eq!(parse("idle --warm-up 0").warm_up(), Duration::ZERO);
        let range = parse("produce --body 64..4096").body;
        assert_eq!(range.max(), 4_096);
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
        assert_eq!((drain.backlog(), drain.consumers), (3_000_000, 4));
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
            "--workload drain --with-ceiling",
            "--workload produce --with-ceiling --ceiling true",
            "--workload many-queues --queues 10000 --connections 2",
            "--workload parked --connections 10",
            "--workload produce --queues 10001",
        ] {
            let line = format!("sampan-bench cluster {rest}");
            assert_eq!(parse(&line).expect_err(&line).exit_code(), 2);
        }
    }
}
