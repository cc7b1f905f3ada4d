//! What `--dev` makes for a first try: a CA, a server certificate and an account, below the data
//! folder. Made once and used again; never overwritten.
//!
//! `dev-ca.pem`, `dev-server.pem`, `dev-server-key.pem`, `dev-account.toml`, and at each start
//! `dev.env`, which client programs read.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rand::Rng;
use rand::distr::Alphanumeric;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

use super::tls::TlsFiles;
use crate::accounts::SECRET_ID_PREFIX;

const CA_FILE: &str = "dev-ca.pem";
const CERTIFICATE_FILE: &str = "dev-server.pem";
const KEY_FILE: &str = "dev-server-key.pem";
const ACCOUNT_FILE: &str = "dev-account.toml";
const ENV_FILE: &str = "dev.env";
const SECRET_LEN: usize = 32;
/// Names that the server certificate is good for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What `--dev` found or made.
pub(super) struct DevMaterial {
    ca: PathBuf,
    pub(super) tls: TlsFiles,
    pub(super) account: DevAccount,
}

/// The account of a first try.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct DevAccount {
    pub(super) secret_id: String,
    pub(super) secret_key: String,
}

/// Finds the material below `data`, or makes it.
pub(super) fn prepare(data: &Path) -> anyhow::Result<DevMaterial> {
    // Certificates may be for another working folder: programs need whole paths.
    let data = data
        .canonicalize()
        .with_context(|| format!("finding {}", data.display()))?;
    let tls = TlsFiles {
        certificate: data.join(CERTIFICATE_FILE),
        key: data.join(KEY_FILE),
    };
    let ca = data.join(CA_FILE);
    if !(ca.exists() && tls.certificate.exists() && tls.key.exists()) {
        make_certificates(&ca, &tls).context("making certificates for --dev")?;
    }
    let account_file = data.join(ACCOUNT_FILE);
    let account = if account_file.exists() {
        let text = std::fs::read_to_string(&account_file)
            .with_context(|| format!("reading {}", account_file.display()))?;
        toml::from_str(&text).with_context(|| format!("reading {}", account_file.display()))?
    } else {
        let account = DevAccount {
            secret_id: format!("{SECRET_ID_PREFIX}dev{}", random_text(SECRET_LEN)),
            secret_key: random_text(SECRET_LEN),
        };
        write_secret(&account_file, &toml::to_string(&account)?)?;
        account
    };
    Ok(DevMaterial { ca, tls, account })
}

impl DevMaterial {
    /// Writes what client programs need to reach the broker, and returns the file.
    pub(super) fn write_env(
        &self,
        data: &Path,
        address: SocketAddr,
        with_tls: bool,
    ) -> anyhow::Result<PathBuf> {
        let scheme = if with_tls { "sampan+tls" } else { "sampan+tcp" };
        let text = format!(
            "SAMPAN_SERVER={scheme}://{address}\nSAMPAN_CA={}\nSAMPAN_SECRET_ID={}\nSAMPAN_SECRET_KEY={}\n",
            self.ca.display(),
            self.account.secret_id,
            self.account.secret_key,
        );
        let path = data.join(ENV_FILE);
        write_secret(&path, &text)?;
        Ok(path)
    }
}

fn make_certificates(ca_file: &Path, files: &TlsFiles) -> anyhow::Result<()> {
    let mut ca_params = CertificateParams::default();
    ca_params
        .distinguished_name
        .push(DnType::CommonName, "Sampan development CA");
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca_params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca = ca_params.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca_params, ca_key);
    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Sampan development server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    write_secret(&files.key, &key.serialize_pem())?;
    write_secret(&files.certificate, &certificate.pem())?;
    write_secret(ca_file, &ca.pem())
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let writing = || format!("writing {}", path.display());
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .with_context(writing)?;
    file.write_all(text.as_bytes()).with_context(writing)?;
    std::fs::rename(&new, path).with_context(writing)
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
    use super::*;

    #[test]
    fn material_is_made_once_and_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = prepare(folder.path()).unwrap();
        let certificate = std::fs::read(&first.tls.certificate).unwrap();
        let second = prepare(folder.path()).unwrap();
        assert_eq!(first.account.secret_id, second.account.secret_id);
        assert_eq!(first.account.secret_key, second.account.secret_key);
        assert_eq!(certificate, std::fs::read(&second.tls.certificate).unwrap());
        assert!(first.account.secret_id.starts_with("AKID"));
        super::super::tls::acceptor(&second.tls).unwrap();
    }
}
