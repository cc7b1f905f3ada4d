//! The configuration of a broker: a TOML file, and the command line on top of it.
//!
//! ```toml
//! data = "/var/lib/sampan"
//! listen = "0.0.0.0:7411"
//! cores = 4
//! tls = true
//! certificate = "/etc/sampan/server.pem"
//! key = "/etc/sampan/server-key.pem"
//!
//! [[accounts]]
//! secret_id = "AKIDexample"
//! secret_key = "..."
//!
//! [storage]
//! free_len_min = 536870912
//! used_len_max = 100000000000
//! overlay_len = 268435456
//! ```
//!
//! An unknown key is an error: a misspelt limit must not be a limit that is not there. Without
//! `--dev`, certificate and accounts must be named. Spec: spec/limits.md, "Server".

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::dev::DevMaterial;
use super::storage_watch::StorageLimits;
use super::tls::TlsFiles;
use crate::accounts::Accounts;
use crate::cli::{ServeArguments, Switch};

const LISTEN_DEFAULT: &str = "127.0.0.1:7411";
const DATA_DEFAULT: &str = "sampan-data";
/// Sends are refused with less than this left on the device: 512 MiB.
const FREE_LEN_MIN_DEFAULT: u64 = 512 * 1024 * 1024;
const CORES_MAX: usize = 1_024;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    cores: Option<usize>,
    tls: Option<bool>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default)]
    accounts: Vec<Account>,
    #[serde(default)]
    storage: Storage,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    secret_id: String,
    secret_key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Storage {
    free_len_min: Option<u64>,
    used_len_max: Option<u64>,
    overlay_len: Option<u64>,
}

/// Everything a broker needs to know before it starts.
pub(super) struct Config {
    pub(super) data: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) cores: usize,
    pub(super) dev: bool,
    pub(super) storage: StorageLimits,
    with_tls: bool,
    tls_files: Option<TlsFiles>,
    accounts: Vec<(String, String)>,
}

/// Reads the file that the arguments name, and puts the arguments on top.
pub(super) fn load(arguments: &ServeArguments) -> anyhow::Result<Config> {
    let file = match &arguments.config {
        Some(path) => read(path)?,
        None => File::default(),
    };
    let cores = match arguments.cores.map(usize::from).or(file.cores) {
        Some(cores) => cores,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    ensure!(
        (1..=CORES_MAX).contains(&cores),
        "cores must be 1 to {CORES_MAX}, not {cores}"
    );
    let tls_files = match (file.certificate, file.key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (None, None) => None,
        _ => bail!("`certificate` and `key` must be named together"),
    };
    let listen = LISTEN_DEFAULT.parse().expect("the default is an address");
    let with_tls = match arguments.tls {
        Some(switch) => switch == Switch::On,
        None => file.tls.unwrap_or(true),
    };
    let pairs = file
        .accounts
        .into_iter()
        .map(|account| (account.secret_id, account.secret_key));
    Ok(Config {
        data: arguments
            .data
            .clone()
            .or(file.data)
            .unwrap_or_else(|| DATA_DEFAULT.into()),
        listen: arguments.listen.or(file.listen).unwrap_or(listen),
        cores,
        dev: arguments.dev,
        storage: StorageLimits {
            free_len_min: file.storage.free_len_min.unwrap_or(FREE_LEN_MIN_DEFAULT),
            used_len_max: file.storage.used_len_max,
            overlay_len: file.storage.overlay_len,
        },
        with_tls,
        tls_files,
        accounts: pairs.collect(),
    })
}

fn read(path: &Path) -> anyhow::Result<File> {
    let reading = || format!("reading the configuration {}", path.display());
    let text = std::fs::read_to_string(path).with_context(reading)?;
    toml::from_str(&text).with_context(reading)
}

impl Config {
    /// Who may use the broker, and the files of its TLS; `None` when TLS is off.
    pub(super) fn security(
        &self,
        dev: Option<&DevMaterial>,
    ) -> anyhow::Result<(Accounts, Option<TlsFiles>)> {
        let mut accounts = self.accounts.clone();
        if let Some(dev) = dev {
            accounts.push((
                dev.account.secret_id.clone(),
                dev.account.secret_key.clone(),
            ));
        }
        let hint = "name [[accounts]] in the configuration, or use --dev for a first try";
        let accounts = Accounts::new(accounts, rand::random()).context(hint)?;
        if !self.with_tls {
            return Ok((accounts, None));
        }
        let files = self
            .tls_files
            .clone()
            .or_else(|| dev.map(|dev| dev.tls.clone()));
        let hint = "name `certificate` and `key` in the configuration, or use --dev for a first \
                    try, or --tls off";
        Ok((accounts, Some(files.context(hint)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> ServeArguments {
        ServeArguments {
            config: None,
            data: None,
            listen: None,
            cores: None,
            tls: None,
            dev: false,
        }
    }

    fn with_file(text: &str) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sampan.toml");
        std::fs::write(&path, text).unwrap();
        load(&ServeArguments {
            config: Some(path),
            ..arguments()
        })
    }

    #[test]
    fn without_dev_accounts_and_certificate_must_be_named() {
        let config = load(&arguments()).unwrap();
        assert!(config.security(None).is_err());
        let account = "[[accounts]]\nsecret_id = \"AKID1\"\nsecret_key = \"k\"\n";
        let error = with_file(account).unwrap().security(None).err().unwrap();
        assert!(error.to_string().contains("certificate"), "{error}");
        let tls = "certificate = \"c.pem\"\nkey = \"k.pem\"\n";
        assert!(
            with_file(&format!("{tls}{account}"))
                .unwrap()
                .security(None)
                .is_ok()
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(with_file("lisen = \"127.0.0.1:1\"\n").is_err());
        assert!(with_file("[storage]\nfree = 1\n").is_err());
    }

    #[test]
    fn arguments_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sampan.toml");
        std::fs::write(&path, "cores = 3\nlisten = \"127.0.0.1:1\"\ntls = false\n").unwrap();
        let arguments = ServeArguments {
            config: Some(path),
            cores: Some(5),
            ..arguments()
        };
        let config = load(&arguments).unwrap();
        assert_eq!(
            (config.cores, config.listen.port(), config.with_tls),
            (5, 1, false)
        );
    }

    #[test]
    fn no_cores_are_refused() {
        assert!(with_file("cores = 0\n").is_err());
    }
}
