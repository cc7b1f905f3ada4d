//! The arguments of `sampan-bench ceiling`.

use clap::Args;

use super::cluster::parse_node_count;

/// See the head of the file.
#[derive(Clone, Debug, Args)]
pub(crate) struct CeilingArguments {
    /// Processes that write a log: 1, or 3 of which two must have synced.
    #[arg(long, default_value_t = 1, value_parser = parse_node_count)]
    pub(crate) replicas: u32,
    /// Client connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) connections: u32,
    /// Unconfirmed sends per connection.
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) window: u32,
    /// Length of a body in bytes: 16 to 1048576.
    #[arg(long, default_value_t = 1_024, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(crate) body: u32,
    /// How long to measure.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
