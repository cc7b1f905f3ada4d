//! A link: this node's connection to one peer, made again whenever it breaks.
//!
//! The handle is for any thread; the task lives on the peers' thread. While there is no connection
//! nothing is queued: whoever asks is told at once, and whether its request may have left the node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sampan_protocol::SetId;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::append_channel::AppendChannel;
use super::connection::{self, Greeted, Remote, Role};
use super::error::{ConnectionError, PeerError, with_causes};
use super::frame::{Hello, PeerRefusal, put_call};
use super::handshake::Greeter;
use super::limits::{PEER_PAYLOAD_LEN_MAX, RECONNECT_PAUSE_MAX, RECONNECT_PAUSE_MIN};
use super::outbox::{Lane, Outbox, OutboxClosed};
use super::pending::Pending;
use super::service::set_number;

/// The method's number at the front of a call.
const CALL_HEAD_LEN: usize = 2;

/// The way to one peer, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    node: u64,
    current: Arc<Mutex<Option<Outbox>>>,
    /// How many connections there were.
    count: Arc<AtomicU64>,
    /// Counts the connections that ended, of all links of the node.
    losses: Arc<watch::Sender<u64>>,
}

impl Link {
    /// A link to `node` that is not connected; `losses` counts the connections that end.
    pub(crate) fn new(node: u64, losses: Arc<watch::Sender<u64>>) -> Self {
        Link {
            node,
            current: Arc::default(),
            count: Arc::default(),
            losses,
        }
    }

    /// Whom it leads to.
    pub(crate) fn node(&self) -> u64 {
        self.node
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.outbox().is_ok()
    }

    /// The number of the connection in use, counted from 1; no two have the same.
    pub(crate) fn connection_number(&self) -> Option<u64> {
        self.is_connected()
            .then(|| self.count.load(Ordering::Acquire))
    }

    /// Asks the peer, or one of its sets.
    pub(crate) async fn call(
        &self,
        set: Option<SetId>,
        method: u16,
        payload: Bytes,
        time_max: Duration,
    ) -> Result<Bytes, PeerError> {
        call(&self.outbox()?, set_number(set), method, payload, time_max).await
    }

    /// A new append stream; nothing is sent yet.
    pub(crate) fn open_append(&self, set: SetId) -> Result<AppendChannel, PeerError> {
        Ok(AppendChannel::new(self.outbox()?, set))
    }

    fn outbox(&self) -> Result<Outbox, PeerError> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let open = current.as_ref().filter(|outbox| !outbox.is_closed());
        open.cloned().ok_or(PeerError::NotConnected(self.node))
    }

    fn set(&self, outbox: Option<Outbox>) {
        let is_loss = outbox.is_none();
        if !is_loss {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = outbox;
        if is_loss {
            self.losses.send_modify(|count| *count += 1);
        }
    }
}

/// A call on a connection. Dropped, it is forgotten.
pub(super) async fn call(
    outbox: &Outbox,
    set: u32,
    method: u16,
    payload: Bytes,
    time_max: Duration,
) -> Result<Bytes, PeerError> {
    let len = payload.len();
    if len + CALL_HEAD_LEN > PEER_PAYLOAD_LEN_MAX {
        return Err(PeerError::TooLong(len));
    }
    let not_sent = |OutboxClosed| PeerError::Disconnected { was_written: false };
    let asking = async {
        let permit = outbox.call_permit().await.map_err(not_sent)?;
        let (answer, answered) = oneshot::channel();
        let frame = put_call(set, outbox.next_id(), method, payload);
        let pending = Pending::Call { answer, permit };
        let sent = outbox.send(Lane::of(&frame), frame, Some(pending)).await;
        sent.map_err(not_sent)?;
        let disconnected = PeerError::Disconnected { was_written: true };
        answered.await.unwrap_or(Err(disconnected))
    };
    let answer = timeout(time_max, asking).await;
    answer.unwrap_or(Err(PeerError::TimedOut(time_max)))
}

/// Keeps a link connected to `address` for as long as it is polled.
pub(super) async fn keep(link: Link, address: String, greeter: Greeter, random: fn() -> u64) {
    let mut pause = RECONNECT_PAUSE_MIN;
    let mut complaint = Complaint::default();
    loop {
        match greeter.connect(Some(link.node), &address).await {
            Ok((greeted, welcome)) => {
                tracing::info!(node = link.node, %address, release = %welcome.release, "connected");
                let error = run(&link, greeted, welcome, &greeter).await;
                let error = with_causes(&error);
                tracing::warn!(node = link.node, %address, %error, "connection to a peer ended");
                (pause, complaint) = (RECONNECT_PAUSE_MIN, Complaint::default());
            }
            Err(error) => {
                complaint.make(&link, &address, error);
            }
        }
        sleep(jittered(pause, random())).await;
        pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
    }
}

async fn run(link: &Link, greeted: Greeted, welcome: Hello, greeter: &Greeter) -> ConnectionError {
    let (outbox, lanes) = Outbox::new();
    let _published = Published::new(link, outbox);
    let remote = Remote::new(welcome, &greeter.gate);
    connection::run(greeted, remote, &greeter.vitals, lanes, Role::Asks).await
}

/// A connection that others may use, for as long as this lives.
struct Published<'a>(&'a Link);

impl<'a> Published<'a> {
    fn new(link: &'a Link, outbox: Outbox) -> Self {
        link.set(Some(outbox));
        Published(link)
    }
}

impl Drop for Published<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// What was complained about last: the same is not repeated with each attempt.
#[derive(Default)]
struct Complaint {
    refusal: Option<PeerRefusal>,
    other: Option<String>,
}

impl Complaint {
    fn make(&mut self, link: &Link, address: &str, error: ConnectionError) {
        let node = link.node;
        if let ConnectionError::Refused(refusal) = error {
            if self.refusal.as_ref() != Some(&refusal) {
                tracing::error!(node, %address, %refusal, "no connection to a peer");
            }
            self.refusal = Some(refusal);
            return;
        }
        let error = with_causes(&error);
        if self.other.as_ref() != Some(&error) {
            tracing::warn!(node, %address, %error, "no connection to a peer; it is tried again");
        }
        self.other = Some(error);
    }
}

/// Between three quarters and five quarters of `pause`.
fn jittered(pause: Duration, random: u64) -> Duration {
    let eighths = 6 + u32::try_from(random % 5).expect("below 5");
    pause * eighths / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_by_a_quarter_at_most() {
        for random in 0..20 {
            let pause = jittered(Duration::from_secs(2), random);
            assert!((1_500..=2_500).contains(&pause.as_millis()), "{pause:?}");
        }
    }

    #[tokio::test]
    async fn a_link_without_a_connection_says_so_at_once() {
        let link = Link::new(7, Arc::default());
        let time_max = Duration::from_secs(3600);
        let error = link
            .call(None, 16, Bytes::new(), time_max)
            .await
            .unwrap_err();
        assert_eq!(error, PeerError::NotConnected(7));
        assert!(!error.may_be_applied());
        assert!(link.open_append(SetId(1)).is_err());
    }
}
