//! What the machine can do at most: the bare minimum of a broker's work, and nothing else.
//!
//! A client sends frames over TCP; a server gathers what waits into one batch, writes it with a
//! checksum to a log that was laid out before, syncs, and acknowledges. With three replicas each
//! batch goes to two followers as well, and counts once the server's log and one follower have it
//! synced. No queues, no TLS, no consensus, no index, no recovery.
//!
//! Server, followers and client are processes of their own, as with a broker, so that both share
//! the machine in the same way: this program again, under a verb that is not shown.
//!
//! A frame: u32 length of the body, u64 id, body. An acknowledgement: u64 id. All little-endian.

mod client;
mod command;
mod follower;
mod log;
mod part;
mod server;

use std::io::Write;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

pub(crate) use self::command::measure as by_command;
pub(crate) use self::part::Part;
use self::part::Process;
use crate::args::CeilingArguments;
use crate::meter::Quantiles;
use crate::progress;
use crate::report::origin::Origin;

/// What came out; its fields are the keys of the JSON object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ceiling {
    pub(crate) replicas: u32,
    pub(crate) connections: u32,
    pub(crate) window: u32,
    pub(crate) body_bytes: u32,
    /// As measured.
    pub(crate) seconds: f64,
    /// Acknowledged.
    pub(crate) messages: u64,
    pub(crate) msgs_per_s: u64,
    pub(crate) send_us: Option<Quantiles>,
}

/// Runs and prints.
pub(crate) async fn run(arguments: &CeilingArguments) -> anyhow::Result<()> {
    let ceiling = measure(arguments).await?;
    progress::end();
    let text = match arguments.json {
        true => serde_json::to_string(&Reported {
            origin: Origin::here(),
            ceiling: &ceiling,
        })?,
        false => ceiling.table(),
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

/// The JSON object.
#[derive(Debug, Serialize)]
struct Reported<'a> {
    #[serde(flatten)]
    origin: Origin,
    #[serde(flatten)]
    ceiling: &'a Ceiling,
}

/// One run, in a temporary folder that is gone at the end, as the processes are.
pub(crate) async fn measure(arguments: &CeilingArguments) -> anyhow::Result<Ceiling> {
    progress::say(format!("measuring the ceiling: {} s", arguments.seconds));
    let folder = tempfile::Builder::new()
        .prefix("sampan-ceiling-")
        .tempdir()?;
    let mut followers = Vec::new();
    for number in 1..arguments.replicas {
        let log = log_file(&folder, &format!("follower-{number}"));
        followers.push(Process::start(&["follower".to_owned(), log]).await?);
    }
    let mut server = vec!["server".to_owned(), log_file(&folder, "server")];
    server.extend(followers.iter().map(|follower| follower.said().to_owned()));
    let server = Process::start(&server).await?;
    let client = [
        "client".to_owned(),
        server.said().to_owned(),
        serde_json::to_string(&client::Load {
            replicas: arguments.replicas,
            connections: arguments.connections,
            window: arguments.window,
            body: arguments.body,
            seconds: arguments.seconds,
        })?,
    ];
    let client = Process::start(&client).await?;
    Ok(serde_json::from_str(client.said())?)
}

fn log_file(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

impl Ceiling {
    /// For people.
    pub(crate) fn table(&self) -> String {
        let load = format!(
            "connections {}, window {}, body {} B",
            self.connections, self.window, self.body_bytes
        );
        let mut rows = vec![
            ("replicas", self.replicas.to_string()),
            ("load", load),
            (
                "messages",
                format!("{} in {:.2} s", self.messages, self.seconds),
            ),
            ("rate", format!("{} msg/s", self.msgs_per_s)),
        ];
        rows.extend(
            self.send_us
                .map(|quantiles| ("send", quantiles.to_string())),
        );
        crate::report::lines(&rows)
    }
}
