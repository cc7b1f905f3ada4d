//! TLS 1.3 to the broker, trusting only the certificates that the caller named.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::error::Error;

/// Everything a TLS connection needs that does not change from one to the next.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts the certificates in `ca_pem`.
    pub(crate) fn new(ca_pem: &[u8]) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem) {
            let certificate = certificate
                .map_err(|error| Error::configuration(format!("CA certificates: {error}")))?;
            roots
                .add(certificate)
                .map_err(|error| Error::configuration(format!("CA certificates: {error}")))?;
        }
        if roots.is_empty() {
            return Err(Error::configuration(
                "CA certificates: no certificate in the PEM text",
            ));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| Error::configuration(format!("TLS: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Tls {
            config: Arc::new(config),
        })
    }

    /// What the certificate of the server at `host` must be for.
    pub(crate) fn name(host: &str) -> Result<ServerName<'static>, Error> {
        ServerName::try_from(host.to_owned())
            .map_err(|_| Error::configuration(format!("{host:?} is not a name of a TLS server")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_a_certificate_is_refused() {
        let error = Tls::new(b"nothing here").expect_err("no certificate");
        assert!(matches!(error, Error::Configuration { .. }), "{error}");
    }
}
