//! The configuration file as it is written: what each key may hold, and nothing that decides.
//!
//! An unknown key is an error: a misspelt limit must not be a limit that is not there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

use crate::cli::{ListenAddress, TlsMode};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) data: Option<PathBuf>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) advertise: Option<String>,
    pub(super) node_id: Option<u64>,
    pub(super) zone: Option<String>,
    pub(super) sets: Option<u32>,
    pub(super) cores: Option<usize>,
    pub(super) tls: Option<Tls>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) log_kept_len: Option<u64>,
    pub(super) snapshot_rate: Option<u64>,
    pub(super) peer: Option<Peer>,
    #[serde(default)]
    pub(super) http: Http,
    #[serde(default)]
    pub(super) accounts: Vec<Account>,
    #[serde(default)]
    pub(super) storage: Storage,
}

/// `tls = true`, `false`, `"on"`, `"off"` or `"client-only"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "expected true, false or \"client-only\"")]
pub(super) enum Tls {
    Switch(bool),
    Named(TlsName),
}

/// The modes by their names.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TlsName {
    On,
    Off,
    ClientOnly,
}

/// How other nodes are met.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    pub(super) listen: Option<ListenAddress>,
    pub(super) advertise: Option<String>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
    #[serde(default)]
    pub(super) join: Vec<String>,
}

/// Health checks and metrics.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) listen: Option<ListenAddress>,
}

/// Somebody who may use the broker.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Account {
    pub(super) secret_id: String,
    pub(super) secret_key: String,
}

/// Room on disk and in memory.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Storage {
    pub(super) free_len_min: Option<u64>,
    pub(super) used_len_max: Option<u64>,
    pub(super) overlay_len: Option<u64>,
}

impl From<Tls> for TlsMode {
    fn from(tls: Tls) -> TlsMode {
        match tls {
            Tls::Switch(true) | Tls::Named(TlsName::On) => TlsMode::On,
            Tls::Switch(false) | Tls::Named(TlsName::Off) => TlsMode::Off,
            Tls::Named(TlsName::ClientOnly) => TlsMode::ClientOnly,
        }
    }
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> anyhow::Result<File> {
    let reading = || format!("reading the configuration {}", path.display());
    let text = std::fs::read_to_string(path).with_context(reading)?;
    toml::from_str(&text).with_context(reading)
}
