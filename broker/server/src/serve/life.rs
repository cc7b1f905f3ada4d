//! One life of the node in this process: from opening the data folder to closing the log.
//!
//! A process has one life, or two: a node without a cluster begins anew when it gets one.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sampan_cluster::{Founding, Node, TimeSource};
use tokio::sync::watch;

use super::Process;
use super::core_thread::{CoreThread, Started};
use super::reload::Security;
use super::signals::{Signal, Signals};

/// From the signal to the exit.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Whoever still looks at the node when it ends lets go of it within this time.
const LET_GO_MAX: Duration = Duration::from_secs(5);

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Sets replay the log; clients wait to be accepted, for the queues are not all known yet.
    Starting,
    /// Clients are served.
    Serving,
    /// No further request is read.
    Stopping,
}

/// What every connection of the process shares.
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    pub(crate) security: Arc<Security>,
    /// The next client's number.
    pub(crate) next_client: Arc<AtomicU64>,
    pub(crate) connection_count: Arc<AtomicUsize>,
}

/// Why a life ended.
pub(super) enum Ended {
    /// A signal said so.
    Stopped,
    /// The node has got a cluster.
    Founded(Founding),
}

/// The node, lent to those who only look at it. The life that ends waits until they have let go.
pub(super) struct Lent {
    node: Arc<Node>,
    /// Dropped after the node, which tells the life.
    _token: mpsc::Sender<Infallible>,
}

impl Deref for Lent {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// See the module's documentation.
pub(super) struct Life {
    lent: Arc<Lent>,
    /// Disconnected once nobody has [`Lent`] any longer.
    returned: mpsc::Receiver<Infallible>,
    cores: Vec<CoreThread>,
    phase: watch::Sender<Phase>,
}

impl Life {
    /// Opens the node and starts its cores.
    pub(super) fn begin(process: &Process, founding: Option<Founding>) -> anyhow::Result<Life> {
        let options = process.node_options(founding)?;
        let opened = Node::open(options);
        let (node, parts) =
            opened.context("the data folder was refused; nothing in it was changed")?;
        let node = Arc::new(node);
        let shared = Arc::new(Shared {
            node: node.clone(),
            security: process.security.clone(),
            next_client: process.next_client.clone(),
            connection_count: process.connection_count.clone(),
        });
        let (phase, phases) = watch::channel(Phase::Starting);
        let mut cores = Vec::new();
        for (number, (part, listener)) in parts.into_iter().zip(&process.listeners).enumerate() {
            let listener = listener.try_clone().context("sharing a listener")?;
            cores.push(CoreThread::start(
                number,
                part,
                listener,
                shared.clone(),
                phases.clone(),
            )?);
        }
        wait_for_sets(&cores)?;
        node.started().context("finishing the new data folder")?;
        phase.send_replace(Phase::Serving);
        let (token, returned) = mpsc::channel();
        let lent = Arc::new(Lent {
            node,
            _token: token,
        });
        Ok(Life {
            lent,
            returned,
            cores,
            phase,
        })
    }

    /// The node, for those who only look at it.
    pub(super) fn node(&self) -> Weak<Lent> {
        Arc::downgrade(&self.lent)
    }

    /// Waits for its end; meanwhile `reload` is called when a signal asks for it.
    pub(super) fn wait(&self, signals: &mut Signals, reload: impl Fn()) -> Ended {
        loop {
            match signals.next_or(self.lent.founding()) {
                Ok(Signal::Stop) => return Ended::Stopped,
                Ok(Signal::Reload) => reload(),
                Err(founding) => return Ended::Founded(founding),
            }
        }
    }

    /// Drains and closes everything.
    pub(super) fn end(self) -> anyhow::Result<()> {
        tracing::info!("stopping");
        let began = Instant::now();
        self.phase.send_replace(Phase::Stopping);
        for core in self.cores {
            core.join(DRAIN_MAX.saturating_sub(began.elapsed()))?;
        }
        let node = self.lent.node.clone();
        drop(self.lent);
        if let Err(RecvTimeoutError::Timeout) = self.returned.recv_timeout(LET_GO_MAX) {
            bail!("a health check did not let go of the node within {LET_GO_MAX:?}");
        }
        let node = Arc::into_inner(node).context("a connection outlived its core")?;
        node.close().context("closing the log")
    }
}

fn wait_for_sets(cores: &[CoreThread]) -> anyhow::Result<()> {
    for core in cores {
        if let Started::Failed(error) = core.started() {
            return Err(error);
        }
    }
    Ok(())
}

/// Where time comes from.
pub(super) fn time_source() -> Arc<dyn TimeSource> {
    #[cfg(feature = "simulation")]
    return Arc::new(super::simulated_clock::SimulatedClock::start());
    #[cfg(not(feature = "simulation"))]
    Arc::new(sampan_cluster::SystemTime::default())
}
