//! The way to a set from any core: a bounded channel to its driver.

use sampan_core::{Command, Reply};
use sampan_protocol::{ErrorCode, SetId};
use tokio::sync::{mpsc, oneshot};

use super::request::{Refused, SetRequest};

/// Requests that may wait for a set's driver; senders beyond that wait themselves.
pub(crate) const REQUESTS_WAITING_MAX: usize = 1_024;

/// Asks one set. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SetHandle {
    set: SetId,
    sender: mpsc::Sender<SetRequest>,
}

impl SetHandle {
    pub(crate) fn new(set: SetId) -> (SetHandle, mpsc::Receiver<SetRequest>) {
        let (sender, receiver) = mpsc::channel(REQUESTS_WAITING_MAX);
        (SetHandle { set, sender }, receiver)
    }

    /// Which set it asks.
    pub fn set(&self) -> SetId {
        self.set
    }

    /// Hands a request over, waiting for room. The answer goes to the request's origin.
    ///
    /// # Errors
    ///
    /// `shutting down` when the set has stopped; the request was not taken.
    pub async fn request(&self, request: SetRequest) -> Result<(), Refused> {
        let sent = self.sender.send(request).await;
        sent.map_err(|_| Refused::new(ErrorCode::ShuttingDown))
    }

    /// Carries a command out for the node itself and returns the reply.
    ///
    /// # Errors
    ///
    /// `no leader`, `outcome unknown` or `shutting down`. What the core refuses is a reply.
    pub async fn propose(&self, command: Command) -> Result<Reply, Refused> {
        let (done, reply) = oneshot::channel();
        self.request(SetRequest::Propose { command, done }).await?;
        // Who is not proposed is told so before a set stops. A reply that nobody gives is one that
        // was lost on the way, and the command may have been carried out.
        reply
            .await
            .map_err(|_| Refused::new(ErrorCode::OutcomeUnknown))?
    }
}

#[cfg(test)]
mod tests {
    use sampan_protocol::{Applied, QueueId};

    use super::*;

    fn command() -> Command {
        Command::Receive {
            queue: QueueId(1),
            count_max: 1,
            len_max: 0,
            visibility_timeout_ms: None,
        }
    }

    #[tokio::test]
    async fn a_reply_that_is_dropped_leaves_the_outcome_open() {
        let (handle, mut requests) = SetHandle::new(SetId(1));
        let set = async {
            // Taken, and then the set is gone.
            drop(requests.recv().await);
        };
        let (proposed, ()) = tokio::join!(handle.propose(command()), set);
        assert_eq!(proposed.unwrap_err().applied(), Applied::Unknown);
    }

    #[tokio::test]
    async fn a_set_that_has_stopped_took_nothing() {
        let (handle, requests) = SetHandle::new(SetId(1));
        drop(requests);
        let refused = handle.propose(command()).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::ShuttingDown);
    }
}
