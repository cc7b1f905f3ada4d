//! `sampan serve`: one broker process from its start to its end.
//!
//! The calling thread reads the configuration, opens the data folder, starts one thread per core,
//! says "ready", and waits for SIGTERM or SIGINT. Then it drains: leaderships are handed over,
//! connections stop reading, parked receives are answered, entries on their way are finished, the
//! log is closed.
//!
//! A node without a cluster lives through the same once more when it gets one ([`life`]); its ports
//! stay open in between.

pub(crate) mod admin;
mod config;
mod core_thread;
mod dev;
mod health;
mod http;
mod life;
mod listen;
mod peer_tls;
pub(crate) mod refusals;
mod reload;
mod signals;
#[cfg(feature = "simulation")]
mod simulated_clock;
#[cfg(feature = "simulation")]
mod simulated_power;
mod storage_watch;
mod tls;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Weak};

use anyhow::Context;
use sampan_cluster::{
    Founding, LOG_KEPT_LEN_DEFAULT, NodeOptions, PeerOptions, SNAPSHOT_RATE_DEFAULT, TimeSource,
};
use sampan_storage::io::Folder;
use tokio::sync::watch;

use self::config::Config;
use self::dev::DevMaterial;
use self::health::NodeHealth;
use self::http::HttpServer;
use self::life::{Ended, Lent, Life};
pub(crate) use self::life::{Phase, Shared};
use self::reload::Security;
use self::signals::Signals;
use crate::cli::{ServeArguments, TlsMode};

/// Runs a broker until it is told to stop.
///
/// # Errors
///
/// What kept it from starting, or from stopping cleanly, with the file or setting concerned.
pub(crate) fn run(arguments: &ServeArguments) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let process = Process::prepare(arguments)?;
    let mut founding = process.first_founding();
    let mut is_said = false;
    loop {
        let life = Life::begin(&process, founding)?;
        process.node.send_replace(life.node());
        if !is_said {
            process.say_ready()?;
            is_said = true;
        }
        let ended = life.wait(&mut signals, || process.security.reload(arguments));
        life.end()?;
        match ended {
            Ended::Stopped => break,
            Ended::Founded(decided) => {
                tracing::info!(?decided, "this node belongs to a cluster from now on");
                founding = Some(decided);
            }
        }
    }
    if let Some(http) = process.http {
        http.stop()?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// What this node tells people that it runs.
const RELEASE: &str = if cfg!(feature = "next-version") {
    concat!(env!("CARGO_PKG_VERSION"), "-next")
} else {
    env!("CARGO_PKG_VERSION")
};

/// What lasts as long as the process.
struct Process {
    config: Config,
    material: Option<DevMaterial>,
    security: Arc<Security>,
    /// One per core.
    listeners: Vec<TcpListener>,
    peer_listener: Option<Arc<TcpListener>>,
    http: Option<HttpServer>,
    folder: Arc<dyn Folder>,
    storage_full: Arc<AtomicBool>,
    time: Arc<dyn TimeSource>,
    next_client: Arc<AtomicU64>,
    connection_count: Arc<AtomicUsize>,
    node: watch::Sender<Weak<Lent>>,
}

impl Process {
    fn prepare(arguments: &ServeArguments) -> anyhow::Result<Process> {
        let config = config::load(arguments)?;
        std::fs::create_dir_all(&config.data)
            .with_context(|| format!("creating the data folder {}", config.data.display()))?;
        let material = config.dev_material()?;
        let security = Arc::new(Security::open(&config, material.as_ref())?);
        warn_without_tls(&config);
        let listeners = listen::bind(config.listen, config.cores)?;
        let peer_listener = match &config.peer {
            Some(peer) => listen::bind(peer.listen, 1)?.pop().map(Arc::new),
            None => None,
        };
        let node = watch::Sender::new(Weak::new());
        let connection_count = Arc::new(AtomicUsize::new(0));
        let http = match http::bind(&config.http)? {
            Some(listener) => {
                let health = NodeHealth::new(node.subscribe(), connection_count.clone());
                Some(HttpServer::start(listener, Arc::new(health))?)
            }
            None => None,
        };
        let storage_full = Arc::new(AtomicBool::new(false));
        let folder = data_folder(&config.data)?;
        storage_watch::start(
            config.storage.clone(),
            folder.clone(),
            config.data.clone(),
            storage_full.clone(),
        )?;
        Ok(Process {
            config,
            material,
            security,
            listeners,
            peer_listener,
            http,
            folder,
            storage_full,
            time: life::time_source(),
            next_client: Arc::new(AtomicU64::new(1)),
            connection_count,
            node,
        })
    }

    /// A node that nobody else can reach is a cluster of its own from the start.
    fn first_founding(&self) -> Option<Founding> {
        let cores = u32::try_from(self.config.cores).unwrap_or(1);
        let set_count = self.config.set_count.unwrap_or(cores);
        let founding = Founding::New {
            set_count: Some(set_count),
        };
        self.config.peer.is_none().then_some(founding)
    }

    fn client_address(&self) -> anyhow::Result<SocketAddr> {
        self.listeners[0]
            .local_addr()
            .context("reading the listener's address")
    }

    fn node_options(&self, founding: Option<Founding>) -> anyhow::Result<NodeOptions> {
        let peers = match (&self.config.peer, &self.peer_listener) {
            (Some(peer), Some(listener)) => {
                let bound = listener.local_addr();
                let bound = bound.context("reading the peer listener's address")?;
                Some(PeerOptions {
                    transport: self.security.peer_transport(),
                    listener: listener.clone(),
                    address: peer.address(bound),
                    join: peer.join.clone(),
                })
            }
            _ => None,
        };
        let http = self.http.as_ref().map(|http| http.address().to_string());
        let options = NodeOptions {
            node: self.config.node_id,
            folder: self.folder.clone(),
            set_count: self.config.set_count,
            core_count: self.config.cores,
            time: self.time.clone(),
            random: rand::random,
            storage_full: self.storage_full.clone(),
            overlay_len: self.config.storage.overlay_len,
            log_kept_len: self.config.log_kept_len.unwrap_or(LOG_KEPT_LEN_DEFAULT),
            snapshot_rate: self.config.snapshot_rate.unwrap_or(SNAPSHOT_RATE_DEFAULT),
            client_address: self.config.client_address(self.client_address()?),
            http_address: http.unwrap_or_default(),
            zone: self.config.zone.clone(),
            release: RELEASE.to_owned(),
            trust_log: self.config.trust_log,
            boot_id: boot_id(),
            peers,
            founding,
        };
        Ok(options)
    }

    /// The one line on stdout that scripts wait for.
    fn say_ready(&self) -> anyhow::Result<()> {
        let client = self.client_address()?;
        let mut ready = serde_json::json!({
            "node": self.config.node_id,
            "client": client.to_string(),
        });
        if let Some(listener) = &self.peer_listener {
            let peer = listener.local_addr();
            let peer = peer.context("reading the peer listener's address")?;
            ready["peer"] = serde_json::json!(peer.to_string());
        }
        if let Some(http) = &self.http {
            ready["http"] = serde_json::json!(http.address().to_string());
        }
        if let Some(path) = self.write_env(client)? {
            ready["env_file"] = serde_json::json!(path);
        }
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "ready {ready}")
            .and_then(|()| stdout.flush())
            .context("writing to stdout")
    }

    fn write_env(&self, client: SocketAddr) -> anyhow::Result<Option<PathBuf>> {
        let Some(material) = &self.material else {
            return Ok(None);
        };
        let address = self.config.client_address(client);
        let with_tls = self.security.acceptor().is_some();
        material
            .write_env(&self.config.data, address, with_tls)
            .map(Some)
    }
}

fn warn_without_tls(config: &Config) {
    match config.tls {
        TlsMode::On => {}
        TlsMode::ClientOnly => {
            tracing::warn!("TLS between nodes is off: whoever reaches the peer port is believed");
        }
        TlsMode::Off => {
            tracing::warn!("TLS is off: anybody on the network path can read and change messages");
        }
    }
}

#[cfg(not(feature = "simulation"))]
fn data_folder(path: &std::path::Path) -> anyhow::Result<Arc<dyn Folder>> {
    let folder = sampan_storage::io::DiskFolder::open(path);
    Ok(Arc::new(
        folder.with_context(|| format!("opening {}", path.display()))?,
    ))
}

#[cfg(feature = "simulation")]
use self::simulated_power::data_folder;

#[cfg(not(feature = "simulation"))]
fn boot_id() -> Option<fn() -> u128> {
    None
}

#[cfg(feature = "simulation")]
fn boot_id() -> Option<fn() -> u128> {
    Some(simulated_power::boot_id)
}
