//! `sampan serve`: one broker process from its start to its end.
//!
//! The calling thread reads the configuration, opens the data folder, starts one thread per core,
//! says "ready", and waits for SIGTERM or SIGINT. Then it drains: connections stop reading, parked
//! receives are answered, entries on their way are finished, the log is closed.

pub(crate) mod admin;
mod config;
mod core_thread;
mod dev;
mod http;
mod listen;
mod peer_tls;
pub(crate) mod refusals;
mod reload;
mod signals;
mod storage_watch;
mod tls;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use anyhow::Context;
use sampan_cluster::{Node, NodeOptions, SystemTime};
use sampan_storage::io::Folder;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use self::core_thread::{CoreThread, Started};
use self::signals::Signals;
use crate::accounts::Accounts;
use crate::cli::ServeArguments;

/// From the signal to the exit.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Sets replay the log; clients wait to be accepted, for the queues are not all known yet.
    Starting,
    /// Clients are served.
    Serving,
    /// No further request is read.
    Stopping,
}

/// What every connection of the process shares.
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    pub(crate) accounts: Accounts,
    pub(crate) acceptor: Option<TlsAcceptor>,
    /// The next client's number.
    pub(crate) next_client: AtomicU64,
    pub(crate) connection_count: AtomicUsize,
}

/// Runs a broker until it is told to stop.
///
/// # Errors
///
/// What kept it from starting, or from stopping cleanly, with the file or setting concerned.
pub(crate) fn run(arguments: &ServeArguments) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let config = config::load(arguments)?;
    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("creating the data folder {}", config.data.display()))?;
    let material = config.dev_material()?;
    let accounts = config.accounts(material.as_ref())?;
    let acceptor = match config.client_tls(material.as_ref())? {
        Some(files) => Some(tls::acceptor(&files)?),
        None => None,
    };
    if acceptor.is_none() {
        tracing::warn!("TLS is off: anybody on the network path can read and change messages");
    }
    let listeners = listen::bind(config.listen, config.cores)?;
    let address = listeners[0]
        .local_addr()
        .context("reading the listener's address")?;
    let storage_full = Arc::new(AtomicBool::new(false));
    let folder = data_folder(&config.data)?;
    let (node, parts) = open_node(&config, folder.clone(), storage_full.clone())?;
    let node = Arc::new(node);
    let shared = Arc::new(Shared {
        node: node.clone(),
        accounts,
        acceptor,
        next_client: AtomicU64::new(1),
        connection_count: AtomicUsize::new(0),
    });
    storage_watch::start(
        config.storage.clone(),
        folder,
        config.data.clone(),
        storage_full,
    )?;
    let (phase, phases) = watch::channel(Phase::Starting);
    let mut cores = Vec::new();
    for (number, (part, listener)) in parts.into_iter().zip(listeners).enumerate() {
        cores.push(CoreThread::start(
            number,
            part,
            listener,
            shared.clone(),
            phases.clone(),
        )?);
    }
    wait_for_sets(&cores)?;
    phase.send_replace(Phase::Serving);
    let env_file = match &material {
        Some(material) => {
            Some(material.write_env(&config.data, address, shared.acceptor.is_some())?)
        }
        None => None,
    };
    say_ready(&node, address, env_file)?;
    signals.wait();
    tracing::info!("stopping");
    let began = Instant::now();
    phase.send_replace(Phase::Stopping);
    for core in cores {
        core.join(DRAIN_MAX.saturating_sub(began.elapsed()))?;
    }
    drop(shared);
    let node = Arc::into_inner(node).context("a connection outlived its core")?;
    node.close().context("closing the log")?;
    tracing::info!("stopped");
    Ok(())
}

fn open_node(
    config: &config::Config,
    folder: Arc<dyn Folder>,
    storage_full: Arc<AtomicBool>,
) -> anyhow::Result<(Node, Vec<sampan_cluster::CorePart>)> {
    let options = NodeOptions {
        folder,
        set_count: u32::try_from(config.cores).unwrap_or(1),
        core_count: config.cores,
        time: Arc::new(SystemTime::default()),
        random: rand::random,
        storage_full,
        overlay_len: config.storage.overlay_len,
    };
    Node::open(options).context("the data folder was refused; nothing in it was changed")
}

#[cfg(not(feature = "simulation"))]
fn data_folder(path: &std::path::Path) -> anyhow::Result<Arc<dyn Folder>> {
    let folder = sampan_storage::io::DiskFolder::open(path);
    Ok(Arc::new(
        folder.with_context(|| format!("opening {}", path.display()))?,
    ))
}

/// A test build: a killed broker's files go back to their last sync, as after a power cut.
#[cfg(feature = "simulation")]
fn data_folder(path: &std::path::Path) -> anyhow::Result<Arc<dyn Folder>> {
    let folder = sampan_storage::io::RecordingFolder::open(path);
    Ok(Arc::new(
        folder.with_context(|| format!("opening {}", path.display()))?,
    ))
}

fn wait_for_sets(cores: &[CoreThread]) -> anyhow::Result<()> {
    for core in cores {
        if let Started::Failed(error) = core.started() {
            return Err(error);
        }
    }
    Ok(())
}

/// The one line on stdout that scripts wait for.
fn say_ready(node: &Node, client: SocketAddr, env_file: Option<PathBuf>) -> anyhow::Result<()> {
    let mut ready = serde_json::json!({ "node": node.id(), "client": client.to_string() });
    if let Some(path) = env_file {
        ready["env_file"] = serde_json::json!(path);
    }
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready {ready}")
        .and_then(|()| stdout.flush())
        .context("writing to stdout")
}
