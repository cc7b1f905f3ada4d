//! All connections of a node with its peers.
//!
//! [`Peers`] is the handle for every thread; [`PeersTask`] runs on one core's thread: it accepts,
//! and keeps one link to each member. Requests of this node go out on its links, those of a peer
//! come in on the connection that the peer opened.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;

use super::clocks::PeerClocks;
use super::connection::{self, Remote, Role, Vitals};
use super::error::{ConnectionError, PeerError, with_causes};
use super::frame::NODE;
use super::handshake::{Greeter, LocalNode};
use super::incoming::Incoming;
use super::limits::{INCOMING_COUNT_MAX, LINK_COUNT_MAX};
use super::link::{self, Link};
use super::outbox::Outbox;
use super::service::{Caller, Gate, PeerService, PulseSource};
use super::transport::Transport;
use crate::clock::TimeSource;

/// Pause after the system refused to accept, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the peer network needs to begin.
pub(crate) struct PeersParts {
    pub(crate) local: LocalNode,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) time: Arc<dyn TimeSource>,
    /// Spreads the attempts to connect.
    pub(crate) random: fn() -> u64,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) pulses: Arc<dyn PulseSource>,
    pub(crate) service: Arc<dyn PeerService>,
}

/// The handle, cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    greeter: Greeter,
    links: Arc<Mutex<BTreeMap<u64, Link>>>,
    members: Arc<watch::Sender<BTreeMap<u64, String>>>,
    stop: Arc<watch::Sender<bool>>,
    losses: Arc<watch::Sender<u64>>,
}

/// What runs on the peers' thread.
pub(crate) struct PeersTask {
    peers: Peers,
    members: watch::Receiver<BTreeMap<u64, String>>,
    stop: watch::Receiver<bool>,
    service: Arc<dyn PeerService>,
    random: fn() -> u64,
}

impl Peers {
    pub(crate) fn new(parts: PeersParts) -> (Peers, PeersTask) {
        let vitals = Vitals {
            time: parts.time,
            pulses: parts.pulses,
            clocks: Arc::new(PeerClocks::default()),
        };
        let greeter = Greeter {
            local: Arc::new(Mutex::new(parts.local)),
            transport: parts.transport,
            gate: parts.gate,
            vitals,
        };
        let (members, members_seen) = watch::channel(BTreeMap::new());
        let (stop, stop_seen) = watch::channel(false);
        let peers = Peers {
            greeter,
            links: Arc::default(),
            members: Arc::new(members),
            stop: Arc::new(stop),
            losses: Arc::new(watch::Sender::new(0)),
        };
        let task = PeersTask {
            peers: peers.clone(),
            members: members_seen,
            stop: stop_seen,
            service: parts.service,
            random: parts.random,
        };
        (peers, task)
    }

    /// What greetings say of this node from now on: as if it were opened again with a cluster.
    #[cfg(test)]
    pub(crate) fn set_local(&self, local: LocalNode) {
        let mut current = self
            .greeter
            .local
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *current = local;
    }

    /// Whom to be connected to, and where; this node itself is left out.
    pub(crate) fn set_members(&self, mut members: BTreeMap<u64, String>) {
        members.remove(&self.greeter.local().node);
        self.members.send_if_modified(|current| {
            let is_new = *current != members;
            *current = members;
            is_new
        });
    }

    /// The link to a node. To one that is no member it is not connected until it becomes one.
    pub(crate) fn link(&self, node: u64) -> Link {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&node) {
            return link.clone();
        }
        let link = Link::new(node, self.losses.clone());
        if links.len() < LINK_COUNT_MAX {
            links.insert(node, link.clone());
        }
        link
    }

    /// Whether a request to `node` would be sent now.
    pub(crate) fn is_connected(&self, node: u64) -> bool {
        self.link(node).is_connected()
    }

    /// Changes whenever a connection to a peer ends.
    pub(crate) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    /// What the peers' clocks say.
    pub(crate) fn clocks(&self) -> &PeerClocks {
        &self.greeter.vitals.clocks
    }

    #[cfg(test)]
    pub(super) fn greeter_for_tests(&self) -> &Greeter {
        &self.greeter
    }

    /// Ends every connection; [`PeersTask::run`] returns.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Asks whoever is at `address`, by a connection of its own: to join, nobody is known yet.
    pub(crate) async fn call_address(
        &self,
        address: &str,
        method: u16,
        payload: Bytes,
        time_max: Duration,
    ) -> Result<Bytes, PeerError> {
        let greeter = &self.greeter;
        call_by(greeter, address, method, payload, time_max).await
    }

    /// The same, greeting as a node without a cluster: one that belongs to none takes no other.
    pub(crate) async fn call_stranger(
        &self,
        address: &str,
        method: u16,
        payload: Bytes,
        time_max: Duration,
    ) -> Result<Bytes, PeerError> {
        let greeter = self.greeter.as_stranger();
        call_by(&greeter, address, method, payload, time_max).await
    }
}

/// One call on a connection of its own, greeted by `greeter`.
async fn call_by(
    greeter: &Greeter,
    address: &str,
    method: u16,
    payload: Bytes,
    time_max: Duration,
) -> Result<Bytes, PeerError> {
    let not_reached =
        |error: ConnectionError| PeerError::NotReached(address.to_owned(), with_causes(&error));
    let connected = greeter.connect(None, address).await;
    let (greeted, welcome) = connected.map_err(not_reached)?;
    let (outbox, lanes) = Outbox::new();
    let remote = Remote::stranger(welcome.node);
    let calling = link::call(&outbox, NODE, method, payload, time_max);
    let running = connection::run(greeted, remote, &greeter.vitals, lanes, Role::Asks);
    tokio::select! {
        biased;
        answer = calling => answer,
        _ = running => Err(PeerError::Disconnected { was_written: true }),
    }
}

/// What is accepted at one time, and from where.
enum Event {
    Stop,
    Members,
    Accepted(io::Result<(TcpStream, SocketAddr)>),
}

impl PeersTask {
    /// Runs until [`Peers::stop`]. Call it inside a `LocalSet`.
    ///
    /// # Errors
    ///
    /// The listener cannot be used.
    pub(crate) async fn run(mut self, listener: Option<StdListener>) -> io::Result<()> {
        let listener = match listener {
            Some(listener) => {
                listener.set_nonblocking(true)?;
                Some(TcpListener::from_std(listener)?)
            }
            None => None,
        };
        let mut links = BTreeMap::new();
        let mut incoming = JoinSet::new();
        self.reconcile(&mut links);
        loop {
            match self.next_event(listener.as_ref()).await {
                Event::Stop => return Ok(()),
                Event::Members => self.reconcile(&mut links),
                Event::Accepted(Ok((stream, address))) => {
                    while incoming.try_join_next().is_some() {}
                    if incoming.len() < INCOMING_COUNT_MAX {
                        incoming.spawn_local(self.serve(stream, address));
                    } else {
                        tracing::warn!(%address, "too many peer connections; one is closed");
                    }
                }
                Event::Accepted(Err(error)) => {
                    tracing::warn!(%error, "a peer connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn next_event(&mut self, listener: Option<&TcpListener>) -> Event {
        let accept = async {
            match listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // The handle lives in `self`, so that waiting cannot fail.
            _ = self.stop.wait_for(|is_stopped| *is_stopped) => Event::Stop,
            _ = self.members.changed() => Event::Members,
            accepted = accept => Event::Accepted(accepted),
        }
    }

    /// Begins and ends links as the members say.
    fn reconcile(&mut self, links: &mut BTreeMap<u64, KeptLink>) {
        let members = self.members.borrow_and_update().clone();
        links.retain(|node, kept| members.get(node) == Some(&kept.address));
        for (node, address) in members.into_iter().take(LINK_COUNT_MAX) {
            links.entry(node).or_insert_with(|| {
                let link = self.peers.link(node);
                let greeter = self.peers.greeter.clone();
                let keeping = link::keep(link, address.clone(), greeter, self.random);
                let task = spawn_local(keeping);
                KeptLink { address, task }
            });
        }
    }

    fn serve(&self, stream: TcpStream, address: SocketAddr) -> impl Future<Output = ()> + use<> {
        let greeter = self.peers.greeter.clone();
        let service = self.service.clone();
        async move {
            let (greeted, hello) = match greeter.accept(stream, address).await {
                Ok(accepted) => accepted,
                // It has been said already.
                Err(ConnectionError::Refused(_)) => return,
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::info!(%address, %error, "a connection to the peer port ended");
                    return;
                }
            };
            let (outbox, lanes) = Outbox::new();
            let mut incoming = Incoming::new(Caller::new(&hello), service, outbox);
            let node = hello.node;
            let remote = Remote::new(hello, &greeter.gate);
            let role = Role::Serves(&mut incoming);
            let error = connection::run(greeted, remote, &greeter.vitals, lanes, role).await;
            on_ended(node, address, &error);
        }
    }
}

/// Damaged bytes are somebody's fault; an end is not.
fn on_ended(node: u64, address: SocketAddr, error: &ConnectionError) {
    let text = with_causes(error);
    match error {
        ConnectionError::Frame(_) | ConnectionError::Unexpected(_) => {
            tracing::error!(node, %address, error = %text, "connection of a peer closed");
        }
        ConnectionError::Refused(_) => {
            tracing::warn!(node, %address, error = %text, "connection of a peer closed");
        }
        _ => tracing::info!(node, %address, error = %text, "connection of a peer ended"),
    }
}

/// A link that is being kept; dropped, it is no longer.
struct KeptLink {
    address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for KeptLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}
