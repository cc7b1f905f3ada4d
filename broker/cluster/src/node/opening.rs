//! A member of a cluster that is being put together, from its folder and its options.
//!
//! Who asks whom goes in circles here: the catalog and the peers' service need the [`Reach`], which
//! needs the peers. So the reach is given to them late, before anything runs.
//!
//! Nothing runs yet when [`Opening::finish`] returns, but for the checkpointer's threads: the cores
//! start their shares, and until then requests wait in their channels.

use std::sync::{Arc, OnceLock};

use sampan_storage::store::{Recovered, Store};
use tokio::sync::{mpsc, watch};

use super::connecting::{facts, make_peers, peers_part};
use super::core_part::{CorePart, FirstCore, PeersPart};
use super::options::NodeOptions;
use super::sharing::{SetReceivers, SharedParts};
use super::{Member, Node};
use crate::backup::{BackupSource, Backups};
use crate::board::Board;
use crate::catalog::{Catalog, Coordinator, Directory, DirectoryPublisher};
use crate::clock::ClusterTime;
use crate::data_folder::{DataFolder, OpenError};
use crate::identity::Identity;
use crate::members::{Invitations, MemberService, NodeService, Operator, Planner};
use crate::peer::Peers;
use crate::reach::{Reach, ReachParts};
use crate::repair::Repairer;
use crate::set::{Checkpointer, REPLICA_WAITING_MAX, SetHandle, ToReplica};
use crate::view::View;

/// Where messages of peers for each set go, by number of the set.
type Replicas = Arc<[mpsc::Sender<ToReplica>]>;

/// A member that is being put together.
pub(super) struct Opening {
    options: NodeOptions,
    folder: DataFolder,
    board: Board,
    time: Arc<ClusterTime>,
    checkpointer: Checkpointer,
}

impl Opening {
    pub(super) fn new(options: NodeOptions, folder: DataFolder) -> Result<Self, OpenError> {
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

    /// Puts the member together.
    pub(super) fn finish(self) -> Result<(Node, Vec<CorePart>), OpenError> {
        let identity = self.folder.identity;
        let (publisher, directory) = watch::channel(Arc::new(Directory::default()));
        let (sets, replicas, receivers) = channels(&identity);
        let late_reach = Arc::new(OnceLock::new());
        let (catalog, coordinator) = Coordinator::new(late_reach.clone(), self.options.random);
        let view = View::new(self.board.clone());
        let service = self.service(&catalog, &late_reach, &replicas);
        let connected = self.connect(service, &directory, &view);
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
        let time = self.time.clone();
        let first = self.first_core(coordinator, &reach, &view, peers_part.flatten());
        let (member, shared, stores) = self.split(sets, reach, view, publisher);
        let parts = shared.into_parts(stores, receivers, first)?;
        let (founding, _) = watch::channel(None);
        let (_, joined) = watch::channel(None);
        let node = Node {
            id: identity.node,
            time,
            member: Some(member),
            catalog,
            directory,
            peers,
            founding,
            joined,
        };
        Ok((node, parts))
    }

    fn first_core(
        &self,
        coordinator: Coordinator,
        reach: &Reach,
        view: &View,
        peers: Option<PeersPart>,
    ) -> FirstCore {
        let identity = self.folder.identity;
        FirstCore {
            coordinator: Some(coordinator),
            planner: Some(Planner::new(
                reach.clone(),
                view.clone(),
                identity.cluster,
                identity.set_count,
            )),
            // Alone, there is nobody to tell.
            join: self
                .options
                .peers
                .as_ref()
                .map_or(Vec::new(), |peers| peers.join.clone()),
            announcement: reach
                .peers()
                .is_some()
                .then(|| (reach.clone(), facts(&self.options, identity.incarnation))),
            peers,
            joiner: None,
        }
    }

    /// Parts what the node keeps from what goes to the cores.
    fn split(
        self,
        sets: Arc<[SetHandle]>,
        reach: Reach,
        view: View,
        publisher: watch::Sender<Arc<Directory>>,
    ) -> (Member, SharedParts, Vec<(Store, Recovered)>) {
        let operator = Operator {
            cluster: self.folder.identity.cluster,
            reach: reach.clone(),
            view: view.clone(),
            backups: self.backups(),
        };
        let readers = self.folder.stores.iter().map(|(store, _)| store.reader());
        let repairer = Repairer::new(reach.clone());
        let member = Member {
            folder: self.options.folder.clone(),
            readers: readers.collect(),
            repairer: repairer.clone(),
            lock: self.folder.lock,
            log: self.folder.log.clone(),
            sets,
            reach: reach.clone(),
            view: view.clone(),
            operator,
            suspicion: self.folder.suspicion.clone(),
        };
        let shared = SharedParts {
            options: self.options,
            identity: self.folder.identity,
            log: self.folder.log,
            time: self.time,
            checkpointer: self.checkpointer,
            reach,
            repairer,
            view,
            suspicion: self.folder.suspicion,
            publisher: Some(DirectoryPublisher::new(publisher)),
        };
        (member, shared, self.folder.stores)
    }

    fn backups(&self) -> Backups {
        let identity = self.folder.identity;
        let readers = self.folder.stores.iter().map(|(store, _)| store.reader());
        Backups::new(BackupSource {
            node: identity.node,
            cluster: identity.cluster,
            incarnation: identity.incarnation,
            release: self.options.release.clone(),
            random: self.options.random,
            data: self.options.folder.path(),
            readers: readers.collect(),
        })
    }

    /// What peers can ask of the member. The reach is set once it is made.
    fn service(
        &self,
        catalog: &Catalog,
        reach: &Arc<OnceLock<Reach>>,
        replicas: &Replicas,
    ) -> NodeService {
        let identity = self.folder.identity;
        NodeService {
            replicas: replicas.clone(),
            member: Some(MemberService {
                reach: reach.clone(),
                catalog: catalog.clone(),
                cluster: identity.cluster,
                set_count: identity.set_count,
            }),
            invitations: Invitations::default(),
        }
    }

    /// `None` when the options name no peers.
    fn connect(
        &self,
        service: NodeService,
        directory: &watch::Receiver<Arc<Directory>>,
        view: &View,
    ) -> Option<(Peers, Option<PeersPart>)> {
        self.options.peers.as_ref()?;
        let identity = self.folder.identity;
        let names = (identity.cluster, identity.incarnation);
        let (directory, view) = (directory.clone(), view.clone());
        let (peers, task) = make_peers(&self.options, names, service, directory, view);
        let part = peers_part(&self.options, peers.clone(), task, self.time.clone());
        Some((peers, part))
    }
}

/// The ends that each set is asked by, and the ends that it receives at.
fn channels(identity: &Identity) -> (Arc<[SetHandle]>, Replicas, SetReceivers) {
    let (sets, requests): (Vec<_>, Vec<_>) = identity.sets().map(SetHandle::new).unzip();
    let (replicas, messages): (Vec<_>, Vec<_>) = identity
        .sets()
        .map(|_| mpsc::channel(REPLICA_WAITING_MAX))
        .unzip();
    let receivers = requests.into_iter().zip(messages).collect();
    (sets.into(), replicas.into(), receivers)
}
