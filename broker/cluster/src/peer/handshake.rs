//! The greeting of a connection: both ends say who they are before anything else is taken.
//!
//! Both compare what they are told with what they know. The end that accepts says why it refuses;
//! the end that connected closes, and its own log says why.
//!
//! Invariant: no frame but hello, welcome and refused is read or written before both have agreed.
//! Spec: spec/peer.md, "Greeting".

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::{Greeted, Vitals};
use super::error::ConnectionError;
use super::frame::{
    Frame, FrameDecoder, FrameKind, Hello, PeerRefusal, RefusalReason, VERSION, agree,
};
use super::limits::GREETING_TIME_MAX;
use super::service::Gate;
use super::transport::{PeerStream, Transport};
use super::writer::write_frame;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalNode {
    pub(crate) node: u64,
    pub(crate) incarnation: u128,
    /// 0: it belongs to none yet.
    pub(crate) cluster: u128,
    pub(crate) format_version_max: u16,
    pub(crate) release: String,
}

/// What a greeting needs to know.
#[derive(Clone)]
pub(crate) struct Greeter {
    pub(crate) local: Arc<Mutex<LocalNode>>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) vitals: Vitals,
}

impl Greeter {
    /// What this node says of itself now.
    pub(crate) fn local(&self) -> LocalNode {
        let local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        local.clone()
    }

    /// Greets as a node that belongs to no cluster, whatever this one belongs to.
    pub(crate) fn as_stranger(&self) -> Greeter {
        let local = LocalNode {
            cluster: 0,
            ..self.local()
        };
        Greeter {
            local: Arc::new(Mutex::new(local)),
            ..self.clone()
        }
    }

    fn hello(&self, target: u64) -> Hello {
        let local = self.local();
        Hello {
            version_min: VERSION,
            version_max: VERSION,
            cluster: local.cluster,
            node: local.node,
            incarnation: local.incarnation,
            target,
            format_version_max: local.format_version_max,
            wall_ms: self.vitals.time.read().wall_ms,
            release: local.release,
        }
    }

    /// Connects to `address`, where `node` is expected; `None`: any node of the cluster.
    pub(crate) async fn connect(
        &self,
        node: Option<u64>,
        address: &str,
    ) -> Result<(Greeted, Hello), ConnectionError> {
        let greeting = async {
            let stream = self.transport.connect(node, address).await?;
            self.greet(stream, node).await
        };
        let slow = ConnectionError::Slow(GREETING_TIME_MAX);
        timeout(GREETING_TIME_MAX, greeting)
            .await
            .unwrap_or(Err(slow))
    }

    async fn greet(
        &self,
        mut stream: PeerStream,
        node: Option<u64>,
    ) -> Result<(Greeted, Hello), ConnectionError> {
        let hello = self.hello(node.unwrap_or(0));
        write_frame(&mut stream, hello.encode(FrameKind::Hello)).await?;
        let (frame, mut greeted) = first_frame(stream).await?;
        let welcome = match frame.header.kind {
            FrameKind::Welcome => Hello::decode(frame.payload)?,
            FrameKind::Refused => {
                let refusal = PeerRefusal::decode(frame.payload)?;
                return Err(ConnectionError::Refused(refusal));
            }
            _ => return Err(ConnectionError::Unexpected("frame in place of a welcome")),
        };
        self.check_welcome(&welcome, node)
            .map_err(ConnectionError::Refused)?;
        self.note_clock(&welcome);
        greeted.decoder.end_greeting();
        Ok((greeted, welcome))
    }

    fn check_welcome(&self, welcome: &Hello, node: Option<u64>) -> Result<(), PeerRefusal> {
        let local = self.local();
        check_versions(welcome)?;
        if let Some(node) = node.filter(|node| *node != welcome.node) {
            let text = format!("node {} is there, not node {node}", welcome.node);
            return Err(PeerRefusal::new(RefusalReason::WrongNode, text));
        }
        if local.cluster == 0 {
            return Ok(());
        }
        if welcome.cluster != local.cluster {
            return Err(wrong_cluster(&local, welcome));
        }
        self.gate.admit(welcome, None)
    }

    /// Takes an accepted connection through its greeting.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<(Greeted, Hello), ConnectionError> {
        let greeting = async {
            let (stream, certificate_node) = self.transport.accept(stream).await?;
            let (frame, greeted) = first_frame(stream).await?;
            self.answer(frame, greeted, certificate_node, address).await
        };
        let slow = ConnectionError::Slow(GREETING_TIME_MAX);
        timeout(GREETING_TIME_MAX, greeting)
            .await
            .unwrap_or(Err(slow))
    }

    async fn answer(
        &self,
        frame: Frame,
        mut greeted: Greeted,
        certificate_node: Option<u64>,
        address: SocketAddr,
    ) -> Result<(Greeted, Hello), ConnectionError> {
        if frame.header.kind != FrameKind::Hello {
            return Err(ConnectionError::Unexpected("frame in place of a hello"));
        }
        let hello = Hello::decode(frame.payload)?;
        if let Err(refusal) = self.check_hello(&hello, certificate_node) {
            tracing::warn!(node = hello.node, %address, %refusal, "a peer is refused");
            write_frame(&mut greeted.stream, refusal.encode()).await?;
            greeted.stream.shutdown().await?;
            return Err(ConnectionError::Refused(refusal));
        }
        let welcome = self.hello(hello.node).encode(FrameKind::Welcome);
        write_frame(&mut greeted.stream, welcome).await?;
        self.note_clock(&hello);
        greeted.decoder.end_greeting();
        Ok((greeted, hello))
    }

    fn check_hello(&self, hello: &Hello, certificate_node: Option<u64>) -> Result<(), PeerRefusal> {
        let local = self.local();
        check_versions(hello)?;
        if let Some(named) = certificate_node.filter(|named| *named != hello.node) {
            let text = format!(
                "its certificate is node {named}'s, it says node {}",
                hello.node
            );
            return Err(PeerRefusal::new(RefusalReason::WrongCertificate, text));
        }
        if hello.target != 0 && hello.target != local.node {
            let text = format!("this is node {}, not node {}", local.node, hello.target);
            return Err(PeerRefusal::new(RefusalReason::WrongNode, text));
        }
        if hello.cluster != 0 && hello.cluster != local.cluster {
            return Err(wrong_cluster(&local, hello));
        }
        if hello.node == local.node {
            let text = format!("there is a node {} already: this one", local.node);
            return Err(PeerRefusal::new(RefusalReason::DuplicateNode, text));
        }
        self.gate.admit(hello, certificate_node)
    }

    fn note_clock(&self, hello: &Hello) {
        if hello.cluster != 0 {
            self.vitals.on_wall_clock(hello.node, hello.wall_ms);
        }
    }
}

fn check_versions(hello: &Hello) -> Result<(), PeerRefusal> {
    let theirs = (hello.version_min, hello.version_max);
    if agree((VERSION, VERSION), theirs).is_some() {
        return Ok(());
    }
    let text = format!(
        "node {} speaks versions {} to {} of the peer protocol, this node speaks {VERSION}",
        hello.node, theirs.0, theirs.1
    );
    Err(PeerRefusal::new(RefusalReason::UnsupportedVersion, text))
}

fn wrong_cluster(local: &LocalNode, hello: &Hello) -> PeerRefusal {
    let named = |cluster: u128| match cluster {
        0 => "no cluster yet".to_owned(),
        cluster => format!("cluster {cluster:032x}"),
    };
    let text = format!(
        "node {} belongs to {}, node {} to {}",
        local.node,
        named(local.cluster),
        hello.node,
        named(hello.cluster)
    );
    PeerRefusal::new(RefusalReason::WrongCluster, text)
}

/// Reads the first frame; the bytes behind it are kept.
async fn first_frame(mut stream: PeerStream) -> Result<(Frame, Greeted), ConnectionError> {
    let mut decoder = FrameDecoder::greeting();
    let mut buffer = BytesMut::with_capacity(1024);
    loop {
        if let Some(frame) = decoder.decode(&mut buffer)? {
            let greeted = Greeted {
                stream,
                decoder,
                buffer,
            };
            return Ok((frame, greeted));
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(ConnectionError::Closed);
        }
    }
}
