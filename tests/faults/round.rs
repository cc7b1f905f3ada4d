//! One round: load, a fault, load, healing, a look at the counts, draining, the verdict.
//!
//! The cluster is empty and whole before and after, so rounds can follow each other on one cluster.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::checker::{Case, Cut, Groups, Past, Still, Violation, check, what_lasts};
use super::fault::Fault;
use super::history::{Event, History};
use super::inject::{Scene, carry_out, lasts};
use super::load::{
    self, AGAIN, DEAD, GROUP_COUNT, GROUPED, LAZY, Load, LoadOptions, QUEUES, Stage,
};
use super::metrics;
use super::options::Options;
use super::report::{Availability, Round};
use super::terms::TermWatch;
use crate::cluster::Cluster;
use crate::waiting::{looks, within};

/// A cluster that is not whole that long after a fault never will be.
const WHOLE_MAX: Duration = Duration::from_secs(60);
/// Queues that are not empty by then never will be.
const DRAIN_MAX: Duration = Duration::from_secs(90);
/// Entries that a replica may be behind while the load goes on.
const LAG_MAX: u64 = 256;
/// How long messages pile up before the counts are looked at.
const PILE_UP: Duration = Duration::from_secs(1);

/// What rounds on one cluster share.
pub(crate) struct Stand {
    pub(crate) cluster: Cluster,
    pub(crate) past: Past,
    pub(crate) numbers: Arc<AtomicU64>,
}

/// What was seen of a round; the verdict follows from it alone.
struct Seen {
    done: String,
    disturbed: Vec<(u64, u64)>,
    cut: Option<Cut>,
    healed_at_us: u64,
    stopped_at_us: u64,
    leader_changes: u64,
    still: Option<Still>,
    left: Vec<u64>,
    /// Broken promises that no event tells of.
    troubles: Vec<Violation>,
}

impl Seen {
    fn new() -> Seen {
        Seen {
            done: String::new(),
            disturbed: Vec::new(),
            cut: None,
            healed_at_us: 0,
            stopped_at_us: 0,
            leader_changes: 0,
            still: None,
            left: Vec::new(),
            troubles: Vec::new(),
        }
    }

    fn trouble(&mut self, rule: &'static str, text: String) {
        self.troubles.push(Violation { rule, text });
    }
}

/// Runs a round; also returns its history.
pub(crate) fn run(
    stand: &mut Stand,
    options: &Options,
    fault: Fault,
    number: u64,
) -> (Round, Vec<Event>) {
    let began = Instant::now();
    let seed = options.seed.wrapping_add(number - 1);
    let history = Arc::new(History::new());
    let load = Load::start(LoadOptions {
        env: stand.cluster.env(),
        seed,
        body_seed: options.seed,
        rate: options.rate,
        history: history.clone(),
        numbers: stand.numbers.clone(),
    });
    let mut seen = Seen::new();
    let endpoints = stand.cluster.nodes.values().map(|node| node.http_address());
    let watch = TermWatch::start(endpoints.collect(), history.clone());
    let lasting = Duration::from_secs(options.load_seconds);
    let mut random = StdRng::seed_from_u64(seed);
    let scene = Scene {
        cluster: &mut stand.cluster,
        random: &mut random,
        lasting,
        history: &history,
        cut: None,
    };
    disturb(scene, fault, &mut seen);
    settle(&stand.cluster, &load, &history, &mut seen);
    load.end();
    look_at_nodes(&stand.cluster, &mut seen);
    let changes = watch.end();
    seen.leader_changes = changes.len() as u64;
    let stretches = changes
        .iter()
        .map(|change| (change.from_us, change.until_us));
    seen.disturbed.extend(stretches);
    let (events, notes) = history.take();
    let case = Case {
        events: &events,
        notes: &notes,
        disturbed: &seen.disturbed,
        healed_at_us: seen.healed_at_us,
        stopped_at_us: seen.stopped_at_us,
        allowed: fault.allowed(),
        queue_count: QUEUES.len() as u16,
        moves: &moves(),
        groups: Some(Groups {
            queue: GROUPED,
            count: GROUP_COUNT,
        }),
        lazy: Some(LAZY),
        cut: seen.cut,
        still: seen.still.clone(),
        left: &seen.left,
    };
    let mut violations = check(&case, &stand.past);
    violations.extend(seen.troubles);
    stand.past.add(&what_lasts(&case));
    let round = Round {
        number,
        seed,
        fault,
        done: seen.done,
        availability: Availability::new(
            &events,
            load::sent_to().map(|(index, _)| index),
            seen.stopped_at_us,
        ),
        leader_changes: seen.leader_changes,
        violations,
        took: began.elapsed(),
    };
    (round, events)
}

/// From which queue messages go to which.
fn moves() -> Vec<(u16, u16)> {
    let sources = load::sent_to().filter(|(_, plan)| plan.gives_up);
    let given_up = sources.flat_map(|(index, _)| [(index, DEAD), (index, AGAIN)]);
    given_up.chain([(DEAD, AGAIN)]).collect()
}

/// Load before, during and after the fault, until the cluster is whole again.
fn disturb(mut scene: Scene<'_>, fault: Fault, seen: &mut Seen) {
    let history = scene.history;
    wait_for_first_events(history);
    lasts(scene.lasting);
    let began_us = history.now_us();
    let done = panic::catch_unwind(AssertUnwindSafe(|| carry_out(fault, &mut scene)));
    match done {
        Ok(done) => seen.done = done,
        Err(panic) => seen.trouble("the fault can be carried out", text_of(&*panic)),
    }
    seen.cut = scene.cut;
    seen.healed_at_us = history.now_us();
    let healed = Instant::now();
    if let Err(trouble) = scene.cluster.wait_until_whole(WHOLE_MAX, LAG_MAX) {
        seen.trouble("the cluster is whole again after the fault", trouble);
    }
    seen.disturbed.push((began_us, history.now_us()));
    lasts(scene.lasting.saturating_sub(healed.elapsed()));
}

fn wait_for_first_events(history: &History) {
    within(WHOLE_MAX, "the first event of the load", || {
        (history.len() > 0).then_some(())
    });
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}

/// Lets messages pile up, compares counts, and drains.
fn settle(cluster: &Cluster, load: &Load, history: &History, seen: &mut Seen) {
    load.enter(Stage::OnlySend);
    lasts(PILE_UP);
    seen.stopped_at_us = history.now_us();
    load.enter(Stage::Still);
    if !load.wait_until_still() {
        seen.trouble("every call ends", "some call is still under way".to_owned());
        return;
    }
    let event_count = history.len();
    match present(&cluster.env()) {
        Ok(present) => {
            seen.still = Some(Still {
                event_count,
                present,
            });
        }
        Err(error) => seen.trouble("counts can be asked for", error.to_string()),
    }
    load.enter(Stage::Drain);
    let mut last = None;
    let drained = looks(DRAIN_MAX, || {
        let present = last.insert(present(&cluster.env()));
        let is_empty = |present: &Vec<u64>| present.iter().all(|count| *count == 0);
        present.as_ref().is_ok_and(is_empty).then_some(())
    });
    match (drained, last) {
        (None, Some(Ok(present))) => seen.left = present,
        (None, Some(Err(error))) => seen.trouble("counts can be asked for", error.to_string()),
        _ => {}
    }
    load.enter(Stage::Still);
    if !load.wait_until_still() {
        seen.trouble(
            "every call ends",
            "some receive is still under way".to_owned(),
        );
    }
}

fn present(env: &BTreeMap<String, String>) -> Result<Vec<u64>, sampan_client::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let client = load::connect(env, true).await;
        load::present(&client).await
    })
}

/// What only the nodes know: replicas are up to date and equal.
fn look_at_nodes(cluster: &Cluster, seen: &mut Seen) {
    if cluster.is_single() {
        return;
    }
    if let Err(trouble) = cluster.wait_until_whole(WHOLE_MAX, 0) {
        seen.trouble("all replicas catch up", trouble);
    }
    for (id, node) in &cluster.nodes {
        // The metric begins anew with each process; what was logged stays.
        if node.log().contains("two replicas of a set differ") {
            let text = format!("node {id} found a difference, by its log");
            seen.trouble("the replicas' states are equal", text);
        }
        match metrics::sum(node.http_address(), "sampan_state_hash_mismatches_total") {
            Ok(0) => {}
            Ok(count) => {
                let text = format!("node {id} found {count} differences");
                seen.trouble("the replicas' states are equal", text);
            }
            Err(error) => {
                let text = format!("node {id} does not tell: {error}");
                seen.trouble("the replicas' states are equal", text);
            }
        }
    }
}
