//! All rounds of a run, and what is printed of them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::checker::Past;
use super::fault::Fault;
use super::history::Event;
use super::inject::USED_LEN_MAX;
use super::options::Options;
use super::report::{Report, Round};
use super::round::{self, Stand};
use crate::cluster::{Cluster, ClusterOptions};

/// Rounds on one cluster.
const ROUNDS_PER_CLUSTER: u64 = 20;
/// A run that went wrong as often as this tells nothing new.
const VIOLATION_COUNT_MAX: u32 = 5;
const SET_COUNT: u32 = 4;
/// Lines of each node's log that are printed after a violation.
const LOG_LINE_COUNT: usize = 30;

/// Runs all rounds; fails if any promise was broken, or if the run is too poor to tell.
pub(crate) fn run(options: &Options) {
    let faults = plan(options);
    say(&format!("{} rounds, seed {}", faults.len(), options.seed));
    let mut report = Report::default();
    let mut stand: Option<(Stand, u64)> = None;
    let mut violation_count = 0;
    for (number, fault) in (1..).zip(faults) {
        let (mut current, age) = stand.take().unwrap_or_else(|| (fresh(options), 0));
        let (round, events) = round::run(&mut current, options, fault, number);
        say(&round.to_string());
        report.add(&round);
        if !round.violations.is_empty() {
            tell(&mut current, options, &round, &events);
            violation_count += 1;
            if violation_count == VIOLATION_COUNT_MAX {
                break;
            }
        } else if age + 1 < ROUNDS_PER_CLUSTER {
            stand = Some((current, age + 1));
        }
    }
    drop(stand);
    say(&format!("\n{report}"));
    assert_eq!(
        violation_count, 0,
        "rounds in which a promise was broken; see above"
    );
    if let Some(trouble) = report.trouble(options.node_count == 1) {
        panic!("{trouble}: the run tells nothing");
    }
}

/// One kind after the other in a random order, and again in another.
fn plan(options: &Options) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut plan = Vec::new();
    while (plan.len() as u64) < options.round_count {
        let mut faults = options.faults.clone();
        faults.shuffle(&mut random);
        plan.extend(faults);
    }
    plan.truncate(usize::try_from(options.round_count).expect("some hundreds"));
    plan
}

fn fresh(options: &Options) -> Stand {
    Stand {
        cluster: Cluster::start(
            ClusterOptions {
                node_count: options.node_count,
                set_count: SET_COUNT,
                storage: format!("used_len_max = {USED_LEN_MAX}"),
            },
            &Default::default(),
        ),
        past: Past::default(),
        numbers: Arc::new(AtomicU64::new(1)),
    }
}

/// To stdout at once, also when the output of tests is captured.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // Without a reader, the verdict still counts.
    drop(writeln!(stdout, "{text}"));
}

/// Everything that helps to understand a violation.
fn tell(stand: &mut Stand, options: &Options, round: &Round, events: &[Event]) {
    for violation in &round.violations {
        say(&format!("  {}: {}", violation.rule, violation.text));
    }
    for (id, node) in &stand.cluster.nodes {
        let log = node.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINE_COUNT)..];
        say(&format!(
            "the end of the log of node {id}:\n{}",
            tail.join("\n")
        ));
    }
    let folder = stand.cluster.keep();
    let history = dump(&folder, events);
    say(&format!(
        "the nodes' folders are kept: {}",
        folder.display()
    ));
    say(&format!("the history: {}", history.display()));
    say(&format!(
        "repeat with: {}",
        options.repeat(round.fault, round.seed)
    ));
}

fn dump(folder: &Path, events: &[Event]) -> PathBuf {
    let path = folder.join("history.txt");
    let file = std::fs::File::create(&path).expect("the history's file can be made");
    let mut file = std::io::BufWriter::new(file);
    for event in events {
        writeln!(file, "{event:?}").expect("the history can be written");
    }
    file.flush().expect("the history can be written");
    path
}
