//! A core: one thread with its own runtime, its listener, its connections and its sets.
//!
//! Nothing that runs here blocks, and no lock is on the way of a message: other cores are reached
//! through bounded channels.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use sampan_cluster::{ClientId, CorePart};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use super::{Phase, Shared};
use crate::connection;

/// Connections of one process; more are closed at once.
const CONNECTION_COUNT_MAX: usize = 10_000;
/// Threads that read segment files and old log entries for one core.
const READER_COUNT_MAX: usize = 4;
/// A TLS handshake must be over by then.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause after an accept that failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take for their last answers once the broker stops.
const CONNECTIONS_DRAIN_MAX: Duration = Duration::from_secs(8);

/// How a core's start ended.
pub(super) enum Started {
    Ready,
    Failed(anyhow::Error),
}

/// A running core.
pub(super) struct CoreThread {
    thread: JoinHandle<()>,
    started: mpsc::Receiver<Started>,
    ended: mpsc::Receiver<()>,
}

impl CoreThread {
    pub(super) fn start(
        number: usize,
        part: CorePart,
        listener: StdListener,
        shared: Arc<Shared>,
        phases: watch::Receiver<Phase>,
    ) -> anyhow::Result<CoreThread> {
        let (starting, started) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        let run = move || {
            let result = run_core(part, listener, shared, phases, &starting);
            if let Err(error) = result {
                // Nobody listens any more when the start of another core failed.
                drop(starting.send(Started::Failed(error)));
            }
            ending.send(()).ok();
        };
        let thread = std::thread::Builder::new()
            .name(format!("core-{number}"))
            .spawn(run)
            .context("starting a core's thread")?;
        Ok(CoreThread {
            thread,
            started,
            ended,
        })
    }

    /// Waits until the core's sets lead and have replayed the log.
    pub(super) fn started(&self) -> Started {
        let gone = || Started::Failed(anyhow!("a core's thread ended while it was starting"));
        self.started.recv().unwrap_or_else(|_| gone())
    }

    /// Waits for the core to end by itself, for `patience` at most.
    pub(super) fn join(self, patience: Duration) -> anyhow::Result<()> {
        if let Err(mpsc::RecvTimeoutError::Timeout) = self.ended.recv_timeout(patience) {
            return Err(anyhow!("a core did not drain in time"));
        }
        self.thread
            .join()
            .map_err(|_| anyhow!("a core's thread panicked"))
    }
}

fn run_core(
    part: CorePart,
    listener: StdListener,
    shared: Arc<Shared>,
    phases: watch::Receiver<Phase>,
    starting: &mpsc::Sender<Started>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READER_COUNT_MAX)
        .build()
        .context("starting a core's runtime")?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::from_std(listener).context("taking the listener over")?;
        let drivers = part.start().await?;
        drop(starting.send(Started::Ready));
        accept(&listener, &shared, phases).await;
        for driver in drivers {
            driver.await.context("a set's driver ended badly")?;
        }
        Ok(())
    })
}

/// Accepts once every set of the process is up, until the broker stops, then waits for the
/// connections' last answers.
async fn accept(listener: &TcpListener, shared: &Arc<Shared>, mut phases: watch::Receiver<Phase>) {
    if phases
        .wait_for(|phase| *phase != Phase::Starting)
        .await
        .is_err()
    {
        return;
    }
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = phases.wait_for(|phase| *phase == Phase::Stopping) => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task panicked");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (shared, phases) = (shared.clone(), phases.clone());
                connections.spawn_local(async move {
                    let count = shared.connection_count.fetch_add(1, Ordering::Relaxed);
                    if count < CONNECTION_COUNT_MAX {
                        welcome(stream, peer, &shared, phases).await;
                    } else {
                        tracing::warn!(%peer, count, "too many connections");
                    }
                    shared.connection_count.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let set_drain = shared.node.drain();
    let farewell = async {
        set_drain.await;
        while connections.join_next().await.is_some() {}
    };
    if timeout(CONNECTIONS_DRAIN_MAX, farewell).await.is_err() {
        tracing::warn!("connections that took no answers were cut off");
    }
    connections.shutdown().await;
}

async fn welcome(
    stream: TcpStream,
    peer: std::net::SocketAddr,
    shared: &Arc<Shared>,
    phases: watch::Receiver<Phase>,
) {
    let id = ClientId(shared.next_client.fetch_add(1, Ordering::Relaxed));
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "the socket's options could not be set");
    }
    let ended = match shared.security.acceptor() {
        None => connection::serve(stream, id, shared.clone(), phases).await,
        Some(acceptor) => match timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => connection::serve(stream, id, shared.clone(), phases).await,
            Ok(Err(error)) => {
                tracing::info!(%peer, %error, "TLS handshake failed");
                return;
            }
            Err(_) => {
                tracing::info!(%peer, "TLS handshake took too long");
                return;
            }
        },
    };
    match ended {
        Ok(()) => tracing::debug!(%peer, "connection closed"),
        Err(connection::ConnectionError::Socket(error)) => {
            tracing::debug!(%peer, %error, "connection lost");
        }
        Err(error) => tracing::info!(%peer, %error, "connection closed by the broker"),
    }
}
