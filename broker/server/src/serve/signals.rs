//! The signals that tell a broker to stop: SIGTERM and SIGINT.
//!
//! They are listened for before anything else is done. A signal that came between "ready" and the
//! listening would end the process at once: without a drain, and without the exit code 0 that an
//! operator's tools take for a clean end. One that comes while the broker starts is kept, and stops
//! it as soon as it has started.

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// See the module's documentation.
pub(super) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
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
        drop(entered);
        Ok(Signals {
            runtime,
            terminate,
            interrupt,
        })
    }

    /// Blocks until one has come.
    pub(super) fn wait(mut self) {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        });
    }
}
