//! Verifies the certificates of nodes: the chain as for any certificate, and the node's name.
//!
//! Both ways the name is read first and then given to the ordinary verifier, which checks chain,
//! dates and purpose; so nothing of that is decided here.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::names::{node_name, node_of, parse_node_name};

/// Stands for the name of a node when any will do.
pub(super) const ANY_NODE: &str = "any.peer.sampan";

/// Another node answered than the one that was called.
#[derive(Debug, thiserror::Error)]
#[error("its certificate is that of node {0}")]
struct OtherNode(u64);

/// What a connecting node demands.
#[derive(Debug)]
pub(super) struct ExpectedNode {
    inner: Arc<WebPkiServerVerifier>,
}

/// What an accepting node demands.
#[derive(Debug)]
pub(super) struct AcceptedNode {
    inner: Arc<dyn ClientCertVerifier>,
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

impl ExpectedNode {
    pub(super) fn new(inner: Arc<WebPkiServerVerifier>) -> Self {
        ExpectedNode { inner }
    }
}

impl ServerCertVerifier for ExpectedNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let node = node_of(end_entity).map_err(refused)?;
        let name = ServerName::try_from(node_name(node)).map_err(refused)?;
        let verified =
            self.inner
                .verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)?;
        // Only once it is trusted is it worth telling which node it is.
        match parse_node_name(&server_name.to_str()) {
            Some(expected) if expected != node => Err(refused(OtherNode(node))),
            _ => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl AcceptedNode {
    pub(super) fn new(inner: Arc<dyn ClientCertVerifier>) -> Self {
        AcceptedNode { inner }
    }
}

impl ClientCertVerifier for AcceptedNode {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)?;
        node_of(end_entity).map_err(refused)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
