//! Health checks and metrics over HTTP, on a thread of their own.
//!
//! A thread of its own, because they must answer while every core is busy; so nothing here runs on
//! a core, and what it says is asked of a [`HealthSource`]. One request per connection: a
//! connection is over in seconds, whatever the client does.
//!
//! Invariants: at most [`HTTP_CONNECTION_COUNT_MAX`] connections at a time, none longer than twice
//! [`HTTP_TIME_MAX`]. Spec: spec/http.md; spec/limits.md, "Server".

mod answer;
mod connection;
mod listen;
mod metrics;
mod source;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub(crate) use self::source::HealthSource;

pub(super) use self::listen::bind;

/// Connections at a time; more are closed at once.
const HTTP_CONNECTION_COUNT_MAX: usize = 64;
/// Longest head of a request.
const HTTP_HEAD_LEN_MAX: usize = 8 * 1024;
/// A request must have come by then, and its answer be taken by then.
const HTTP_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause after an accept that failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running endpoint.
pub(super) struct HttpServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl HttpServer {
    /// Serves on `listener` until [`Self::stop`].
    pub(super) fn start(
        listener: StdListener,
        source: Arc<dyn HealthSource>,
    ) -> anyhow::Result<HttpServer> {
        HttpServer::start_with(listener, source, HTTP_TIME_MAX)
    }

    fn start_with(
        listener: StdListener,
        source: Arc<dyn HealthSource>,
        time_max: Duration,
    ) -> anyhow::Result<HttpServer> {
        let address = listener
            .local_addr()
            .context("reading the HTTP listener's address")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the runtime of the HTTP endpoint")?;
        let entered = runtime.enter();
        let listener = TcpListener::from_std(listener).context("taking the HTTP listener over")?;
        drop(entered);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || runtime.block_on(accept(&listener, &source, time_max, stopped)))
            .context("starting the thread of the HTTP endpoint")?;
        Ok(HttpServer {
            address,
            stop,
            thread,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes its connections and lets go of the source.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        // A thread that has panicked no longer listens; the join says so.
        self.stop.send(()).ok();
        self.thread
            .join()
            .map_err(|_| anyhow!("the thread of the HTTP endpoint panicked"))
    }
}

async fn accept(
    listener: &TcpListener,
    source: &Arc<dyn HealthSource>,
    time_max: Duration,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Told to stop, or forgotten by who could tell.
            _ = &mut stopped => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the task of an HTTP connection panicked");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < HTTP_CONNECTION_COUNT_MAX => {
                    connections.spawn(connection::serve(stream, source.clone(), time_max));
                }
                Ok((_, client)) => tracing::debug!(%client, "too many HTTP connections"),
                Err(error) => {
                    tracing::warn!(%error, "accepting an HTTP connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

#[cfg(test)]
mod tests;
