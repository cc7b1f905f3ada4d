//! What a figure comes from: which build, when, and on which machine. Two figures are comparable
//! only as far as these agree.

use serde::{Deserialize, Serialize};

use super::Row;
use crate::date;
use crate::machine::Machine;

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) version: String,
    /// What git called the source when this program was built; `None`: it was built without git.
    pub(crate) revision: Option<String>,
    /// When it was measured, UTC.
    pub(crate) date: String,
    pub(crate) machine: Machine,
}

impl Origin {
    /// Of a figure that is measured now and here.
    pub(crate) fn here() -> Self {
        Origin {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: option_env!("SAMPAN_BENCH_REVISION").map(str::to_owned),
            date: date::now(),
            machine: Machine::read(),
        }
    }

    /// Version and revision.
    pub(crate) fn build(&self) -> String {
        let revision = self.revision.as_deref().unwrap_or("unknown");
        format!("{}, revision {revision}", self.version)
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        vec![
            ("version", format!("{}, {}", self.build(), self.date)),
            ("machine", self.machine.to_string()),
        ]
    }
}
