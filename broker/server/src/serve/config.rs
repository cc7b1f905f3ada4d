//! The configuration of a broker: a TOML file, and the command line on top of it.
//!
//! ```toml
//! data = "/var/lib/sampan"
//! listen = "0.0.0.0:7411"
//! advertise = "broker-1.example.com:7411"
//! certificate = "/etc/sampan/server.pem"
//! key = "/etc/sampan/server-key.pem"
//! node_id = 1
//!
//! [peer]
//! listen = "0.0.0.0:7413"
//! advertise = "broker-1.example.com:7413"
//! certificate = "/etc/sampan/peer.pem"
//! key = "/etc/sampan/peer-key.pem"
//! ca = "/etc/sampan/peer-ca.pem"
//!
//! [[accounts]]
//! secret_id = "AKIDexample"
//! secret_key = "..."
//! ```
//!
//! All keys stand in examples/cluster.toml. Everything that cannot work is refused here, before a
//! file or socket is touched, with the setting's name. Without `--dev`, certificates and accounts
//! must be named. Spec: spec/limits.md, "Server".

mod file;
mod peer;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};

pub(super) use self::peer::PeerConfig;

use super::dev::{self, DevMaterial, DevOptions};
use super::storage_watch::StorageLimits;
use super::tls::TlsFiles;
use crate::accounts::Accounts;
use crate::cli::{ListenAddress, SET_COUNT_MAX, ServeArguments, TlsMode, parse_host_port};

const LISTEN_DEFAULT: &str = "127.0.0.1:7411";
const HTTP_PORT_DEFAULT: u16 = 7412;
const PEER_PORT_DEFAULT: u16 = 7413;
const DATA_DEFAULT: &str = "sampan-data";
/// Sends are refused with less than this left on the device: 512 MiB.
const FREE_LEN_MIN_DEFAULT: u64 = 512 * 1024 * 1024;
const CORES_MAX: usize = 1_024;
/// Longest name of a zone.
const ZONE_LEN_MAX: usize = 64;

/// Everything a broker needs to know before it starts.
pub(super) struct Config {
    pub(super) data: PathBuf,
    /// Where clients are listened for.
    pub(super) listen: SocketAddr,
    /// Where clients are told to find this node; `None`: where it listens.
    advertise_client: Option<String>,
    /// Health checks and metrics.
    pub(super) http: HttpConfig,
    /// This node's number in its cluster, from 1.
    pub(super) node_id: u64,
    /// Its failure zone; may be empty.
    pub(super) zone: String,
    /// The other nodes; `None`: there is no port for them.
    pub(super) peer: Option<PeerConfig>,
    /// Sets of queues that a new cluster gets; `None`: the default.
    pub(super) set_count: Option<u32>,
    /// Bytes of the log that are kept for peers that lag; `None`: the default.
    pub(super) log_kept_len: Option<u64>,
    /// Bytes a second at which snapshots are sent to peers; `None`: the default.
    pub(super) snapshot_rate: Option<u64>,
    pub(super) cores: usize,
    pub(super) dev: bool,
    pub(super) storage: StorageLimits,
    /// The log is complete, says the operator.
    pub(super) trust_log: bool,
    /// Who must use TLS.
    pub(super) tls: TlsMode,
    dev_ca: Option<PathBuf>,
    tls_files: Option<TlsFiles>,
    accounts: Vec<(String, String)>,
}

/// Where health checks and metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HttpConfig {
    pub(super) listen: SocketAddr,
    /// Whether somebody asked for this address. A default one that is taken is no reason not to
    /// start: a second broker on a machine needs only its client port named.
    pub(super) is_named: bool,
}

/// Reads the file that the arguments name, and puts the arguments on top.
pub(super) fn load(arguments: &ServeArguments) -> anyhow::Result<Config> {
    let mut file = match &arguments.config {
        Some(path) => file::read(path)?,
        None => file::File::default(),
    };
    let tls_files = match (file.certificate.take(), file.key.take()) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (None, None) => None,
        _ => bail!("`certificate` and `key` must be named together"),
    };
    let listen = LISTEN_DEFAULT.parse().expect("the default is an address");
    let listen: SocketAddr = arguments.listen.or(file.listen).unwrap_or(listen);
    let pairs = std::mem::take(&mut file.accounts)
        .into_iter()
        .map(|account| (account.secret_id, account.secret_key));
    let config = Config {
        data: arguments
            .data
            .clone()
            .or(file.data.take())
            .unwrap_or_else(|| DATA_DEFAULT.into()),
        listen,
        advertise_client: advertised(
            "advertise",
            arguments.advertise_client.clone().or(file.advertise.take()),
        )?,
        http: http(arguments.http.or(file.http.listen), listen),
        node_id: node_id(arguments, &file)?,
        zone: zone(arguments, &mut file)?,
        peer: peer::load(arguments, file.peer.take(), listen)?,
        set_count: set_count(arguments, &file)?,
        log_kept_len: file.log_kept_len,
        snapshot_rate: file.snapshot_rate,
        cores: cores(arguments, &file)?,
        dev: arguments.dev,
        storage: StorageLimits {
            free_len_min: file.storage.free_len_min.unwrap_or(FREE_LEN_MIN_DEFAULT),
            used_len_max: file.storage.used_len_max,
            overlay_len: file.storage.overlay_len,
        },
        trust_log: arguments.trust_log,
        tls: arguments
            .tls
            .or(file.tls.map(TlsMode::from))
            .unwrap_or_default(),
        dev_ca: arguments.dev_ca.clone(),
        tls_files,
        accounts: pairs.collect(),
    };
    config.check_addresses()?;
    Ok(config)
}

/// The port that stands for `default`: a free one when clients get a free one.
fn default_port(default: u16, listen: SocketAddr) -> u16 {
    if listen.port() == 0 { 0 } else { default }
}

fn http(named: Option<ListenAddress>, listen: SocketAddr) -> HttpConfig {
    let port = default_port(HTTP_PORT_DEFAULT, listen);
    HttpConfig {
        listen: match named {
            Some(address) => address.with_port(port),
            None => SocketAddr::new(listen.ip(), port),
        },
        is_named: named.is_some(),
    }
}

fn node_id(arguments: &ServeArguments, file: &file::File) -> anyhow::Result<u64> {
    let id = arguments.node_id.or(file.node_id).unwrap_or(1);
    ensure!(id != 0, "`node_id` must be 1 or more");
    Ok(id)
}

fn zone(arguments: &ServeArguments, file: &mut file::File) -> anyhow::Result<String> {
    let zone = arguments.zone.clone().or(file.zone.take());
    let zone = zone.unwrap_or_default();
    ensure!(
        zone.len() <= ZONE_LEN_MAX && !zone.contains(char::is_control),
        "`zone` must have at most {ZONE_LEN_MAX} bytes of text"
    );
    Ok(zone)
}

fn set_count(arguments: &ServeArguments, file: &file::File) -> anyhow::Result<Option<u32>> {
    let count = arguments.sets.or(file.sets);
    let is_good = count.is_none_or(|count| (1..=SET_COUNT_MAX).contains(&i64::from(count)));
    ensure!(is_good, "`sets` must be 1 to {SET_COUNT_MAX}");
    Ok(count)
}

fn cores(arguments: &ServeArguments, file: &file::File) -> anyhow::Result<usize> {
    let cores = match arguments.cores.map(usize::from).or(file.cores) {
        Some(cores) => cores,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    ensure!(
        (1..=CORES_MAX).contains(&cores),
        "cores must be 1 to {CORES_MAX}, not {cores}"
    );
    Ok(cores)
}

/// Checks an address that others are told.
fn advertised(setting: &str, address: Option<String>) -> anyhow::Result<Option<String>> {
    let checked = address.map(|address| parse_host_port(&address));
    checked.transpose().with_context(|| format!("`{setting}`"))
}

impl Config {
    /// Two of our listeners can't have one address, and nobody can be sent to 0.0.0.0.
    fn check_addresses(&self) -> anyhow::Result<()> {
        let mut listens = vec![("`listen`", self.listen)];
        if self.http.is_named {
            listens.push(("`http.listen`", self.http.listen));
        }
        listens.extend(self.peer.iter().map(|peer| ("`peer.listen`", peer.listen)));
        for (index, (name, address)) in listens.iter().enumerate() {
            let earlier = listens[..index].iter().find(|(_, other)| other == address);
            if let (Some((other, _)), false) = (earlier, address.port() == 0) {
                bail!("{name} and {other} are both {address}");
            }
        }
        let Some(peer) = &self.peer else {
            return Ok(());
        };
        ensure!(
            !peer.listen.ip().is_unspecified() || peer.advertise.is_some(),
            "nobody can be sent to {}: name `peer.advertise` (--advertise-peer)",
            peer.listen
        );
        ensure!(
            !self.listen.ip().is_unspecified() || self.advertise_client.is_some(),
            "nobody can be sent to {}: name `advertise` (--advertise-client)",
            self.listen
        );
        Ok(())
    }

    /// Warns of connections that anybody can listen to.
    pub(super) fn warn_of_missing_tls(&self) {
        if self.tls == TlsMode::Off {
            tracing::warn!("TLS is off: anybody on the network path can read and change messages");
        }
        if self.tls != TlsMode::On && self.peer.is_some() {
            tracing::warn!("TLS between nodes is off: whoever reaches the port can pose as a node");
        }
    }

    /// Where clients are told to find this node, which listens at `bound`.
    pub(super) fn client_address(&self, bound: SocketAddr) -> String {
        let advertised = self.advertise_client.clone();
        advertised.unwrap_or_else(|| bound.to_string())
    }

    /// Finds or makes what `--dev` needs; `None` without `--dev`. The data folder exists.
    pub(super) fn dev_material(&self) -> anyhow::Result<Option<DevMaterial>> {
        if !self.dev {
            return Ok(None);
        }
        dev::prepare(&DevOptions {
            data: &self.data,
            shared: self.dev_ca.as_deref(),
            node_id: self.node_id,
            host: self.advertised_host(),
        })
        .map(Some)
    }

    /// The name or IP address by which clients are told to find this node.
    fn advertised_host(&self) -> Option<&str> {
        let (host, _) = self.advertise_client.as_deref()?.rsplit_once(':')?;
        Some(host.trim_matches(['[', ']']))
    }

    /// Who may use the broker.
    pub(super) fn accounts(&self, dev: Option<&DevMaterial>) -> anyhow::Result<Accounts> {
        let mut accounts = self.accounts.clone();
        if let Some(DevMaterial { account, .. }) = dev {
            accounts.push((account.secret_id.clone(), account.secret_key.clone()));
        }
        let hint = "name [[accounts]] in the configuration, or use --dev for a first try";
        Accounts::new(accounts, rand::random()).context(hint)
    }

    /// The files of the TLS that clients meet; `None` when it is off.
    pub(super) fn client_tls(&self, dev: Option<&DevMaterial>) -> anyhow::Result<Option<TlsFiles>> {
        if self.tls == TlsMode::Off {
            return Ok(None);
        }
        let files = self
            .tls_files
            .clone()
            .or_else(|| dev.map(|dev| dev.tls.clone()));
        let hint = "name `certificate` and `key` in the configuration, or use --dev for a first \
                    try, or --tls off";
        files.context(hint).map(Some)
    }
}

#[cfg(test)]
mod tests;
