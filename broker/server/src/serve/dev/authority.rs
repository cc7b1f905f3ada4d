//! The CA of a first try: signs certificates for servers and nodes on this machine.

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::files::write_secret;
use crate::serve::peer_tls::has_names;
use crate::serve::tls::{TlsFiles, certificates};

/// A CA that can sign.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    /// Makes a CA; its certificate and its key as PEM.
    pub(super) fn make() -> anyhow::Result<String> {
        let key = KeyPair::generate().context("making a CA for --dev")?;
        let certificate = params(&key)
            .self_signed(&key)
            .context("making a CA for --dev")?;
        Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
    }

    /// Reads what [`Self::make`] made.
    pub(super) fn parse(text: &str) -> anyhow::Result<Authority> {
        let certificate =
            CertificateDer::from_pem_slice(text.as_bytes()).context("the CA's certificate")?;
        let key_at = text
            .find("-----BEGIN PRIVATE KEY-----")
            .context("the CA's key is missing")?;
        let key = KeyPair::from_pem(&text[key_at..]).context("the CA's key")?;
        Ok(Authority {
            issuer: Issuer::new(params(&key), key),
            certificate,
            pem: text[..key_at].to_owned(),
        })
    }

    /// What clients trust.
    pub(super) fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// Makes a certificate for `names`, unless `files` are one of this CA already.
    pub(super) fn provide(
        &self,
        files: &TlsFiles,
        title: &str,
        names: &[String],
        purposes: &[ExtendedKeyUsagePurpose],
    ) -> anyhow::Result<()> {
        if self.is_provided(files, names) {
            return Ok(());
        }
        let making = || format!("making {}", files.certificate.display());
        let mut params = CertificateParams::new(names).with_context(making)?;
        params.distinguished_name.push(DnType::CommonName, title);
        params.extended_key_usages = purposes.to_vec();
        let key = KeyPair::generate().with_context(making)?;
        let certificate = params.signed_by(&key, &self.issuer).with_context(making)?;
        write_secret(&files.key, &key.serialize_pem())?;
        write_secret(
            &files.certificate,
            &format!("{}{}", certificate.pem(), self.pem),
        )
    }

    /// Files that are missing, cut short or not ours are made again.
    fn is_provided(&self, files: &TlsFiles, names: &[String]) -> bool {
        let Ok(chain) = certificates(&files.certificate) else {
            return false;
        };
        let is_of_names = chain.first().is_some_and(|first| has_names(first, names));
        files.key.exists() && is_of_names && chain.last() == Some(&self.certificate)
    }
}

/// The same for the same key: a CA read again signs in the name of the one that was made.
fn params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Two development CAs must not have one name, or errors would speak of a bad signature.
    let mark: String = key
        .public_key_raw()
        .iter()
        .skip(1)
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Sampan development CA {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
