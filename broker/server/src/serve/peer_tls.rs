//! TLS between nodes: mutual, TLS 1.3 only, with a CA of the cluster's own.
//!
//! A node is who its certificate says: the DNS name `node-<id>.peer.sampan`. Whoever connects to a
//! node it knows the id of accepts no other; whoever accepts learns the id from the handshake. A
//! certificate of the same CA without such a name, a server's or a client's, does not open the
//! peer port: names are compared here, exactly, so that a wildcard is no node either.
//!
//! Certificates can be replaced while connections are up: those keep what they were made with, and
//! each new one takes what is current. The swap is on no message's way.
//!
//! Invariant: nothing is exchanged with a peer before its certificate was verified.

mod explain;
mod names;
mod stream;
mod verify;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sampan_cluster::{PeerStream, Transport};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(super) use self::names::{has_names, node_name};

use self::explain::explained;
use self::names::node_of;
use self::stream::SecuredStream;
use self::verify::{ANY_NODE, AcceptedNode, ExpectedNode};
use super::tls::{certificates, provider};

/// Connecting and the handshake must be over by then.
const PEER_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// The PEM files of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerTlsFiles {
    /// Its certificate, then those between it and the CA.
    pub(super) certificate: PathBuf,
    /// Its private key.
    pub(super) key: PathBuf,
    /// The CA of all nodes.
    pub(super) ca: PathBuf,
}

/// What connections are made with.
#[derive(Clone)]
pub(super) struct PeerTls {
    /// What it was made of: the node's chain, then the CA's certificates.
    certificates: Vec<CertificateDer<'static>>,
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

/// Connections between nodes; see the head of the file.
pub(super) struct TlsTransport {
    current: watch::Receiver<PeerTls>,
}

impl PeerTls {
    /// Reads `files`, whose certificate must be good for `node_id`.
    pub(super) fn load(files: &PeerTlsFiles, node_id: u64) -> anyhow::Result<PeerTls> {
        let chain = certificates(&files.certificate)?;
        let own = chain.first().map(node_of).transpose()?;
        ensure!(
            own == Some(node_id),
            "{} is not for this node: it must have the DNS name {}",
            files.certificate.display(),
            node_name(node_id)
        );
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .with_context(|| format!("reading the private key {}", files.key.display()))?;
        let mut roots = RootCertStore::empty();
        let mut all = chain.clone();
        for certificate in certificates(&files.ca)? {
            all.push(certificate.clone());
            roots
                .add(certificate)
                .with_context(|| format!("using the CA {}", files.ca.display()))?;
        }
        let roots = Arc::new(roots);
        let using = || format!("using the certificate {}", files.certificate.display());
        let acceptor =
            acceptor(roots.clone(), chain.clone(), key.clone_key()).with_context(using)?;
        let connector = connector(roots, chain, key).with_context(using)?;
        Ok(PeerTls {
            certificates: all,
            connector,
            acceptor,
        })
    }

    /// Whether it was made of the same certificates.
    pub(super) fn is_same(&self, other: &PeerTls) -> bool {
        self.certificates == other.certificates
    }
}

fn acceptor(
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> anyhow::Result<TlsAcceptor> {
    let inner = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AcceptedNode::new(inner)))
        .with_single_cert(chain, key)?;
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn connector(
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> anyhow::Result<TlsConnector> {
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider()).build()?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ExpectedNode::new(inner)))
        .with_client_auth_cert(chain, key)?;
    // The name says whom we expect; it is no address, and no business of others on the way.
    config.enable_sni = false;
    Ok(TlsConnector::from(Arc::new(config)))
}

impl TlsTransport {
    /// A transport that takes up what `current` holds when a connection is made.
    pub(super) fn new(current: watch::Receiver<PeerTls>) -> TlsTransport {
        TlsTransport { current }
    }
}

impl Transport for TlsTransport {
    fn connect(
        &self,
        node: Option<u64>,
        address: &str,
    ) -> BoxFuture<'static, io::Result<PeerStream>> {
        let connector = self.current.borrow().connector.clone();
        let address = address.to_owned();
        let who = match node {
            Some(node) => format!("node {node} at {address}"),
            None => format!("the node at {address}"),
        };
        let name = node.map_or_else(|| ANY_NODE.to_owned(), node_name);
        let connecting = async move {
            let name = ServerName::try_from(name).map_err(io::Error::other)?;
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            let stream = connector.connect(name, stream).await?;
            io::Result::Ok(stream)
        };
        async move {
            let stream = in_time(connecting)
                .await
                .map_err(|error| explained(&error, &who))?;
            let stream: PeerStream = Box::new(SecuredStream::new(stream, who));
            Ok(stream)
        }
        .boxed()
    }

    fn accept(
        &self,
        stream: TcpStream,
    ) -> BoxFuture<'static, io::Result<(PeerStream, Option<u64>)>> {
        let acceptor = self.current.borrow().acceptor.clone();
        let who = match stream.peer_addr() {
            Ok(address) => format!("the peer at {address}"),
            Err(_) => "a peer that is gone".to_owned(),
        };
        let accepting = async move {
            stream.set_nodelay(true)?;
            let stream = acceptor.accept(stream).await?;
            let shown = stream.get_ref().1.peer_certificates();
            let first = shown.and_then(|chain| chain.first());
            let first = first.ok_or_else(|| io::Error::other("it showed no certificate"))?;
            let node = node_of(first).map_err(io::Error::other)?;
            io::Result::Ok((stream, node))
        };
        async move {
            let (stream, node) = in_time(accepting)
                .await
                .map_err(|error| explained(&error, &who))?;
            let stream: PeerStream = Box::new(SecuredStream::new(stream, who));
            Ok((stream, Some(node)))
        }
        .boxed()
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PEER_HANDSHAKE_TIME_MAX, work)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long")))
}

#[cfg(test)]
mod tests;
