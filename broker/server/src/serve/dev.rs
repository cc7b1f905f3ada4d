//! What `--dev` makes for a first try: a CA, an account, and this node's certificates. Made once
//! and used again.
//!
//! CA and account may be shared by several nodes (`--dev-ca DIR`), which may all start at once:
//! each makes its own, and the first that gets it in place under the final name wins (`link`, which
//! never replaces a file); the others read the winner's. So one account and one CA serve every
//! node.
//!
//! In the shared folder, or the data folder when there is none: `dev-ca-key.pem` (the CA's
//! certificate and its key, in one file so that they always belong together), `dev-account.toml`.
//! In the data folder: `dev-ca.pem` for clients, `dev-server.pem`, `dev-server-key.pem`,
//! `dev-peer.pem`, `dev-peer-key.pem`, and at each start `dev.env`, which client programs read.
//!
//! Invariant: a certificate ends with the CA it was signed by; one of another CA, or for other
//! names, is made again.

mod authority;
mod files;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rand::Rng;
use rand::distr::Alphanumeric;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use serde::{Deserialize, Serialize};

use self::authority::Authority;
use self::files::{read_or_place, write_secret};
use super::peer_tls::{PeerTlsFiles, node_name};
use super::tls::TlsFiles;
use crate::accounts::SECRET_ID_PREFIX;

const AUTHORITY_FILE: &str = "dev-ca-key.pem";
const CA_FILE: &str = "dev-ca.pem";
const CERTIFICATE_FILE: &str = "dev-server.pem";
const KEY_FILE: &str = "dev-server-key.pem";
const PEER_CERTIFICATE_FILE: &str = "dev-peer.pem";
const PEER_KEY_FILE: &str = "dev-peer-key.pem";
const ACCOUNT_FILE: &str = "dev-account.toml";
const ENV_FILE: &str = "dev.env";
const SECRET_LEN: usize = 32;
/// Names that the server certificate is good for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What the material is for.
pub(super) struct DevOptions<'a> {
    /// The data folder, which exists.
    pub(super) data: &'a Path,
    /// The folder that nodes share; `None`: the data folder.
    pub(super) shared: Option<&'a Path>,
    /// The node that the peer certificate names.
    pub(super) node_id: u64,
    /// A name or IP address of this machine that clients use, beside the local ones.
    pub(super) host: Option<&'a str>,
}

/// What `--dev` found or made.
pub(super) struct DevMaterial {
    ca: PathBuf,
    /// What clients meet.
    pub(super) tls: TlsFiles,
    /// What other nodes meet.
    pub(super) peer_tls: PeerTlsFiles,
    pub(super) account: DevAccount,
}

/// The account of a first try.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct DevAccount {
    pub(super) secret_id: String,
    pub(super) secret_key: String,
}

/// Finds the material, or makes it.
pub(super) fn prepare(options: &DevOptions<'_>) -> anyhow::Result<DevMaterial> {
    // Certificates may be for another working folder: programs need whole paths.
    let data = canonical(options.data)?;
    let shared = match options.shared {
        Some(shared) => {
            std::fs::create_dir_all(shared)
                .with_context(|| format!("creating {}", shared.display()))?;
            canonical(shared)?
        }
        None => data.clone(),
    };
    let authority = read_or_place(&shared.join(AUTHORITY_FILE), Authority::make)?;
    let authority = Authority::parse(&authority)
        .with_context(|| format!("reading {}", shared.join(AUTHORITY_FILE).display()))?;
    let account_file = shared.join(ACCOUNT_FILE);
    let account = read_or_place(&account_file, make_account)?;
    let account =
        toml::from_str(&account).with_context(|| format!("reading {}", account_file.display()))?;
    let tls = TlsFiles {
        certificate: data.join(CERTIFICATE_FILE),
        key: data.join(KEY_FILE),
    };
    let peer_files = TlsFiles {
        certificate: data.join(PEER_CERTIFICATE_FILE),
        key: data.join(PEER_KEY_FILE),
    };
    let ca = data.join(CA_FILE);
    write_secret(&ca, authority.certificate_pem())?;
    let mut names: Vec<_> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    let host = options.host.filter(|host| !NAMES.contains(host));
    names.extend(host.map(str::to_owned));
    authority.provide(&tls, "Sampan development server", &names, &[ServerAuth])?;
    let node = node_name(options.node_id);
    let purposes = [ServerAuth, ClientAuth];
    authority.provide(&peer_files, "Sampan development node", &[node], &purposes)?;
    Ok(DevMaterial {
        tls,
        peer_tls: PeerTlsFiles {
            certificate: peer_files.certificate,
            key: peer_files.key,
            ca: ca.clone(),
        },
        ca,
        account,
    })
}

fn canonical(folder: &Path) -> anyhow::Result<PathBuf> {
    folder
        .canonicalize()
        .with_context(|| format!("finding {}", folder.display()))
}

fn make_account() -> anyhow::Result<String> {
    let account = DevAccount {
        secret_id: format!("{SECRET_ID_PREFIX}dev{}", random_text(SECRET_LEN)),
        secret_key: random_text(SECRET_LEN),
    };
    Ok(toml::to_string(&account)?)
}

impl DevMaterial {
    /// Writes what client programs need to reach the broker, and returns the file.
    pub(super) fn write_env(
        &self,
        data: &Path,
        address: impl Display,
        with_tls: bool,
    ) -> anyhow::Result<PathBuf> {
        let scheme = if with_tls { "sampan+tls" } else { "sampan+tcp" };
        let text = format!(
            "SAMPAN_SERVER={scheme}://{address}\nSAMPAN_CA={}\nSAMPAN_SECRET_ID={}\n\
             SAMPAN_SECRET_KEY={}\n",
            self.ca.display(),
            self.account.secret_id,
            self.account.secret_key,
        );
        let path = data.join(ENV_FILE);
        write_secret(&path, &text)?;
        Ok(path)
    }
}

fn random_text(len: usize) -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(len)
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tls;
    use super::*;

    #[test]
    fn the_server_certificate_follows_the_address_that_clients_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = |host| {
            let material = prepare(&DevOptions {
                data: folder.path(),
                shared: None,
                node_id: 1,
                host,
            });
            std::fs::read(material.unwrap().tls.certificate).unwrap()
        };
        let local = certificate(None);
        assert_eq!(certificate(Some("localhost")), local);
        let named = certificate(Some("10.1.2.3"));
        assert_ne!(named, local);
        assert_eq!(certificate(Some("10.1.2.3")), named);
        assert_ne!(certificate(Some("broker.example.com")), named);
    }

    fn prepared(data: &Path, shared: Option<&Path>, node_id: u64) -> DevMaterial {
        let options = DevOptions {
            data,
            shared,
            node_id,
            host: None,
        };
        prepare(&options).unwrap()
    }

    #[test]
    fn material_is_made_once_and_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = prepared(folder.path(), None, 1);
        let certificate = std::fs::read(&first.tls.certificate).unwrap();
        let second = prepared(folder.path(), None, 1);
        assert_eq!(first.account.secret_id, second.account.secret_id);
        assert_eq!(first.account.secret_key, second.account.secret_key);
        assert_eq!(certificate, std::fs::read(&second.tls.certificate).unwrap());
        assert!(first.account.secret_id.starts_with("AKID"));
        tls::acceptor(&second.tls).unwrap();
    }

    #[test]
    fn a_certificate_of_another_ca_or_another_node_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (data, shared) = (folder.path().join("data"), folder.path().join("shared"));
        std::fs::create_dir(&data).unwrap();
        let read = |material: &DevMaterial| {
            let peer = std::fs::read(&material.peer_tls.certificate).unwrap();
            (std::fs::read(&material.tls.certificate).unwrap(), peer)
        };
        let alone = read(&prepared(&data, None, 1));
        let joined = read(&prepared(&data, Some(&shared), 1));
        assert_ne!(alone.0, joined.0);
        let renamed = read(&prepared(&data, Some(&shared), 2));
        assert_eq!(joined.0, renamed.0);
        assert_ne!(joined.1, renamed.1);
    }

    /// Several nodes may be the first; threads stand for processes, which share no more than files.
    #[test]
    fn nodes_that_start_at_once_agree_on_ca_and_account() {
        let folder = tempfile::tempdir().unwrap();
        let shared = folder.path().join("shared");
        let materials: Vec<_> = std::thread::scope(|scope| {
            let starting: Vec<_> = (1..=8)
                .map(|node| {
                    let data = folder.path().join(node.to_string());
                    std::fs::create_dir(&data).unwrap();
                    let shared = &shared;
                    scope.spawn(move || prepared(&data, Some(shared), node))
                })
                .collect();
            starting
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let ca = std::fs::read(&materials[0].ca).unwrap();
        for material in &materials {
            assert_eq!(std::fs::read(&material.ca).unwrap(), ca);
            assert_eq!(material.account.secret_key, materials[0].account.secret_key);
        }
        let mut left: Vec<_> = std::fs::read_dir(&shared)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [ACCOUNT_FILE, AUTHORITY_FILE]);
    }
}
