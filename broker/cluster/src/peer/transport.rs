//! How bytes get from node to node: the server decides whether by TLS.

use std::io;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection between nodes, secured or not.
pub trait PeerIo: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> PeerIo for T {}

/// See [`PeerIo`].
pub type PeerStream = Box<dyn PeerIo>;

/// Makes connections between nodes.
pub trait Transport: Send + Sync + 'static {
    /// Connects to a peer's address. `node` is whom to expect there; `None`: any member of the
    /// cluster.
    fn connect(
        &self,
        node: Option<u64>,
        address: &str,
    ) -> BoxFuture<'static, io::Result<PeerStream>>;

    /// Secures an accepted connection, and says which node its certificate names (`None` without
    /// certificates).
    fn accept(
        &self,
        stream: TcpStream,
    ) -> BoxFuture<'static, io::Result<(PeerStream, Option<u64>)>>;
}

/// TCP without TLS: anybody who reaches the port may claim to be any node.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainTransport;

impl Transport for PlainTransport {
    fn connect(
        &self,
        _node: Option<u64>,
        address: &str,
    ) -> BoxFuture<'static, io::Result<PeerStream>> {
        let address = address.to_owned();
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as PeerStream)
        }
        .boxed()
    }

    fn accept(
        &self,
        stream: TcpStream,
    ) -> BoxFuture<'static, io::Result<(PeerStream, Option<u64>)>> {
        async move {
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as PeerStream, None))
        }
        .boxed()
    }
}
