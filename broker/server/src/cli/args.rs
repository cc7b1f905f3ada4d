//! The arguments of the command line: names, defaults and help texts, and nothing that acts.
//!
//! Options that every client command takes stand at the top and may follow the command too.
//! Values are parsed while the arguments are read (`duration`, `size`), so a bad one is wrong
//! usage and ends with exit code 2 before anything is connected.

mod cluster;
mod dead_letter;
mod message;
mod queue;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::duration;
use super::host_port::{self, ListenAddress};
use super::instant;
use super::size;
pub(crate) use cluster::ClusterVerb;
pub(crate) use dead_letter::{DeadLetterVerb, ReasonArgument, RedriveArguments};
pub(crate) use message::MessageVerb;
pub(crate) use queue::{
    AttributeArguments, GroupsArgument, PeekState, QueueVerb, WhenFullArgument,
};

/// Most sets of a cluster, that of the catalog among them.
pub(crate) const SET_COUNT_MAX: i64 = 256;

/// A durable message queue broker, and its commands.
#[derive(Debug, Parser)]
#[command(name = "sampan", version, about, long_about = None, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done, 1 the broker refused, 2 wrong usage, 3 no connection.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: ClientOptions,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options of every command that talks to a broker.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientOptions {
    /// How results are printed; json is one object per line.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// File with SAMPAN_SERVER, SAMPAN_CA, SAMPAN_SECRET_ID and SAMPAN_SECRET_KEY, as `serve
    /// --dev` writes it. What it lacks comes from the environment.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// One JSON object per line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a broker node.
    Serve(ServeArguments),
    /// Verify the data folder of a node that does not run; changes nothing.
    Check(CheckArguments),
    /// Make the data folder of a new cluster of one node from a backup.
    Restore(RestoreArguments),
    #[command(flatten)]
    Client(ClientVerb),
}

/// What to do as a client of a broker.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientVerb {
    /// Create, change, show, list and delete queues.
    #[command(subcommand)]
    Queue(QueueVerb),
    /// Send messages to a queue.
    Send(SendArguments),
    /// Receive messages from a queue.
    Receive(ReceiveArguments),
    /// Delete received messages by their receipt handles.
    Delete(DeleteArguments),
    /// Extend or release received messages by their receipt handles; show any message, cancel or
    /// reschedule delayed ones by their ids.
    #[command(subcommand)]
    Message(MessageVerb),
    /// Move messages of a dead-letter queue back to where they came from.
    #[command(subcommand)]
    DeadLetter(DeadLetterVerb),
    /// Form, describe and change a cluster of nodes.
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// Write a backup of the whole cluster, on the machine of the node that is asked.
    Backup(BackupArguments),
    /// Show that nothing is lost when a broker is killed, with a broker of its own.
    Demo(DemoArguments),
}

/// Arguments of `sampan serve`; what is absent comes from the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ServeArguments {
    /// Configuration file; arguments win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Data folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address for clients; port 0 takes a free one. Default 127.0.0.1:7411.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address for health checks and metrics. Default: port 7412 of the clients' address, or a free
    /// port when clients have a free one.
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<ListenAddress>,
    /// Address for the other nodes of a cluster; without it there is no such port. Default port
    /// 7413.
    #[arg(long, value_name = "ADDR")]
    pub(crate) peer: Option<ListenAddress>,
    /// This node's number in its cluster, from 1. Default 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) node_id: Option<u64>,
    /// Peer addresses of nodes whose cluster a new node asks to join.
    #[arg(long, value_name = "ADDR", num_args = 1.., value_parser = host_port::parse)]
    pub(crate) join: Vec<String>,
    /// Where this node stands: replicas of a set go to different zones while there are enough.
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// Where clients are told to find this node. Default: the address for clients.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port::parse)]
    pub(crate) advertise_client: Option<String>,
    /// Where other nodes are told to find this node. Default: the address for nodes.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port::parse)]
    pub(crate) advertise_peer: Option<String>,
    /// How many sets of queues a new cluster gets. Default: 6, or for a node without a peer port
    /// one per thread that owns queues.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=SET_COUNT_MAX))]
    pub(crate) sets: Option<u32>,
    /// Threads that own queues; default one per core of the machine.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) cores: Option<u16>,
    /// Whether connections must use TLS; default on. `off` means the nodes among each other too.
    #[arg(long, value_enum)]
    pub(crate) tls: Option<TlsMode>,
    /// Make certificates and an account below the data folder, for a first try.
    #[arg(long)]
    pub(crate) dev: bool,
    /// Folder with the CA and the account that several `--dev` nodes share; made by the first.
    #[arg(long, value_name = "DIR", requires = "dev")]
    pub(crate) dev_ca: Option<PathBuf>,
    /// Take this node's log for complete, whatever it looks like: when all voters of a set lost
    /// power and one of them will not come back.
    #[arg(long)]
    pub(crate) trust_log: bool,
}

/// Who must use TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsMode {
    /// Clients and nodes.
    #[default]
    On,
    /// Nobody; for measuring.
    Off,
    /// Clients, but not the nodes among each other.
    ClientOnly,
}

/// Arguments of `sampan check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArguments {
    /// The data folder.
    #[arg(value_name = "DIR")]
    pub(crate) data: PathBuf,
}

/// Arguments of `sampan backup`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BackupArguments {
    /// A folder that is new or empty.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

/// Arguments of `sampan restore`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RestoreArguments {
    /// The backup.
    #[arg(value_name = "DIR")]
    pub(crate) backup: PathBuf,
    /// The data folder to make; new or empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The number of the node in its new cluster.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) node_id: u64,
}

/// Arguments of `sampan send`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SendArguments {
    /// The queue.
    pub(crate) queue: String,
    /// The body (after `--` when it begins with a hyphen). `-`: one message per line of standard
    /// input, empty lines left out. Absent: all of standard input is one message.
    pub(crate) body: Option<String>,
    /// Send the body this many times.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// How long the messages stay hidden; absent: as the queue says.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) delay: Option<Duration>,
    /// Group key, 1 to 128 bytes: what it does is an attribute of the queue, see `queue create`.
    #[arg(long, value_name = "KEY")]
    pub(crate) group: Option<String>,
    /// Deduplication key, 1 to 128 bytes: when a message with this key was stored within the
    /// queue's window, nothing is stored, and the id is that message's.
    #[arg(long, value_name = "KEY", conflicts_with = "count")]
    pub(crate) dedup_key: Option<String>,
    /// Until when they stay hidden, by this machine's clock, for example 2026-03-14T09:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = instant::parse, conflicts_with = "delay")]
    pub(crate) at: Option<SystemTime>,
}

/// Arguments of `sampan receive`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReceiveArguments {
    /// The queue.
    pub(crate) queue: String,
    /// Most messages to receive.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) max: u16,
    /// How long to wait when there is no message; absent: as the queue says.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) wait: Option<Duration>,
    /// How long the messages stay hidden from others; absent: as the queue says.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) visibility_timeout: Option<Duration>,
    /// Delete the messages once they are printed.
    #[arg(long)]
    pub(crate) delete: bool,
}

/// Arguments of `sampan delete`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeleteArguments {
    /// The queue.
    pub(crate) queue: String,
    /// Receipt handles, as `sampan receive` prints them.
    #[arg(required = true, value_name = "HANDLE")]
    pub(crate) handles: Vec<u64>,
}

/// Arguments of `sampan demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArguments {
    /// How many messages to send.
    #[arg(long, value_name = "N", default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) messages: u32,
    /// Length of a body: 16 bytes to 1 MiB.
    #[arg(long, value_name = "SIZE", default_value = "1024", value_parser = size::parse_body)]
    pub(crate) body: u32,
    /// How many nodes to start; of several, the leader is killed.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) nodes: u8,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_output_format_may_stand_before_and_after_the_command() {
        for line in [
            "sampan --output json receive q",
            "sampan receive q --output json",
        ] {
            assert_eq!(parse(line).expect(line).options.output, Format::Json);
        }
    }

    #[test]
    fn what_is_not_named_on_serve_stays_open_for_the_configuration() {
        let Verb::Serve(serve) = parse("sampan serve --tls off --cores 2")
            .expect("good")
            .verb
        else {
            panic!("another command");
        };
        assert_eq!((serve.tls, serve.cores), (Some(TlsMode::Off), Some(2)));
        assert!(serve.data.is_none() && serve.listen.is_none() && !serve.dev);
    }

    #[test]
    fn wrong_values_are_wrong_usage_with_exit_code_2() {
        for line in [
            "sampan",
            "sampan queue create",
            "sampan queue create q --retention 4",
            "sampan queue create q --max-message-size 1KB",
            "sampan queue set q",
            "sampan receive q --max 0",
            "sampan receive q --max 257",
            "sampan receive q --wait soon",
            "sampan delete q",
            "sampan delete q handle",
            "sampan queue purge",
            "sampan queue rewind q",
            "sampan queue rewind q --to yesterday",
            "sampan queue rewind q --to -1",
            "sampan queue peek q --count 257",
            "sampan queue peek q --state gone",
            "sampan dead-letter redrive",
            "sampan dead-letter redrive q --rate 0",
            "sampan dead-letter redrive q --reason full",
            "sampan dead-letter redrive q --header tenant",
            "sampan dead-letter redrive q --since noon",
            "sampan dead-letter status",
            "sampan message show q",
            "sampan message cancel q",
            "sampan message reschedule q 1",
            "sampan message reschedule q 1 --delay 1s --at 2026-03-14T09:00:00Z",
            "sampan message reschedule q 1 --at noon",
            "sampan send q body --count 0",
            "sampan send q body --delay 1s --at 1700000000",
            "sampan serve --cores 0",
            "sampan serve --node-id 0",
            "sampan serve --sets 0",
            "sampan serve --peer nowhere:1",
            "sampan serve --join",
            "sampan serve --join host",
            "sampan serve --dev-ca folder",
            "sampan serve --tls peers",
            "sampan cluster",
            "sampan cluster add-node host",
            "sampan cluster remove-node 0",
            "sampan cluster transfer-leader 1",
            "sampan check",
            "sampan backup",
            "sampan restore folder",
            "sampan restore folder --data data --node-id 0",
            "sampan serve --listen nowhere",
            "sampan demo --body 8",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_node_of_a_cluster_names_its_peers() {
        let line = "sampan serve --node-id 2 --peer 10.0.0.2 --http 10.0.0.2:80 --zone b \
            --join a:7413 b:7413 --join c:7413 --tls client-only --dev --dev-ca shared";
        let Verb::Serve(serve) = parse(line).expect("good").verb else {
            panic!("another command");
        };
        assert_eq!(serve.join, ["a:7413", "b:7413", "c:7413"]);
        assert_eq!(serve.node_id, Some(2));
        assert_eq!(serve.tls, Some(TlsMode::ClientOnly));
        assert_eq!(serve.peer.expect("named").with_port(7413).port(), 7413);
        assert_eq!(serve.http.expect("named").with_port(7412).port(), 80);
    }

    #[test]
    fn set_takes_any_number_of_attributes() {
        assert!(parse("sampan queue set q --delay 1s").is_ok());
        for change in [
            "--redelivery-delay 1s..10m",
            "--max-messages 5 --max-in-flight 3 --max-delayed 0",
            "--dedup-window 1h",
            "--groups ordered",
            "--groups off",
            "--paused",
            "--paused=false",
        ] {
            let line = format!("sampan queue set q {change}");
            assert!(parse(&line).is_ok(), "{line}");
        }
        assert!(parse("sampan queue set q --redelivery-delay 1s").is_err());
        assert!(parse("sampan queue set q --delay 1s --wait 2s --retention 1d").is_ok());
        let error = parse("sampan queue set q").expect_err("nothing to change");
        assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn a_hyphen_is_a_body_and_a_mistyped_option_is_not() {
        for (line, body) in [("sampan send q -", "-"), ("sampan send q -- --x", "--x")] {
            let Verb::Client(ClientVerb::Send(send)) = parse(line).expect(line).verb else {
                panic!("{line}");
            };
            assert_eq!(send.body.as_deref(), Some(body), "{line}");
        }
        assert!(parse("sampan send q --coutn 3").is_err());
        assert!(parse("sampan send q body --dedup-key k").is_ok());
        assert!(parse("sampan send q body --dedup-key k --count 2").is_err());
    }
}
