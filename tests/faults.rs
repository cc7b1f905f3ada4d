//! The fault program: real processes under load, one fault after another, and a verdict on each.
//!
//! A round is load, a fault under load, load again, healing, draining and the check of everything
//! that clients were told (`faults/checker`). Rounds follow each other on one cluster; a fresh one
//! is formed now and then, and after a violation. What is done follows from the seed, so a round
//! can be repeated, though not its timing.
//!
//! docs/reliability.md says how to run it and what came of it.

#[path = "support/cluster/mod.rs"]
mod cluster;
#[path = "support/first_line.rs"]
mod first_line;
#[path = "support/log_batches.rs"]
mod log_batches;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/waiting.rs"]
mod waiting;

#[path = "faults"]
mod faults {
    pub(crate) mod checker;
    pub(crate) mod fault;
    pub(crate) mod history;
    pub(crate) mod inject;
    pub(crate) mod load;
    pub(crate) mod metrics;
    pub(crate) mod options;
    pub(crate) mod report;
    pub(crate) mod round;
    pub(crate) mod run;
    pub(crate) mod terms;
}

use faults::options::Options;

/// Goal: no fault makes the cluster break a promise. Method: see the head of the file.
#[test]
#[cfg_attr(not(feature = "simulation"), ignore = "takes minutes")]
fn no_fault_breaks_a_promise() {
    faults::run::run(&Options::from_env());
}
