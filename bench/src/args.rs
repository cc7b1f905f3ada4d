//! The arguments of the load generator: names and defaults, and nothing that acts.

mod ceiling;
mod cluster;
mod suite;
mod workload;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

pub(crate) use self::ceiling::CeilingArguments;
pub(crate) use self::cluster::{ClusterArguments, DurabilityArgument};
pub(crate) use self::suite::{CompareArguments, SuiteArguments};
pub(crate) use self::workload::Workload;
use crate::ceiling::Part;

/// Load generator for Sampan: starts real nodes, drives them through the SDK, and measures.
#[derive(Debug, Parser)]
#[command(name = "sampan-bench", version, about, long_about = None,
    args_override_self = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Measure one workload against a cluster on this machine.
    Cluster(Box<ClusterArguments>),
    /// Measure what this machine can do at most: framed TCP, a group commit to a preallocated log
    /// with fdatasync, an acknowledgement, and nothing else.
    Ceiling(CeilingArguments),
    /// Measure the project's targets, each several times, and write a report.
    Suite(SuiteArguments),
    /// Show two results side by side, and in what their conditions differ.
    Compare(CompareArguments),
    /// One process of `ceiling`.
    #[command(subcommand, hide = true)]
    CeilingPart(Part),
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

impl Switch {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Switch::On => "on",
            Switch::Off => "off",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn switches_have_the_names_that_are_parsed() {
        for switch in Switch::value_variants() {
            let value = switch.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), switch.name());
        }
    }
}
