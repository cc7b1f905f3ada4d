//! One client's connection: frames in, answers out.
//!
//! ```text
//!            ┌ reader ─ session ─ requests ──> sets (any core)
//!   socket ──┤                                    │
//!            └ writer <──────── outbox <──────────┘
//! ```
//!
//! The reader stops while the client has too much unanswered or unread; the writer gives up on a
//! client that takes nothing for [`WRITE_STALL_MAX`]. So a slow client is slowed, then cut off, and
//! nothing is buffered without end.

mod commands;
mod deliveries;
mod outbox;
mod patience;
mod reader;
mod requests;
mod session;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use sampan_cluster::{Client, ClientId, SetRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use self::outbox::Outbox;
use self::reader::{Ended, Reader};
use self::writer::Writer;
use crate::serve::{Phase, Shared};

/// A client that takes nothing for this long is cut off.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// How long a connection that is closing may take to write its last answers.
const FAREWELL_MAX: Duration = Duration::from_secs(8);

/// Why a connection was ended by the broker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("the client broke the protocol: {0}")]
    Protocol(String),
    #[error("the client did not authenticate in time")]
    NotAuthenticatedInTime,
    #[error("the client took nothing for {} s", WRITE_STALL_MAX.as_secs())]
    Stalled,
    #[error("socket: {0}")]
    Socket(#[source] std::io::Error),
}

/// Serves one connection to its end. Runs on the core that accepted it.
pub(crate) async fn serve<S>(
    stream: S,
    id: ClientId,
    shared: Arc<Shared>,
    phases: watch::Receiver<Phase>,
) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (read_half, write_half) = tokio::io::split(stream);
    let (outbox, outgoing) = Outbox::new(id);
    let writer = Writer::new(write_half, outgoing, outbox.clone(), shared.node.clone());
    let reader = Reader::new(read_half, outbox.clone(), shared.clone());
    let write = writer.run();
    tokio::pin!(write);
    let ended = tokio::select! {
        ended = reader.run(phases) => ended,
        // Nothing can be written any more, so there is nothing left to say.
        written = &mut write => {
            forget(&shared, &outbox).await;
            return written;
        }
    };
    if !matches!(ended, Ok(Ended::ByBroker)) {
        forget(&shared, &outbox).await;
    }
    if let Ok(Ended::ByClient) = ended {
        return Ok(());
    }
    // Last answers, the refusal that closes the connection among them.
    let farewell = async {
        while outbox.request_count() > 0 || outbox.unwritten_len() > 0 {
            outbox.drained().await;
        }
    };
    tokio::select! {
        () = farewell => {}
        written = &mut write => written?,
        () = tokio::time::sleep(FAREWELL_MAX) => {}
    }
    forget(&shared, &outbox).await;
    ended.map(drop)
}

/// Nothing that the client waits for is of use to anybody now.
async fn forget(shared: &Shared, outbox: &Outbox) {
    // What a set hands out before it hears of it goes back too.
    outbox.close();
    let id = outbox.id();
    for set in shared.node.sets() {
        // A set that has stopped has forgotten the client already.
        drop(set.request(SetRequest::Forget(id)).await);
    }
}
