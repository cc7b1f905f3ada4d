//! Faults, carried out: each begins, lasts, and is over when the call returns.
//!
//! Over means that its cause is gone; that the cluster is whole again is for others to find out.

mod clocks;
mod damage;
mod membership;
mod partitions;
mod processes;
mod storage;

use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

pub(crate) use self::storage::USED_LEN_MAX;
use super::checker::Cut;
use super::fault::Fault;
use super::history::History;
use crate::cluster::Cluster;
use crate::cluster::node::{Launch, Node};
use crate::cluster::status::Status;
use crate::waiting::within;

/// Somebody answers by then, unless the cluster is broken.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What a fault has to work with.
pub(crate) struct Scene<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) random: &'a mut StdRng,
    /// How long the fault lasts at least.
    pub(crate) lasting: Duration,
    /// Whose clock it is by which a fault says when it came.
    pub(crate) history: &'a History,
    /// When a majority lost its power.
    pub(crate) cut: Option<Cut>,
}

/// Carries a fault out; the text says what exactly was done.
pub(crate) fn carry_out(fault: Fault, scene: &mut Scene<'_>) -> String {
    let began = Instant::now();
    let done = match fault {
        Fault::KillLeader => processes::kill(scene, Victims::Leader, false),
        Fault::KillFollower => processes::kill(scene, Victims::Follower, false),
        Fault::KillTwo => processes::kill(scene, Victims::Two, false),
        Fault::KillAll => processes::kill(scene, Victims::All, false),
        Fault::PowerCutOne => processes::kill(scene, Victims::Any, true),
        Fault::PowerCutAll => processes::kill(scene, Victims::All, true),
        Fault::PauseLeader => processes::pause(scene, Victims::Leader),
        Fault::PauseFollower => processes::pause(scene, Victims::Follower),
        Fault::RollingRestart => processes::rolling_restart(scene),
        Fault::IsolateLeader => partitions::isolate(scene),
        Fault::OneWay => partitions::one_way(scene),
        Fault::Flapping => partitions::flapping(scene),
        Fault::SlowLinks => partitions::slow(scene),
        Fault::ClockHour => clocks::jump(scene, Duration::from_secs(3_600)),
        Fault::ClockMonth => clocks::jump(scene, Duration::from_secs(30 * 86_400)),
        Fault::DiskFull => storage::fill(scene),
        Fault::FlippedLogBit => storage::flip_log(scene),
        Fault::FlippedStoreBit => storage::flip_store(scene),
        Fault::TruncatedLog => storage::truncate_log(scene),
        Fault::WipedFolder => membership::wipe(scene),
        Fault::ReplaceNode => membership::replace(scene),
        Fault::AddAndRemoveNode => membership::add_and_remove(scene),
        Fault::TransferLeader => membership::transfer(scene),
        Fault::Drain => membership::drain(scene),
    };
    lasts(scene.lasting.saturating_sub(began.elapsed()));
    done
}

/// Things stay as they are while the load goes on: nothing is waited for.
pub(super) fn lasts(time: Duration) {
    std::thread::sleep(time);
}

/// Which nodes a fault hits.
#[derive(Clone, Copy, Debug)]
enum Victims {
    /// The leader of a set.
    Leader,
    /// One that does not lead that set.
    Follower,
    /// A leader and one more.
    Two,
    Any,
    All,
}

impl Scene<'_> {
    fn ids(&self) -> Vec<u64> {
        self.cluster.nodes.keys().copied().collect()
    }

    fn any(&mut self) -> u64 {
        let ids = self.ids();
        *ids.choose(self.random).expect("a cluster has nodes")
    }

    fn any_but(&mut self, id: u64) -> u64 {
        let mut ids = self.ids();
        ids.retain(|other| *other != id);
        *ids.choose(self.random)
            .expect("a cluster has several nodes")
    }

    /// What any node says of the cluster.
    fn status(&mut self) -> Status {
        within(ANSWER_MAX, "a node's status", || {
            let id = self.any();
            let status = self.cluster.status_at(id);
            status.filter(|status| !status.sets.is_empty())
        })
    }

    /// A set that has a leader, and its leader.
    fn led_set(&mut self) -> (u64, u64) {
        within(ANSWER_MAX, "a set that has a leader", || {
            let status = self.status();
            let led = status
                .sets
                .iter()
                .filter_map(|set| Some((set.set, set.leader?)));
            let led: Vec<(u64, u64)> = led.collect();
            let known = |led: &&(u64, u64)| self.cluster.nodes.contains_key(&led.1);
            let led: Vec<&(u64, u64)> = led.iter().filter(known).collect();
            led.choose(self.random).map(|led| **led)
        })
    }

    fn leader(&mut self) -> u64 {
        match self.cluster.nodes.len() {
            1 => self.any(),
            _ => self.led_set().1,
        }
    }

    fn victims(&mut self, victims: Victims) -> Vec<u64> {
        match victims {
            Victims::Leader => vec![self.leader()],
            Victims::Any => vec![self.any()],
            Victims::All => self.ids(),
            Victims::Follower => {
                let leader = self.leader();
                vec![self.any_but(leader)]
            }
            Victims::Two => {
                let leader = self.leader();
                vec![leader, self.any_but(leader)]
            }
        }
    }

    fn launch(&mut self, id: u64) {
        self.cluster.launch(id, &Launch::default());
    }

    fn node(&mut self, id: u64) -> &mut Node {
        self.cluster
            .nodes
            .get_mut(&id)
            .expect("a node of the cluster")
    }

    /// A part of the fault's time.
    fn wait(&mut self, share: std::ops::Range<f64>) {
        let share = self.random.random_range(share);
        lasts(self.lasting.mul_f64(share));
    }
}
