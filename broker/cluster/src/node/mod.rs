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

mod core_part;
mod founding_mark;
mod health;
mod options;
mod set_part;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sampan_core::FORMAT_VERSION_MAX;
use sampan_protocol::{ErrorCode, MessageId, QueueId, SetId};
use sampan_storage::io::{Folder, FolderLock};
use sampan_storage::log::{Log, LogError, LogOptions};
use sampan_storage::store::{Reader, StoreError};
use tokio::sync::{mpsc, oneshot, watch};

pub use self::core_part::CorePart;
use self::core_part::{FirstCore, PeersPart};
pub use self::options::{
    Founding, LOG_KEPT_LEN_DEFAULT, NodeOptions, PeerOptions, SNAPSHOT_RATE_DEFAULT,
};
use self::set_part::{IntakePart, SetPart};
use crate::backup::{BackupSource, Backups};
use crate::board::Board;
use crate::catalog::{Catalog, Coordinator, Directory, DirectoryPublisher, Route};
use crate::clock::ClusterTime;
use crate::data_folder::{DataFolder, OpenError, OpenOptions, folder_of_set, store_identity};
use crate::identity::{Identity, draw};
use crate::members::{
    ClusterGate, Invitations, Joined, Joiner, MemberService, NodeFacts, NodePulses, NodeService,
    Operator, Planner,
};
use crate::peer::{LocalNode, Peers, PeersParts, PeersTask};
use crate::raft::payload::LogPayload;
use crate::reach::{Reach, ReachParts};
use crate::repair::{Bodies, Repairer};
use crate::set::{
    CheckpointPolicy, Checkpointer, OpenStateError, Pace, REPLICA_WAITING_MAX, Refused, SetHandle,
    SetRequest, ToReplica,
};
use crate::status::{ClusterReply, ClusterRequest};
use crate::suspicion::Suspicion;
use crate::view::View;

/// Bytes of messages in memory that all sets together may reach before they are written down.
const OVERLAY_LEN_DEFAULT: u64 = 128 * 1024 * 1024;
/// Bytes of the newest entries that the log keeps in memory. One voter reads each of them once,
/// soon after it was appended; peers read them soon after.
const LOG_CACHE_LEN: usize = 16 * 1024 * 1024;
const LOG_CACHE_LEN_WITH_PEERS: usize = 64 * 1024 * 1024;
/// Bytes of log between two checkpoints, for all sets together.
const LOG_LEN_DEFAULT: u64 = 512 * 1024 * 1024;
/// Longest time between two checkpoints of a set that changes.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// A node that stops gives its leaderships this long to go elsewhere.
const HAND_OVER_MAX: Duration = Duration::from_secs(3);
/// Sets of a new cluster whose operator named no number.
const SET_COUNT_DEFAULT: u32 = 6;

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
    time: Arc<ClusterTime>,
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

    /// A node that waits to be told which cluster it belongs to.
    fn without_cluster(options: NodeOptions) -> (Node, Vec<CorePart>) {
        let incarnation = draw(options.random);
        let (_, directory) = watch::channel(Arc::new(Directory::default()));
        let (catalog, _) = Coordinator::new(Arc::default(), options.random);
        let (founding, _) = watch::channel(None);
        let (joined_sender, joined) = watch::channel(None);
        let board = Board::new(0);
        let time = Arc::new(ClusterTime::new(options.time.clone()));
        let invitations = Invitations::default();
        let mut first = FirstCore::default();
        let mut handle = None;
        if let Some(peer_options) = &options.peers {
            let service = NodeService {
                replicas: Arc::new([]),
                member: None,
                invitations: invitations.clone(),
            };
            let identity = (0, incarnation);
            let view = View::new(board);
            let (peers, task) = make_peers(&options, identity, service, directory.clone(), view);
            first.joiner = Some(Joiner {
                peers: peers.clone(),
                facts: facts(&options, incarnation),
                addresses: peer_options.join.clone(),
                invitations,
                joined: joined_sender,
            });
            first.peers = peers_part(&options, peers.clone(), task, time);
            handle = Some(peers);
        }
        let node = Node {
            id: options.node,
            member: None,
            catalog,
            directory,
            peers: handle,
            founding,
            joined,
        };
        let mut parts: Vec<_> = (0..options.core_count)
            .map(|_| CorePart::default())
            .collect();
        if let Some(part) = parts.first_mut() {
            part.first = Some(first);
        }
        (node, parts)
    }

    /// This node's number in its cluster.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it belongs to a cluster.
    pub fn is_member(&self) -> bool {
        self.member.is_some()
    }

    /// Returns when a node without a cluster has got one: close it and open it again with this.
    pub async fn founding(&self) -> Founding {
        let mut founding = self.founding.subscribe();
        let mut joined = self.joined.clone();
        let by_operator = async {
            match founding.wait_for(Option::is_some).await {
                Ok(decided) => *decided,
                Err(_) => std::future::pending().await,
            }
        };
        let by_cluster = async {
            match joined.wait_for(Option::is_some).await {
                Ok(joined) => joined.map(|joined| Founding::Joined {
                    cluster: joined.admission.cluster,
                    incarnation: joined.incarnation,
                    set_count: joined.admission.set_count,
                    is_replacement: joined.admission.is_replacement,
                }),
                // A node that is in a cluster has nothing to wait for.
                Err(_) => std::future::pending().await,
            }
        };
        let decided = tokio::select! {
            decided = by_operator => decided,
            decided = by_cluster => decided,
        };
        match decided {
            Some(founding) => founding,
            None => std::future::pending().await,
        }
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
                let set_count = set_count.unwrap_or(SET_COUNT_DEFAULT);
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

fn fresh_identity(options: &NodeOptions) -> Identity {
    match options.founding {
        Some(Founding::Joined {
            cluster,
            incarnation,
            set_count,
            ..
        }) => Identity {
            node: options.node,
            cluster,
            incarnation,
            set_count,
        },
        Some(Founding::New { set_count }) => Identity::new(options.node, options.random, set_count),
        None => Identity::new(options.node, options.random, options.set_count),
    }
}

fn open_options(options: &NodeOptions, fresh: Identity) -> OpenOptions {
    let is_replacement = matches!(
        options.founding,
        Some(Founding::Joined {
            is_replacement: true,
            ..
        })
    );
    let has_peers = options.peers.is_some();
    OpenOptions {
        fresh,
        log: LogOptions {
            cache_len_max: match has_peers {
                true => LOG_CACHE_LEN_WITH_PEERS,
                false => LOG_CACHE_LEN,
            },
            boot_id: options.boot_id.unwrap_or(LogOptions::default().boot_id),
            ..LogOptions::default()
        },
        has_peers,
        is_replacement,
        trust_log: options.trust_log,
    }
}

fn facts(options: &NodeOptions, incarnation: u128) -> NodeFacts {
    let peer_address = options.peers.as_ref().map(|peers| peers.address.clone());
    NodeFacts {
        node: options.node,
        incarnation,
        peer_address: peer_address.unwrap_or_default(),
        client_address: options.client_address.clone(),
        http_address: options.http_address.clone(),
        zone: options.zone.clone(),
        release: options.release.clone(),
    }
}

fn make_peers(
    options: &NodeOptions,
    (cluster, incarnation): (u128, u128),
    service: NodeService,
    directory: watch::Receiver<Arc<Directory>>,
    view: View,
) -> (Peers, PeersTask) {
    let transport = options
        .peers
        .as_ref()
        .map(|peers| peers.transport.clone())
        .unwrap_or_else(|| Arc::new(crate::peer::PlainTransport));
    Peers::new(PeersParts {
        local: LocalNode {
            node: options.node,
            incarnation,
            cluster,
            format_version_max: FORMAT_VERSION_MAX,
            release: options.release.clone(),
        },
        transport,
        // Peers are told this node's own wall clock: the median is made of those.
        time: options.time.clone(),
        random: options.random,
        gate: Arc::new(ClusterGate {
            node: options.node,
            cluster: (cluster != 0).then_some(cluster),
            directory,
            board: view.board().clone(),
        }),
        pulses: Arc::new(NodePulses { view }),
        service: Arc::new(service),
    })
}

fn peers_part(
    options: &NodeOptions,
    peers: Peers,
    task: PeersTask,
    time: Arc<ClusterTime>,
) -> Option<PeersPart> {
    let listener = options.peers.as_ref()?.listener.try_clone();
    match listener {
        Ok(listener) => Some(PeersPart {
            peers,
            task,
            listener,
            time,
        }),
        Err(error) => {
            tracing::error!(%error, "the peer port cannot be shared");
            None
        }
    }
}

/// A member that is being put together.
struct Opening {
    options: NodeOptions,
    folder: DataFolder,
    board: Board,
    time: Arc<ClusterTime>,
    checkpointer: Checkpointer,
}

impl Opening {
    fn new(options: NodeOptions, folder: DataFolder) -> Result<Self, OpenError> {
        let set_count = folder.identity.set_count;
        let checkpointer = Checkpointer::start(set_count as usize);
        let path = options.folder.path();
        Ok(Opening {
            board: Board::new(set_count),
            time: Arc::new(ClusterTime::new(options.time.clone())),
            checkpointer: checkpointer.map_err(|error| OpenError::Io(path, error))?,
            options,
            folder,
        })
    }

    fn finish(self) -> Result<(Node, Vec<CorePart>), OpenError> {
        let identity = self.folder.identity;
        let (publisher, directory) = watch::channel(Arc::new(Directory::default()));
        let (handles, requests): (Vec<_>, Vec<_>) = identity.sets().map(SetHandle::new).unzip();
        let (senders, messages): (Vec<_>, Vec<_>) = identity
            .sets()
            .map(|_| mpsc::channel::<ToReplica>(REPLICA_WAITING_MAX))
            .unzip();
        let (sets, replicas): (Arc<[_]>, Arc<[_]>) = (handles.into(), senders.into());
        let late_reach = Arc::new(OnceLock::new());
        let (catalog, coordinator) = Coordinator::new(late_reach.clone(), self.options.random);
        let view = View::new(self.board.clone());
        let connected = self.connect(&catalog, &late_reach, &replicas, &directory, &view);
        let (peers, peers_part) = connected.unzip();
        let reach = Reach::new(ReachParts {
            node: identity.node,
            board: self.board.clone(),
            sets: sets.clone(),
            replicas,
            peers: peers.clone(),
            directory: directory.clone(),
            time: self.time.clone(),
        });
        // It was made above, and nobody else sets it.
        drop(late_reach.set(reach.clone()));
        let first = FirstCore {
            coordinator: Some(coordinator),
            planner: Some(Planner::new(
                reach.clone(),
                view.clone(),
                identity.cluster,
                identity.set_count,
            )),
            // Alone, there is nobody to tell.
            announcement: peers
                .is_some()
                .then(|| (reach.clone(), facts(&self.options, identity.incarnation))),
            peers: peers_part.flatten(),
            joiner: None,
        };
        let operator = Operator {
            cluster: identity.cluster,
            reach: reach.clone(),
            view: view.clone(),
            backups: self.backups(),
        };
        let Opening {
            options,
            folder,
            time,
            checkpointer,
            ..
        } = self;
        let readers = folder.stores.iter().map(|(store, _)| store.reader());
        let repairer = Repairer::new(reach.clone());
        let member = Member {
            folder: options.folder.clone(),
            readers: readers.collect(),
            repairer: repairer.clone(),
            lock: folder.lock,
            log: folder.log.clone(),
            sets,
            reach: reach.clone(),
            view: view.clone(),
            operator,
            suspicion: folder.suspicion.clone(),
            time: time.clone(),
        };
        let shared = SharedParts {
            options: &options,
            identity,
            log: folder.log,
            time,
            checkpointer,
            reach,
            repairer,
            view,
            suspicion: folder.suspicion,
            publisher: Some(DirectoryPublisher::new(publisher)),
        };
        let channels = requests.into_iter().zip(messages);
        let parts = shared.into_parts(folder.stores, channels, first)?;
        let (founding, _) = watch::channel(None);
        let (_, joined) = watch::channel(None);
        let node = Node {
            id: identity.node,
            member: Some(member),
            catalog,
            directory,
            peers,
            founding,
            joined,
        };
        Ok((node, parts))
    }

    fn backups(&self) -> Backups {
        let identity = self.folder.identity;
        let readers = self.folder.stores.iter().map(|(store, _)| store.reader());
        Backups::new(BackupSource {
            node: identity.node,
            cluster: identity.cluster,
            incarnation: identity.incarnation,
            release: self.options.release.clone(),
            data: self.options.folder.path(),
            readers: readers.collect(),
        })
    }

    fn connect(
        &self,
        catalog: &Catalog,
        reach: &Arc<OnceLock<Reach>>,
        replicas: &Arc<[mpsc::Sender<ToReplica>]>,
        directory: &watch::Receiver<Arc<Directory>>,
        view: &View,
    ) -> Option<(Peers, Option<PeersPart>)> {
        self.options.peers.as_ref()?;
        let identity = self.folder.identity;
        let service = NodeService {
            replicas: replicas.clone(),
            member: Some(MemberService {
                reach: reach.clone(),
                catalog: catalog.clone(),
                cluster: identity.cluster,
                set_count: identity.set_count,
            }),
            invitations: Invitations::default(),
        };
        let names = (identity.cluster, identity.incarnation);
        let (peers, task) = make_peers(
            &self.options,
            names,
            service,
            directory.clone(),
            view.clone(),
        );
        let part = peers_part(&self.options, peers.clone(), task, self.time.clone());
        Some((peers, part))
    }
}

/// What all sets of a node share.
struct SharedParts<'a> {
    options: &'a NodeOptions,
    identity: Identity,
    log: Log<LogPayload>,
    time: Arc<ClusterTime>,
    checkpointer: Checkpointer,
    reach: Reach,
    repairer: Repairer,
    view: View,
    suspicion: Suspicion,
    publisher: Option<DirectoryPublisher>,
}

type Stores = Vec<(
    sampan_storage::store::Store,
    sampan_storage::store::Recovered,
)>;

impl SharedParts<'_> {
    fn into_parts(
        mut self,
        stores: Stores,
        channels: impl Iterator<Item = (mpsc::Receiver<SetRequest>, mpsc::Receiver<ToReplica>)>,
        first: FirstCore,
    ) -> Result<Vec<CorePart>, OpenError> {
        let is_founder = founding_mark::is_set(&*self.options.folder)
            .map_err(|error| OpenError::Io(self.options.folder.path(), error))?;
        let pace = Arc::new(Pace::new(self.options.snapshot_rate));
        let core_count = self.options.core_count.max(1);
        let mut parts: Vec<_> = (0..core_count).map(|_| CorePart::default()).collect();
        parts[0].first = Some(first);
        let sets = self.identity.sets().zip(stores).zip(channels);
        for ((set, (store, recovered)), (requests, messages)) in sets {
            let folder = folder_of_set(&self.options.folder, set)
                .map_err(|error| OpenError::Io(self.options.folder.path(), error))?;
            parts[set.0 as usize % core_count].sets.push(SetPart {
                set,
                node: self.identity.node,
                incarnation: self.identity.incarnation,
                store,
                recovered,
                log: self.log.clone(),
                requests,
                messages,
                directory: self.publisher.take(),
                time: self.time.clone(),
                checkpointer: self.checkpointer.clone(),
                checkpoint_policy: policy(self.options, u64::from(self.identity.set_count)),
                storage_full: self.options.storage_full.clone(),
                reach: self.reach.clone(),
                view: self.view.clone(),
                suspicion: self.suspicion.clone(),
                intake: IntakePart {
                    folder,
                    identity: store_identity(&self.identity, set),
                },
                pace: pace.clone(),
                repairer: self.repairer.clone(),
                is_founder,
            });
        }
        Ok(parts)
    }
}

fn policy(options: &NodeOptions, set_count: u64) -> CheckpointPolicy {
    CheckpointPolicy {
        overlay_len: options.overlay_len.unwrap_or(OVERLAY_LEN_DEFAULT) / set_count,
        log_len: LOG_LEN_DEFAULT / set_count,
        interval: CHECKPOINT_INTERVAL,
        log_kept_len: options.log_kept_len,
    }
}
