//! Makes the sets' memberships what the catalog wants, and spreads their leaders.
//!
//! Runs on every node and acts on the one that leads set 0. One step at a time, each repeatable: a
//! planner that is cut off in the middle leaves nothing that the next one does not finish. It wants
//! nothing that a set's leader does not check again before it acts.
//!
//! Spec: spec/semantics.md, "Nodes and sets".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sampan_core::placement::{PlacementNode, SetLeadership, VoterState, leaders, place};
use sampan_core::{CatalogCommand, Command, FORMAT_VERSION_MIN, NodeState, Reply, SetRecord};
use sampan_protocol::{ErrorCode, SetId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::soundness::{could_lead, has_wrong_clock, is_sound, led_sets, line_of};
use crate::board::SetLine;
use crate::calls::{Members, Method};
use crate::catalog::ClusterMap;
use crate::reach::Reach;
use crate::set::{Refused, SetRequest, ToReplica};
use crate::status::LeaderMove;
use crate::view::View;

/// How often the planner looks.
const INTERVAL: Duration = Duration::from_millis(250);
/// Pause between two hand-overs that only spread leaders.
const SPREAD_PAUSE: Duration = Duration::from_secs(2);
/// Leaders are spread once no leader has changed for this long: an election is not to be followed
/// by another.
const CALM_BEFORE_SPREAD: Duration = Duration::from_secs(3);
/// Replicas per set.
const REPLICA_COUNT: u8 = 3;
const CATALOG: SetId = SetId(0);

/// See the module's documentation.
pub(crate) struct Planner {
    reach: Reach,
    view: View,
    cluster: u128,
    set_count: u32,
    leaders: BTreeMap<SetId, u64>,
    calm_since: Instant,
    spread_at: Instant,
    /// What the last checkpoint of set 0 here says of nodes and sets.
    written: Arc<Mutex<Option<Arc<ClusterMap>>>>,
    is_writing: Arc<AtomicBool>,
}

impl Planner {
    pub(crate) fn new(reach: Reach, view: View, cluster: u128, set_count: u32) -> Self {
        Planner {
            reach,
            view,
            cluster,
            set_count,
            leaders: BTreeMap::new(),
            calm_since: Instant::now(),
            spread_at: Instant::now(),
            written: Arc::default(),
            is_writing: Arc::default(),
        }
    }

    /// Runs until the node stops.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.connect_members();
            self.write_down();
            self.reach.board.forget_silent();
            self.watch_leaders();
            if !self.reach.leads(CATALOG) {
                continue;
            }
            // Also when it is said that a node shuts down: it may be another one. This one's end
            // ends the task.
            if let Err(refused) = self.step().await {
                tracing::debug!(error = %refused, "the plan waits");
            }
        }
    }

    /// Keeps connections to all nodes that the catalog knows.
    fn connect_members(&self) {
        let Some(peers) = self.reach.peers() else {
            return;
        };
        let directory = self.reach.directory();
        let nodes = directory.map().nodes.iter();
        let members = nodes
            .filter(|record| record.state != NodeState::Replaced && !record.peer_address.is_empty())
            .map(|record| (record.node, record.peer_address.clone()));
        peers.set_members(members.collect());
    }

    /// Has set 0 written down here when nodes or sets changed: after a power cut the nodes must
    /// know each other before there is a leader to ask.
    fn write_down(&self) {
        let map = self.reach.directory().map().clone();
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = written
            .as_ref()
            .is_some_and(|written| written.nodes == map.nodes && written.sets == map.sets);
        drop(written);
        let Ok(catalog) = self.reach.set(CATALOG) else {
            return;
        };
        if is_same || self.is_writing.swap(true, Ordering::Relaxed) {
            return;
        }
        let (catalog, written, is_writing) = (
            catalog.clone(),
            self.written.clone(),
            self.is_writing.clone(),
        );
        tokio::task::spawn_local(async move {
            let (done, durable) = oneshot::channel();
            let asked = catalog.request(SetRequest::Checkpoint(done)).await;
            if asked.is_ok() && matches!(durable.await, Ok(Ok(_))) {
                *written.lock().unwrap_or_else(PoisonError::into_inner) = Some(map);
            }
            is_writing.store(false, Ordering::Relaxed);
        });
    }

    fn watch_leaders(&mut self) {
        let now = self.reach.board.sets();
        let now: BTreeMap<SetId, u64> = now
            .filter_map(|set| Some((set, self.reach.board.leader(set)?)))
            .collect();
        if now != self.leaders {
            self.leaders = now;
            self.calm_since = Instant::now();
        }
    }

    async fn step(&mut self) -> Result<(), Refused> {
        let directory = self.reach.directory();
        let map = directory.map().clone();
        if map.cluster.is_none() {
            return self.found().await;
        }
        // Alone, there is nobody to place or to hand over to.
        if self.reach.peers().is_none() {
            return Ok(());
        }
        self.place(&map).await?;
        self.change_members(&map).await;
        self.forget_gone(&map).await?;
        self.spread_leaders().await;
        Ok(())
    }

    async fn found(&self) -> Result<(), Refused> {
        self.decide(CatalogCommand::ClusterFound {
            cluster: self.cluster,
            set_count: self.set_count,
            replica_count: REPLICA_COUNT,
            format_version: FORMAT_VERSION_MIN,
        })
        .await
    }

    async fn decide(&self, command: CatalogCommand) -> Result<(), Refused> {
        let reply = self
            .reach
            .propose(CATALOG, Command::Catalog(command))
            .await?;
        match reply {
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Ok(()),
        }
    }

    /// Decides who is to vote where.
    async fn place(&self, map: &ClusterMap) -> Result<(), Refused> {
        let led = led_sets(&self.reach, &self.view);
        for record in placements(self.set_count, map, led) {
            self.decide(CatalogCommand::SetPlace(record)).await?;
        }
        Ok(())
    }

    /// Asks the leader of each set whose members are not as wanted to take the next step.
    async fn change_members(&self, map: &ClusterMap) {
        for (set, line) in led_sets(&self.reach, &self.view) {
            let Some(wanted) = map.wanted_voters(set) else {
                continue;
            };
            let voters: BTreeSet<u64> = wanted.voters.iter().copied().collect();
            let learners = match set {
                CATALOG => learners_of_catalog(map, &voters),
                _ => BTreeSet::new(),
            };
            let is = |nodes: &[u64]| nodes.iter().copied().collect::<BTreeSet<u64>>();
            if is(&line.voters) == voters && is(&line.learners) == learners {
                continue;
            }
            let leader = line.leader.unwrap_or(0);
            if !voters.contains(&leader) {
                // The leader is to go: somebody else must lead first.
                if let Err(refused) = hand_over(&self.reach, set, Bytes::from(vec![0; 8])).await {
                    tracing::debug!(%set, error = %refused, "nobody takes the lead over yet");
                }
                continue;
            }
            let members = Members {
                voters: voters.into_iter().collect(),
                learners: learners.into_iter().collect(),
            };
            self.ask_to_change(set, members).await;
        }
    }

    async fn ask_to_change(&self, set: SetId, members: Members) {
        let payload = members.encode();
        let asked = ask_leader(&self.reach, set, Method::ChangeMembers, payload).await;
        if let Err(refused) = asked {
            tracing::debug!(%set, ?members, error = %refused, "members not changed yet");
        }
    }

    /// Nodes that were to go and are in no set any more.
    async fn forget_gone(&self, map: &ClusterMap) -> Result<(), Refused> {
        let led = led_sets(&self.reach, &self.view);
        if led.len() != self.reach.board.set_count() {
            return Ok(());
        }
        for record in &map.nodes {
            if record.state != NodeState::Leaving {
                continue;
            }
            let is_member = led.iter().any(|(_, line)| {
                line.voters.contains(&record.node) || line.learners.contains(&record.node)
            });
            let is_wanted = map.sets.iter().any(|set| set.voters.contains(&record.node));
            if !is_member && !is_wanted {
                let (node, incarnation) = (record.node, record.incarnation);
                self.decide(CatalogCommand::NodeRemoved { node, incarnation })
                    .await?;
            }
        }
        Ok(())
    }

    /// Hands one leadership over when they are not spread, or a draining node has some.
    async fn spread_leaders(&mut self) {
        let moves = leader_moves(&self.reach, &self.view);
        let directory = self.reach.directory();
        let is_draining = |node: u64| {
            let record = directory.map().node(node);
            record.is_some_and(|record| record.is_draining || record.state == NodeState::Leaving)
        };
        let urgent = moves.iter().find(|one| is_draining(one.from));
        let is_calm = self.calm_since.elapsed() > CALM_BEFORE_SPREAD
            && self.spread_at.elapsed() > SPREAD_PAUSE;
        let next = urgent.or(moves.first().filter(|_| is_calm));
        let Some(next) = next else { return };
        self.spread_at = Instant::now();
        let payload = crate::calls::encode_index(next.to);
        let handed_over = hand_over(&self.reach, next.set, payload).await;
        match handed_over {
            Ok(()) => tracing::info!(set = %next.set, from = next.from, to = next.to,
                "leadership handed over"),
            Err(refused) => tracing::debug!(set = %next.set, error = %refused, "not handed over"),
        }
    }
}

/// What is to be decided of the sets' voters, given the sets whose leader is known.
fn placements(set_count: u32, map: &ClusterMap, led: Vec<(SetId, SetLine)>) -> Vec<SetRecord> {
    let nodes: Vec<PlacementNode> = map.nodes.iter().map(placement_node).collect();
    let mut current: BTreeMap<SetId, Vec<u64>> = map
        .sets
        .iter()
        .map(|record| (record.set, record.voters.clone()))
        .collect();
    // What was never decided is as it is.
    for (set, line) in led {
        if !line.voters.is_empty() {
            current.entry(set).or_insert(line.voters);
        }
    }
    let placed = place(set_count, &nodes, &current, REPLICA_COUNT);
    // Every set has voters from its founding on. Whoever does not know them yet waits for the
    // leader to say: placed as if it had none, the set would lose those that it has.
    let known = placed
        .into_iter()
        .filter(|(set, voters)| current.contains_key(set) && !voters.is_empty());
    let is_decided = |set, voters: &Vec<u64>| {
        map.wanted_voters(set)
            .is_some_and(|record| record.voters == *voters)
    };
    known
        .filter(|(set, voters)| !is_decided(*set, voters))
        .map(|(set, voters)| SetRecord {
            set,
            voters,
            preferred_leader: None,
        })
        .collect()
}

fn placement_node(record: &sampan_core::NodeRecord) -> PlacementNode {
    PlacementNode {
        node: record.node,
        zone: record.zone.clone(),
        is_usable: record.state != NodeState::Leaving,
    }
}

fn learners_of_catalog(map: &ClusterMap, voters: &BTreeSet<u64>) -> BTreeSet<u64> {
    let active = map.active().map(|record| record.node);
    active.filter(|node| !voters.contains(node)).collect()
}

/// The hand-overs after which no draining node leads and leaders are spread.
pub(crate) fn leader_moves(reach: &Reach, view: &View) -> Vec<LeaderMove> {
    let directory = reach.directory();
    let nodes = directory.map().nodes.iter();
    let draining: BTreeSet<u64> = nodes
        .filter(|record| record.is_draining || record.state == NodeState::Leaving)
        .map(|record| record.node)
        .collect();
    let offsets_ms = reach.clock_offsets_ms();
    let is_heir = |node: u64, set: SetId, leader: &SetLine| {
        let line = line_of(reach, view, node, set);
        line.is_some_and(|line| is_sound(&line, leader) && could_lead(&line))
            && !has_wrong_clock(&offsets_ms, node)
    };
    let sets: Vec<SetLeadership> = led_sets(reach, view)
        .into_iter()
        .map(|(set, line)| {
            let voter = |node: &u64| VoterState {
                node: *node,
                is_caught_up: is_heir(*node, set, &line),
            };
            SetLeadership {
                set,
                leader: line.leader,
                voters: line.voters.iter().map(voter).collect(),
            }
        })
        .collect();
    let moves = leaders(&sets, &draining).into_iter();
    moves
        .map(|one| LeaderMove {
            set: one.set,
            from: one.from,
            to: one.to,
        })
        .collect()
}

/// Asks a set's leader to hand over; `payload` names the heir, 0 for anybody.
pub(crate) async fn hand_over(reach: &Reach, set: SetId, payload: Bytes) -> Result<(), Refused> {
    ask_leader(reach, set, Method::HandOver, payload).await
}

/// Asks the set's leader for something, also when that is this node.
async fn ask_leader(
    reach: &Reach,
    set: SetId,
    method: Method,
    payload: Bytes,
) -> Result<(), Refused> {
    if !reach.leads(set) {
        return reach.call_leader(set, method, payload).await.map(drop);
    }
    let no_leader = || Refused::retry_after(ErrorCode::NoLeader, 100);
    let replica = reach.replica(set).ok_or_else(no_leader)?;
    let (done, answer) = oneshot::channel();
    let asked = replica.send(ToReplica::Ask {
        method,
        payload,
        done,
    });
    let stopping = || Refused::new(ErrorCode::ShuttingDown);
    asked.await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?.map(drop)
}

#[cfg(test)]
mod tests {
    use sampan_core::NodeRecord;
    use sampan_protocol::Timestamp;

    use super::*;

    fn active(node: u64) -> NodeRecord {
        NodeRecord {
            node,
            incarnation: node.into(),
            peer_address: String::new(),
            client_address: String::new(),
            http_address: String::new(),
            zone: String::new(),
            is_draining: false,
            state: NodeState::Active,
            format_version_max: 1,
            release: String::new(),
            joined_at: Timestamp(1),
        }
    }

    #[test]
    fn a_set_that_was_never_placed_waits_for_its_leader() {
        let map = ClusterMap {
            nodes: [1, 2, 3, 4].map(active).into(),
            ..ClusterMap::default()
        };
        let line = |voters: &[u64]| SetLine {
            voters: voters.to_vec(),
            ..SetLine::default()
        };
        assert_eq!(placements(2, &map, Vec::new()), []);
        let placed = placements(2, &map, vec![(SetId(1), line(&[4]))]);
        let sets: Vec<SetId> = placed.iter().map(|record| record.set).collect();
        assert_eq!(sets, [SetId(1)]);
        assert!(placed[0].voters.contains(&4), "{placed:?}");
    }
}
