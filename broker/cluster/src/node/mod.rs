//! A node: its log, its sets spread over its cores, its catalog, its peers.
//!
//! [`Node::open`] takes the data folder up on the calling thread: it may read for a while. Each
//! core thread then takes its share ([`CorePart`]) and runs it in its own runtime. From then
//! on a set is touched by its core's thread only; everybody else asks it through its
//! [`SetHandle`](crate::SetHandle).
//!
//! A node with peers and an empty folder belongs to no cluster yet. It has no sets, waits for an
//! operator's word or for a cluster that lets it in, and is then opened again
//! ([`Node::founding`]).
//!
//! The data folder: `node` (identity), `log/`, `set-NNNN/`. Spec: spec/storage.md.

mod connecting;
mod core_part;
mod folder;
mod founding_mark;
mod health;
mod opening;
mod options;
mod set_part;
mod sharing;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use sampan_protocol::{ErrorCode, MessageId, QueueId, SetId, Timestamp};
use sampan_storage::io::{Folder, FolderLock};
use sampan_storage::log::{Log, LogError};
use sampan_storage::store::{Reader, StoreError};
use tokio::sync::{oneshot, watch};

pub use self::core_part::CorePart;
use self::folder::{fresh_identity, open_options};
use self::opening::Opening;
pub use self::options::{
    Founding, LOG_KEPT_LEN_DEFAULT, NodeOptions, PeerOptions, SNAPSHOT_RATE_DEFAULT,
};
use crate::catalog::{Catalog, Directory, Route};
use crate::clock::{ClusterTime, TimeSource};
use crate::data_folder::{DataFolder, OpenError};
use crate::identity::{Identity, SET_COUNT_MAX};
use crate::members::{Joined, Operator};
use crate::peer::Peers;
use crate::raft::payload::LogPayload;
use crate::reach::Reach;
use crate::repair::{Bodies, Repairer};
use crate::set::{OpenStateError, Refused, SetHandle, SetRequest};
use crate::status::{ClusterReply, ClusterRequest};
use crate::suspicion::Suspicion;
use crate::view::View;

/// A node that stops gives its leaderships this long to go elsewhere.
const HAND_OVER_MAX: Duration = Duration::from_secs(3);

/// Why a core could not start its sets.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state in the store does not fit together.
    #[error("state of set {0}")]
    State(SetId, #[source] OpenStateError),
    /// openraft did not start.
    #[error("consensus of set {0}: {1}")]
    Raft(SetId, String),
}

/// A node that is open. Shared by all threads.
pub struct Node {
    id: u64,
    time: Arc<ClusterTime>,
    /// None for a node without a cluster.
    member: Option<Member>,
    /// Changes of queues; refused without a cluster.
    catalog: Catalog,
    directory: watch::Receiver<Arc<Directory>>,
    peers: Option<Peers>,
    /// What the folder is to become, once that is decided.
    founding: watch::Sender<Option<Founding>>,
    /// Tells what is decided by a cluster that lets the node in.
    joined: watch::Receiver<Option<Joined>>,
}

/// What only a node of a cluster has.
struct Member {
    folder: Arc<dyn Folder>,
    /// Held for as long as the node is open.
    lock: FolderLock,
    log: Log<LogPayload>,
    sets: Arc<[SetHandle]>,
    readers: Vec<Reader>,
    repairer: Repairer,
    reach: Reach,
    view: View,
    operator: Operator,
    suspicion: Suspicion,
}

impl Node {
    /// Opens the data folder, or makes a new one when `options` say what it is to be. Returns the
    /// node and each core's share.
    ///
    /// # Errors
    ///
    /// What is wrong with which file; the folder is left as it was.
    pub fn open(options: NodeOptions) -> Result<(Node, Vec<CorePart>), OpenError> {
        let is_new = Identity::find(&options.folder)
            .map_err(OpenError::Identity)?
            .is_none();
        if is_new && options.founding.is_none() {
            return Ok(Node::without_cluster(options));
        }
        let fresh = fresh_identity(&options);
        let is_founder = matches!(options.founding, Some(Founding::New { .. }));
        if is_new && is_founder {
            let begun = founding_mark::set(&*options.folder);
            begun.map_err(|error| OpenError::Io(options.folder.path(), error))?;
        }
        let folder = DataFolder::open(&options.folder, open_options(&options, fresh))?;
        if folder.identity.node != options.node {
            let (found, wanted) = (folder.identity.node, options.node);
            return Err(OpenError::WrongNode { found, wanted });
        }
        Opening::new(options, folder)?.finish()
    }

    /// This node's number in its cluster.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The time of the cluster, as far as this node knows it; its own clock's without others.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.time.read().wall_ms)
    }

    /// Whether it belongs to a cluster.
    pub fn is_member(&self) -> bool {
        self.member.is_some()
    }

    /// Every set of the node has started: what was begun with a new cluster is complete.
    ///
    /// # Errors
    ///
    /// The folder cannot be changed.
    pub fn started(&self) -> std::io::Result<()> {
        match &self.member {
            Some(member) => founding_mark::clear(&*member.folder),
            None => Ok(()),
        }
    }

    /// All sets by number; none without a cluster.
    pub fn sets(&self) -> &[SetHandle] {
        self.member.as_ref().map_or(&[], |member| &member.sets)
    }

    /// Reads messages of a set from its segment files. Damaged ones are brought back from another
    /// replica of the set.
    ///
    /// # Errors
    ///
    /// The set's store cannot be read at all.
    pub async fn read(
        &self,
        set: SetId,
        queue: QueueId,
        ids: &[MessageId],
    ) -> Result<Bodies, StoreError> {
        let nothing = Bodies {
            messages: vec![None; ids.len()],
            lost_count: 0,
        };
        let Some(member) = &self.member else {
            return Ok(nothing);
        };
        match member.readers.get(set.0 as usize) {
            Some(reader) => member.repairer.read(set, reader, queue, ids).await,
            None => Ok(nothing),
        }
    }

    /// The queues by name; a new one arrives with each change.
    pub fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.clone()
    }

    /// Returns when the directory has everything that was acknowledged before.
    ///
    /// # Errors
    ///
    /// `no leader` when that cannot be confirmed now.
    pub async fn confirm_directory(&self) -> Result<(), Refused> {
        let no_leader = || Refused::retry_after(ErrorCode::NoLeader, 500);
        let member = self.member.as_ref().ok_or_else(no_leader)?;
        member.reach.confirm(SetId(0)).await
    }

    /// Who leads a set, as far as this node knows, and in which term.
    pub fn leader(&self, set: SetId) -> (Option<u64>, u64) {
        match &self.member {
            Some(member) => member.reach.board.leader_and_term(set),
            None => (None, 0),
        }
    }

    /// The set of a queue's route, for a request that its leader is to carry out.
    ///
    /// # Errors
    ///
    /// `no leader` on a node that has no such set.
    pub fn set_of(&self, route: &Route) -> Result<&SetHandle, Refused> {
        let set = self.sets().get(route.set.0 as usize);
        set.ok_or_else(|| Refused::retry_after(ErrorCode::NoLeader, 500))
    }

    /// Creates, changes and deletes queues.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Carries out what an operator asks of the cluster.
    ///
    /// # Errors
    ///
    /// Why the cluster refuses it, or that it has no leader.
    pub async fn cluster(&self, request: ClusterRequest) -> Result<ClusterReply, Refused> {
        match (&self.member, request) {
            (Some(member), request) => member.operator.carry_out(request).await,
            (None, ClusterRequest::Init { set_count }) => {
                check_set_count(set_count)?;
                let founding = Founding::New { set_count };
                self.founding.send_replace(Some(founding));
                Ok(ClusterReply::Done)
            }
            (None, ClusterRequest::Status) => {
                let status = crate::status::ClusterStatus {
                    this_node: self.id,
                    ..Default::default()
                };
                Ok(ClusterReply::Status(status))
            }
            (None, _) => Err(Refused {
                text: "this node belongs to no cluster yet: `sampan cluster init` makes one"
                    .to_owned(),
                ..Refused::new(ErrorCode::ClusterRefused)
            }),
        }
    }

    /// Hands leaderships over, answers what waits, finishes what is in hand, and stops every set.
    pub async fn drain(&self) {
        self.hand_over_all().await;
        let mut waiting = Vec::new();
        for set in self.sets() {
            let (done, drained) = oneshot::channel();
            if set.request(SetRequest::Drain(done)).await.is_ok() {
                waiting.push(drained);
            }
        }
        for drained in waiting {
            // A set whose driver is gone has nothing left to finish.
            drop(drained.await);
        }
        if let Some(peers) = &self.peers {
            peers.stop();
        }
    }

    async fn hand_over_all(&self) {
        let Some(member) = &self.member else { return };
        if member.reach.peers().is_none() {
            return;
        }
        let led = member.reach.board.sets();
        let led = led.filter(|set| member.reach.leads(*set));
        let hand_overs = led.map(|set| member.operator.give_up(set));
        let all = futures::future::join_all(hand_overs);
        // A set that nobody takes over is elected elsewhere once this node is gone.
        drop(tokio::time::timeout(HAND_OVER_MAX, all).await);
    }

    /// Closes the log. Blocks for one sync. Call it when every set has stopped.
    ///
    /// # Errors
    ///
    /// The log's last sync failed; everything acknowledged was synced before.
    pub fn close(self) -> Result<(), LogError> {
        let Some(member) = self.member else {
            return Ok(());
        };
        let closed = member.log.close();
        drop(member.lock);
        closed
    }
}

/// Refuses a number of sets that no cluster can have.
fn check_set_count(asked: Option<u32>) -> Result<(), Refused> {
    if asked.is_none_or(|count| (1..=SET_COUNT_MAX).contains(&count)) {
        return Ok(());
    }
    Err(Refused {
        text: format!("a cluster has 1 to {SET_COUNT_MAX} sets"),
        ..Refused::new(ErrorCode::ClusterRefused)
    })
}
