//! The signals that a broker obeys: SIGTERM and SIGINT stop it, SIGHUP makes it read certificates
//! and accounts again.
//!
//! They are listened for before anything else is done. A signal that came between "ready" and the
//! listening would end the process at once: without a drain, and without the exit code 0 that an
//! operator's tools take for a clean end. One that comes while the broker starts is kept, and is
//! obeyed as soon as it has started. Several SIGHUP that wait are one.

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

/// What a broker is told by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// End cleanly.
    Stop,
    /// Read certificates and accounts again.
    Reload,
}

/// See the module's documentation.
pub(super) struct Signals {
    runtime: Runtime,
    terminate: Listener,
    interrupt: Listener,
    hangup: Listener,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> anyhow::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("starting the runtime that waits for signals")?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let hangup = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
        drop(entered);
        Ok(Signals {
            runtime,
            terminate,
            interrupt,
            hangup,
        })
    }

    /// Blocks until one has come, or until `other` is done. Stopping goes before reloading, and
    /// both before the other.
    pub(super) fn next_or<T>(&mut self, other: impl Future<Output = T>) -> Result<Signal, T> {
        let Signals {
            runtime,
            terminate,
            interrupt,
            hangup,
        } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = terminate.recv() => Ok(Signal::Stop),
                _ = interrupt.recv() => Ok(Signal::Stop),
                _ = hangup.recv() => Ok(Signal::Reload),
                other = other => Err(other),
            }
        })
    }
}
