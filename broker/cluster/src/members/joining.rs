//! How this node comes into a cluster, and keeps what the cluster knows of it true.
//!
//! A node without a cluster asks at every address it was given (or invited by) until one lets it
//! in; a refusal is said once and tried again, for an operator may change what caused it. A node
//! that is in says where it is reached whenever it starts.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sampan_core::{CatalogCommand, Command, FORMAT_VERSION_MAX, NodeJoin, NodeRecord, Reply};
use sampan_protocol::{ErrorCode, SetId};
use tokio::sync::watch;

use crate::calls::{self, Admission, Method};
use crate::peer::{PeerError, Peers};
use crate::reach::Reach;
use crate::set::Refused;

/// Pause between two rounds of asking.
const ROUND_PAUSE: Duration = Duration::from_millis(300);
/// An address answers within this time.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Addresses that a node without a cluster remembers.
const ADDRESS_COUNT_MAX: usize = 64;
/// Longest address.
const ADDRESS_LEN_MAX: usize = 255;
/// Pause before a node says again where it is reached.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(500);

/// What a node tells the cluster of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    pub(crate) node: u64,
    pub(crate) incarnation: u128,
    pub(crate) peer_address: String,
    pub(crate) client_address: String,
    pub(crate) http_address: String,
    pub(crate) zone: String,
    pub(crate) release: String,
}

impl NodeFacts {
    fn join(&self) -> NodeJoin {
        NodeJoin {
            node: self.node,
            incarnation: self.incarnation,
            peer_address: self.peer_address.clone(),
            client_address: self.client_address.clone(),
            http_address: self.http_address.clone(),
            zone: self.zone.clone(),
            format_version_max: FORMAT_VERSION_MAX,
            release: self.release.clone(),
        }
    }

    fn is_known_by(&self, record: &NodeRecord) -> bool {
        let join = self.join();
        record.incarnation == join.incarnation
            && record.peer_address == join.peer_address
            && record.client_address == join.client_address
            && record.http_address == join.http_address
            && record.zone == join.zone
            && record.format_version_max == join.format_version_max
            && record.release == join.release
    }
}

/// Where a node without a cluster was told to ask. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Invitations {
    addresses: Arc<Mutex<BTreeSet<String>>>,
}

impl Invitations {
    /// Remembers the addresses in `payload`, one per line.
    pub(crate) fn take(&self, payload: &Bytes) -> Result<Bytes, Refused> {
        let malformed = || Refused::new(ErrorCode::MalformedFrame);
        let text = std::str::from_utf8(payload).map_err(|_| malformed())?;
        let mut addresses = self.lock();
        for line in text.lines() {
            if line.is_empty() || line.len() > ADDRESS_LEN_MAX {
                return Err(malformed());
            }
            if addresses.len() < ADDRESS_COUNT_MAX {
                addresses.insert(line.to_owned());
            }
        }
        Ok(Bytes::new())
    }

    fn all(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        let addresses = self.addresses.lock();
        addresses.unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this node got when it was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) admission: Admission,
    pub(crate) incarnation: u128,
}

/// Asks until somebody lets this node in.
pub(crate) struct Joiner {
    pub(crate) peers: Peers,
    pub(crate) facts: NodeFacts,
    pub(crate) addresses: Vec<String>,
    pub(crate) invitations: Invitations,
    pub(crate) joined: watch::Sender<Option<Joined>>,
}

impl Joiner {
    /// Runs until it is let in.
    pub(crate) async fn run(self) {
        let mut said = String::new();
        loop {
            let invited = self.invitations.all();
            for address in self.addresses.iter().chain(&invited) {
                match self.ask(address).await {
                    Ok(admission) => {
                        let joined = Joined {
                            admission,
                            incarnation: self.facts.incarnation,
                        };
                        self.joined.send_replace(Some(joined));
                        return;
                    }
                    Err(error) => {
                        let text = format!("{address}: {error}");
                        if text != said {
                            let node = self.facts.node;
                            tracing::error!(node, error = %text, "not let in yet");
                            said = text;
                        }
                    }
                }
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    async fn ask(&self, address: &str) -> Result<Admission, String> {
        let payload = calls::encode_join(self.facts.join());
        let method = Method::Join.number();
        let answer = self
            .peers
            .call_address(address, method, payload, ANSWER_MAX)
            .await;
        let answer = answer.map_err(|error| match error {
            PeerError::Failed(refusal) => format!("refused: {}", refusal.text),
            other => other.to_string(),
        })?;
        Admission::decode(answer).ok_or_else(|| "the answer is not understood".to_owned())
    }
}

/// Looks whether the addresses that a node of a cluster is told to join belong to that cluster:
/// somebody may have named the wrong ones, or have started with the wrong folder.
pub(crate) async fn check_addresses(reach: Reach, facts: NodeFacts, addresses: Vec<String>) {
    let Some(peers) = reach.peers().cloned() else {
        return;
    };
    tokio::time::sleep(ANNOUNCE_PAUSE).await;
    for address in addresses {
        let directory = reach.directory();
        let mut known = directory.map().nodes.iter();
        if known.any(|record| record.peer_address == address) {
            continue;
        }
        let payload = calls::encode_join(facts.join());
        let method = Method::Join.number();
        let asked = peers
            .call_address(&address, method, payload, ANSWER_MAX)
            .await;
        if let Err(error) = asked {
            tracing::error!(address, %error, "an address to join is of no node of this cluster");
        }
    }
}

/// Tells the cluster where this node is reached and what it runs, until it knows.
pub(crate) async fn announce(reach: Reach, facts: NodeFacts) {
    loop {
        match announce_once(&reach, &facts).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(refused) => tracing::debug!(error = %refused, "not announced yet"),
        }
        tokio::time::sleep(ANNOUNCE_PAUSE).await;
    }
}

/// Whether the cluster knows it all. The replica of the catalog here may be behind: what it says of
/// this node may have been true two restarts ago.
async fn announce_once(reach: &Reach, facts: &NodeFacts) -> Result<bool, Refused> {
    reach.confirm(SetId(0)).await?;
    let directory = reach.directory();
    let record = directory.map().node(facts.node);
    if record.is_some_and(|record| facts.is_known_by(record)) {
        return Ok(true);
    }
    // Without the catalog nobody knows yet whether it is known.
    if directory.is_known() {
        let command = Command::Catalog(CatalogCommand::NodeJoin(facts.join()));
        if let Reply::Refused(refusal) = reach.propose(SetId(0), command).await? {
            let error = refusal.text.as_deref();
            tracing::error!(error, "the cluster refuses this node");
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invitations_are_bounded_and_checked() {
        let invitations = Invitations::default();
        assert!(invitations.take(&Bytes::from_static(b"\xff\xfe")).is_err());
        let long = "a".repeat(ADDRESS_LEN_MAX + 1);
        assert!(invitations.take(&Bytes::from(long)).is_err());
        for number in 0..1_000 {
            let line = format!("10.0.0.1:{number}");
            assert!(invitations.take(&Bytes::from(line)).is_ok());
        }
        assert_eq!(invitations.all().len(), ADDRESS_COUNT_MAX);
    }
}
