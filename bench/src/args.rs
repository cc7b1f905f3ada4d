//! The arguments of the load generator: names and defaults, and nothing that acts.

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

/// Load generator for Sampan: starts a real broker, drives it through the SDK, and measures.
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
    /// Broker nodes; this version runs one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1))]
    pub(crate) nodes: u32,
    /// produce: send only. pipeline: send, receive and delete at the same time.
    #[arg(long, value_enum)]
    pub(crate) workload: Workload,
    /// Length of a body in bytes: 16 to 1048576.
    #[arg(long, default_value_t = 1_024, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(crate) body: u32,
    /// Client connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) connections: u32,
    /// Unconfirmed sends per connection.
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) window: u32,
    /// Queues; connection n uses queue n modulo this.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) queues: u32,
    /// Whether clients use TLS.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub(crate) tls: Switch,
    /// How long to measure, after one second of warming up.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Send only.
    Produce,
    /// Send, receive and delete.
    Pipeline,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<ClusterArguments, clap::Error> {
        let Arguments {
            verb: Verb::Cluster(arguments),
        } = Arguments::try_parse_from(line.split_whitespace())?;
        Ok(arguments)
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
            (arguments.window, arguments.queues, arguments.seconds),
            (1_024, 1, 10)
        );
        assert_eq!((arguments.tls, arguments.json), (Switch::On, false));
    }

    #[test]
    fn what_this_version_cannot_do_is_wrong_usage() {
        for rest in [
            "",
            "--workload other",
            "--workload produce --nodes 3",
            "--workload produce --body 8",
            "--workload produce --window 0",
        ] {
            let line = format!("sampan-bench cluster {rest}");
            assert_eq!(parse(&line).expect_err(&line).exit_code(), 2);
        }
    }
}
