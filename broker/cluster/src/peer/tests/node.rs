//! A node for tests: remembers what it was asked, and answers as told.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use sampan_protocol::SetId;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::clock::{Reading, TimeSource};
use crate::peer::{
    CallError, CallReply, Caller, Gate, Hello, IncomingAppends, LocalNode, PeerRefusal,
    PeerService, Peers, PeersParts, PlainTransport, PulseSource, RefusalReason,
};

pub(super) const CLUSTER: u128 = 77;
/// Method that answers with the payload.
pub(super) const ECHO: u16 = 16;
/// Method that is never answered, while its duty is held.
pub(super) const HOLD: u16 = 17;
/// Method whose duty is dropped.
pub(super) const DROP: u16 = 18;
/// Method that answers whether its caller is a member.
pub(super) const WHO: u16 = 19;
/// Fails a test that waits for longer; nothing is measured by it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What a node does, and what it saw.
#[derive(Default)]
pub(super) struct World {
    pub(super) refusal: Mutex<Option<RefusalReason>>,
    pub(super) held: Mutex<Vec<CallReply>>,
    pub(super) streams: Mutex<Vec<(u64, SetId, IncomingAppends)>>,
    pub(super) pulses: Mutex<BTreeMap<u64, Bytes>>,
    /// How far this node's wall clock is ahead.
    pub(super) wall_ahead_ms: AtomicU64,
}

impl Gate for World {
    fn admit(&self, hello: &Hello, _certificate_node: Option<u64>) -> Result<(), PeerRefusal> {
        let refusal = *self.refusal.lock().unwrap();
        let text = format!("node {} is not wanted", hello.node);
        refusal.map_or(Ok(()), |reason| Err(PeerRefusal::new(reason, text)))
    }
}

impl PulseSource for World {
    fn pulse(&self) -> Bytes {
        Bytes::from_static(b"news")
    }

    fn on_pulse(&self, from: u64, content: Bytes) {
        self.pulses.lock().unwrap().insert(from, content);
    }
}

impl PeerService for World {
    fn call(
        &self,
        from: Caller,
        set: Option<SetId>,
        method: u16,
        payload: Bytes,
        reply: CallReply,
    ) {
        match method {
            ECHO => reply.answer(Ok(payload)),
            HOLD => self.held.lock().unwrap().push(reply),
            DROP => drop(reply),
            WHO => {
                let text = format!("{} {} {set:?}", from.node, from.is_member);
                reply.answer(Ok(text.into()));
            }
            method => reply.answer(Err(CallError::new(99, format!("method {method}")))),
        }
    }

    fn open_append(&self, from: u64, set: SetId, stream: IncomingAppends) {
        if set == SetId(404) {
            return stream.refuse(&CallError::new(CallError::UNKNOWN_SET, "no such set"));
        }
        self.streams.lock().unwrap().push((from, set, stream));
    }
}

struct WorldTime(Arc<World>, crate::clock::SystemTime);

impl TimeSource for WorldTime {
    fn read(&self) -> Reading {
        let mut reading = self.1.read();
        reading.wall_ms += self.0.wall_ahead_ms.load(Ordering::Relaxed);
        reading
    }
}

/// A running node.
pub(super) struct TestNode {
    pub(super) id: u64,
    pub(super) world: Arc<World>,
    pub(super) peers: Peers,
    pub(super) address: String,
    pub(super) task: tokio::task::JoinHandle<std::io::Result<()>>,
}

pub(super) fn local_of(id: u64, cluster: u128) -> LocalNode {
    LocalNode {
        node: id,
        incarnation: u128::from(id) << 64,
        cluster,
        format_version_max: 1,
        release: "test".to_owned(),
    }
}

impl TestNode {
    pub(super) fn start(id: u64) -> TestNode {
        TestNode::start_in(id, CLUSTER, Arc::default())
    }

    pub(super) fn start_in(id: u64, cluster: u128, world: Arc<World>) -> TestNode {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (peers, task) = Peers::new(PeersParts {
            local: local_of(id, cluster),
            transport: Arc::new(PlainTransport),
            time: Arc::new(WorldTime(world.clone(), Default::default())),
            random: || 2,
            gate: world.clone(),
            pulses: world.clone(),
            service: world.clone(),
        });
        let task = tokio::task::spawn_local(task.run(Some(listener)));
        TestNode {
            id,
            world,
            peers,
            address,
            task,
        }
    }

    /// Makes `others` this node's members.
    pub(super) fn knows(&self, others: &[&TestNode]) {
        let members = others.iter().map(|node| (node.id, node.address.clone()));
        self.peers.set_members(members.collect());
    }

    pub(super) async fn is_connected_to(&self, other: u64) {
        until(|| self.peers.is_connected(other)).await;
    }

    pub(super) async fn echoes(&self, other: u64) {
        let link = self.peers.link(other);
        let payload = Bytes::from_static(b"are you there");
        let answer = link.call(None, ECHO, payload.clone(), PATIENCE).await;
        assert_eq!(answer, Ok(payload));
    }
}

/// Waits until something is so.
pub(super) async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .expect("it does not happen");
}

/// Runs a test on one thread, as a core does.
pub(super) fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}
