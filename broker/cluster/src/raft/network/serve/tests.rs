//! Goal: three replicas elect, replicate and hand leadership over across the peer network. Method:
//! three openrafts in one process, each with a log on disk and connections over real sockets; the
//! state machine only collects what it applies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::LocalBoxFuture;
use openraft::errors::{ReplicationClosed, StreamingError};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::SnapshotResponse;
use openraft::storage::EntryResponder;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use openraft::{BasicNode, Config, RaftSnapshotBuilder, SnapshotPolicy};
use sampan_core::{Command, Entry};
use sampan_protocol::{BatchBuilder, NewMessage, QueueId, SetId, Timestamp};
use sampan_storage::io::DiskFolder;
use sampan_storage::log::{Log, LogIdentity, LogOptions};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::*;
use crate::clock::SystemTime;
use crate::pace::Pace;
use crate::peer::{
    CallReply, Caller, Gate, Hello, LocalNode, PeerRefusal, PeerService, Peers, PeersParts,
    PlainTransport, PulseSource, WireLogId, WireVote,
};
use crate::raft::log_store::LogStore;
use crate::raft::network::{AppendGuard, PeerNetwork, PeerOf, SnapshotSender};
use crate::raft::types::{
    Applied, Proposal, RaftLogId, RaftPayload, RaftVote, Responder, Snapshot, SnapshotMeta,
    StoredMembership, WriteResult,
};
use crate::suspicion::Suspicion;

const SET: SetId = SetId(3);
/// Fails a test that waits for longer; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

type Data = <PeerOf as RaftNetworkV2<SetConfig>>::SnapshotData;
type TestRaft = Raft<SetConfig, Collector>;

/// Collects the stamps and lengths of what is applied.
#[derive(Clone, Default)]
struct Collector(Rc<RefCell<Collected>>);

#[derive(Default)]
struct Collected {
    applied: Option<RaftLogId>,
    membership: StoredMembership,
    entries: Vec<(u64, usize)>,
}

impl RaftStateMachine<SetConfig> for Collector {
    type SnapshotData = Data;
    type SnapshotBuilder = Collector;

    async fn applied_state(&mut self) -> std::io::Result<(Option<RaftLogId>, StoredMembership)> {
        let state = self.0.borrow();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> std::io::Result<()>
    where
        S: Stream<Item = std::io::Result<EntryResponder<SetConfig>>> + Unpin,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut state = self.0.borrow_mut();
            state.applied = Some(entry.log_id);
            match entry.payload {
                RaftPayload::Blank => {}
                RaftPayload::Membership(membership) => {
                    state.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                RaftPayload::Normal(Proposal(entry)) => {
                    state.entries.push((entry.stamp.0, entry.encoded_len()));
                }
            }
            drop(state);
            if let Some(responder) = responder {
                responder.send(Applied::default());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Collector {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, _: Data) -> std::io::Result<()> {
        Err(std::io::Error::other("no snapshots here"))
    }

    async fn get_current_snapshot(&mut self) -> std::io::Result<Option<Snapshot>> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<SetConfig> for Collector {
    type SnapshotData = Data;

    async fn build_snapshot(&mut self) -> std::io::Result<Snapshot> {
        Err(std::io::Error::other("no snapshots here"))
    }
}

struct Trusting;

impl AppendGuard for Trusting {
    fn may_append(&self, _node: u64, _set: SetId) -> bool {
        true
    }
}

impl SnapshotSender for Trusting {
    fn send(
        &self,
        _peer: PeerOf,
        _vote: RaftVote,
        _snapshot: Snapshot,
        _cancel: LocalBoxFuture<'static, ReplicationClosed>,
        _option: RPCOption,
    ) -> LocalBoxFuture<'static, Result<SnapshotResponse<SetConfig>, StreamingError<SetConfig>>>
    {
        unreachable!("the log is never purged")
    }
}

enum Work {
    Call(u16, Bytes, CallReply),
    Append(IncomingAppends),
}

/// Hands everything to the set's task.
struct Desk(mpsc::UnboundedSender<Work>);

impl Gate for Desk {
    fn admit(&self, _: &Hello, _: Option<u64>) -> Result<(), PeerRefusal> {
        Ok(())
    }
}

impl PulseSource for Desk {
    fn pulse(&self) -> Bytes {
        Bytes::new()
    }

    fn on_pulse(&self, _: u64, _: Bytes) {}
}

impl PeerService for Desk {
    fn call(&self, _: Caller, _: Option<SetId>, method: u16, payload: Bytes, reply: CallReply) {
        self.0.send(Work::Call(method, payload, reply)).unwrap();
    }

    fn open_append(&self, _: u64, set: SetId, stream: IncomingAppends) {
        assert_eq!(set, SET);
        self.0.send(Work::Append(stream)).unwrap();
    }
}

struct Replica {
    node: u64,
    raft: TestRaft,
    peers: Peers,
    collector: Collector,
    _folder: TempDir,
}

impl Replica {
    async fn start(node: u64) -> (Replica, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, work) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk(sender));
        let (peers, task) = Peers::new(PeersParts {
            local: LocalNode {
                node,
                incarnation: u128::from(node),
                cluster: 9,
                format_version_max: 1,
                release: "test".to_owned(),
            },
            transport: Arc::new(PlainTransport),
            time: Arc::new(SystemTime::default()),
            random: || 3,
            gate: desk.clone(),
            pulses: desk.clone(),
            service: desk,
        });
        spawn_local(task.run(Some(listener)));
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(DiskFolder::open(folder.path()).unwrap());
        let identity = LogIdentity { node, cluster: 9 };
        let (log, _) = Log::open(disk.clone(), identity, LogOptions::default()).unwrap();
        let collector = Collector::default();
        let network = PeerNetwork {
            peers: peers.clone(),
            set: SET,
            guard: Rc::new(Trusting),
            snapshots: Rc::new(Trusting),
            catch_up_pace: Arc::new(Pace::new(u64::MAX)),
        };
        let suspicion = Suspicion::open(disk).unwrap();
        let store = LogStore::new(log, SET, suspicion.hard_state().clone());
        let raft = TestRaft::new(node, config(), network, store, collector.clone());
        let raft = raft.await.unwrap();
        spawn_local(serve(raft.clone(), work));
        let replica = Replica {
            node,
            raft,
            peers,
            collector,
            _folder: folder,
        };
        (replica, address)
    }

    fn leader(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().current_leader
    }
}

fn config() -> Arc<Config> {
    let config = Config {
        heartbeat_interval: 200,
        election_timeout_min: 1_000,
        election_timeout_max: 2_000,
        snapshot_policy: SnapshotPolicy::Never,
        enable_pre_vote: Some(true),
        ..Config::default()
    };
    Arc::new(config.validate().unwrap())
}

async fn serve(raft: TestRaft, mut work: mpsc::UnboundedReceiver<Work>) {
    while let Some(work) = work.recv().await {
        let raft = raft.clone();
        match work {
            Work::Append(stream) => drop(spawn_local(serve_append(raft, stream))),
            Work::Call(method, payload, reply) => drop(spawn_local(async move {
                reply.answer(serve_raft_call(&raft, method, payload).await);
            })),
        }
    }
}

async fn three() -> Vec<Replica> {
    let (mut replicas, mut addresses) = (Vec::new(), BTreeMap::new());
    for node in 1..=3 {
        let (replica, address) = Replica::start(node).await;
        replicas.push(replica);
        addresses.insert(node, address);
    }
    for replica in &replicas {
        replica.peers.set_members(addresses.clone());
    }
    let members: BTreeMap<_, _> = (1..=3).map(|node| (node, BasicNode::new(""))).collect();
    replicas[0].raft.initialize(members).await.unwrap();
    replicas
}

async fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = found() {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("it does not happen")
}

/// The replica that all of `replicas` take for their leader.
async fn leader_of(replicas: &[Replica]) -> usize {
    until(|| {
        let leader = replicas[0].leader()?;
        let agree = replicas
            .iter()
            .all(|replica| replica.leader() == Some(leader));
        let place = replicas.iter().position(|replica| replica.node == leader);
        place.filter(|_| agree)
    })
    .await
}

fn proposal(stamp: u64) -> Proposal {
    let body_len = 1 + (stamp as usize * 7919) % 60_000;
    let mut builder = BatchBuilder::new();
    let body = vec![stamp as u8; body_len].into();
    builder
        .push(NewMessage {
            body,
            ..NewMessage::default()
        })
        .unwrap();
    let batch = builder.finish();
    let queue = QueueId(1);
    Proposal(Arc::new(Entry {
        stamp: Timestamp(stamp),
        commands: vec![Command::Send {
            queue,
            producer: None,
            batch,
        }],
        ..Entry::default()
    }))
}

/// Proposes `stamps` at once, and again what was refused: a leader takes nothing before a majority
/// has answered it.
async fn write(replicas: &[Replica], stamps: std::ops::Range<u64>) {
    let mut missing: Vec<_> = stamps.collect();
    while !missing.is_empty() {
        let leader = &replicas[leader_of(replicas).await];
        let (done, mut results) = mpsc::unbounded_channel();
        for stamp in &missing {
            let (done, stamp) = (done.clone(), *stamp);
            let on_complete =
                move |result: WriteResult| done.send((stamp, result.is_ok())).unwrap();
            let responder = Some(Responder::new(on_complete));
            let proposed = leader.raft.client_write_ff(proposal(stamp), responder);
            proposed.await.unwrap();
        }
        for _ in 0..std::mem::take(&mut missing).len() {
            let result = tokio::time::timeout(PATIENCE, results.recv()).await;
            let (stamp, is_written) = result.unwrap().unwrap();
            if !is_written {
                missing.push(stamp);
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until every replica has applied the stamps up to `count`; all must have the same order.
async fn all_have(replicas: &[Replica], count: u64) {
    let expected: Vec<_> = (0..count)
        .map(|stamp| (stamp, proposal(stamp).0.encoded_len()))
        .collect();
    for replica in replicas {
        until(|| {
            // What was refused late may have been written all the same, and is there twice.
            let mut found = replica.collector.0.borrow().entries.clone();
            found.sort_unstable();
            found.dedup();
            (found == expected).then_some(())
        })
        .await;
    }
    let of = |replica: &Replica| replica.collector.0.borrow().entries.clone();
    until(|| {
        let first = of(&replicas[0]);
        replicas.iter().all(|one| of(one) == first).then_some(())
    })
    .await;
}

fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn three_replicas_apply_the_same_entries_through_transfers_and_a_lost_leader() {
    run(async {
        let mut replicas = three().await;
        write(&replicas, 0..1_000).await;
        all_have(&replicas, 1_000).await;
        let first = leader_of(&replicas).await;
        let target = replicas[(first + 1) % 3].node;
        let trigger = replicas[first].raft.trigger();
        trigger.transfer_leader(target).await.unwrap();
        until(|| (replicas[first].leader() == Some(target)).then_some(())).await;
        write(&replicas, 1_000..1_100).await;
        all_have(&replicas, 1_100).await;
        // The others neither reach it nor are reached.
        let second = leader_of(&replicas).await;
        let lost = replicas.remove(second);
        lost.peers.stop();
        until(|| {
            let leader = replicas[0].leader().filter(|leader| *leader != lost.node)?;
            (replicas[1].leader() == Some(leader)).then_some(())
        })
        .await;
        write(&replicas, 1_100..1_200).await;
        all_have(&replicas, 1_200).await;
    });
}

#[test]
fn a_linearizable_read_is_confirmed_by_heartbeats_over_the_network() {
    run(async {
        let replicas = three().await;
        write(&replicas, 0..1).await;
        let mut confirmed = 0;
        while confirmed < 20 {
            let raft = &replicas[leader_of(&replicas).await].raft;
            let read = raft.get_read_linearizer(openraft::ReadPolicy::ReadIndex);
            // A leader may be replaced in between: then the next one is asked.
            if let Ok(read) = read.await {
                read.await_ready(raft).await.unwrap();
                confirmed += 1;
            }
        }
    });
}

/// An entry of three messages, almost 3 MiB long.
fn long_entry(index: u64) -> RaftEntry {
    let mut builder = BatchBuilder::new();
    for _ in 0..3 {
        let body = vec![7; 1_000_000].into();
        let message = NewMessage {
            body,
            ..NewMessage::default()
        };
        builder.push(message).unwrap();
    }
    let batch = builder.finish();
    let queue = QueueId(1);
    let entry = Entry {
        stamp: Timestamp(index),
        commands: vec![Command::Send {
            queue,
            producer: None,
            batch,
        }],
        ..Entry::default()
    };
    RaftEntry {
        log_id: from_wire_id(WireLogId { term: 1, index }),
        payload: RaftPayload::Normal(Proposal(Arc::new(entry))),
    }
}

/// A leader's way to a follower that knows nothing yet, and both ends of it.
async fn one_way() -> (PeerOf, [Replica; 2]) {
    let ((one, _), (two, address)) = (Replica::start(1).await, Replica::start(2).await);
    one.peers.set_members([(2, address)].into());
    until(|| one.peers.is_connected(2).then_some(())).await;
    let mut network = PeerNetwork {
        peers: one.peers.clone(),
        set: SET,
        guard: Rc::new(Trusting),
        snapshots: Rc::new(Trusting),
        catch_up_pace: Arc::new(Pace::new(u64::MAX)),
    };
    let peer = network.new_client(2, &BasicNode::new("")).await;
    (peer, [one, two])
}

/// What the leader of term 1 appends behind the first `from` entries.
fn request(from: u64, entries: Vec<RaftEntry>, committed: Option<u64>) -> Request {
    let vote = WireVote {
        term: 1,
        node: 1,
        is_committed: true,
    };
    let id = |index| from_wire_id(WireLogId { term: 1, index });
    Request {
        vote: from_wire_vote(vote),
        prev_log_id: from.checked_sub(1).map(id),
        entries,
        leader_commit: committed.map(id),
    }
}

#[test]
fn a_request_that_fits_no_frame_is_sent_as_far_as_it_does() {
    run(async {
        let (mut peer, _replicas) = one_way().await;
        let four = |from: u64| request(from, (from..from + 4).map(long_entry).collect(), None);
        let input = Box::pin(stream::iter([four(0), four(4)]));
        let results = peer.stream_append(input, RPCOption::new(PATIENCE)).await;
        let results: Vec<_> = results
            .unwrap()
            .map(|result| result.unwrap())
            .collect()
            .await;
        // Two of four, and nothing of what would have followed.
        assert_eq!(results, [Ok(Some(long_entry(1).log_id))]);
    });
}

fn short_entry(index: u64) -> RaftEntry {
    RaftEntry {
        payload: RaftPayload::Normal(proposal(index)),
        ..long_entry(index)
    }
}

#[test]
fn a_commit_goes_with_the_entries_that_follow_it() {
    run(async {
        let (mut peer, [_one, two]) = one_way().await;
        let input = stream::iter([
            request(0, vec![short_entry(0)], None),
            request(1, vec![], Some(0)),
            request(1, vec![short_entry(1)], Some(0)),
        ]);
        let results = peer.stream_append(Box::pin(input), RPCOption::new(PATIENCE));
        let results = results.await.unwrap().map(|result| result.unwrap());
        let results: Vec<_> = results.collect().await;
        // Each request that was sent has a result: two, and the second told of the commit.
        let id = |index| Ok(Some(long_entry(index).log_id));
        assert_eq!(results, [id(0), id(1)]);
        until(|| (two.collector.0.borrow().entries.len() == 1).then_some(())).await;
    });
}

#[test]
fn a_commit_that_nothing_follows_is_told_by_itself() {
    run(async {
        let (mut peer, [_one, two]) = one_way().await;
        let (sender, input) = futures::channel::mpsc::unbounded();
        let results = peer.stream_append(Box::pin(input), RPCOption::new(PATIENCE));
        let mut results = results.await.unwrap();
        let mut next = async || timeout(PATIENCE, results.next()).await.expect("a result");
        let last = Ok(Some(long_entry(0).log_id));
        let first = request(0, vec![short_entry(0)], None);
        sender.unbounded_send(first).unwrap();
        assert_eq!(next().await.unwrap().unwrap(), last);
        sender.unbounded_send(request(1, vec![], Some(0))).unwrap();
        // The stream stays open.
        assert_eq!(next().await.unwrap().unwrap(), last);
        until(|| (two.collector.0.borrow().entries.len() == 1).then_some(())).await;
        drop(sender);
        assert!(next().await.is_none());
    });
}
