//! The arguments of `sampan-bench suite` and `sampan-bench compare`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `sampan-bench suite`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SuiteArguments {
    /// Folder for results.json and report.html; it is made. Rows of a results.json that is there
    /// stay, unless they are measured again.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Only these rows, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "ROWS")]
    pub(crate) only: Vec<String>,
    /// How often each row is measured; the median counts. Default: 5, with --quick 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) runs: Option<u32>,
    /// How long each step is measured, where its row has no time of its own. Default: 5, with
    /// --quick 2.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: Option<u32>,
    /// Small numbers and short times: to see that all works. Such figures say nothing, and are
    /// marked.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print the rows with their commands, and measure nothing.
    #[arg(long)]
    pub(crate) list: bool,
}

impl SuiteArguments {
    pub(crate) fn runs(&self) -> u32 {
        self.runs.unwrap_or(if self.quick { 1 } else { 5 })
    }

    pub(crate) fn seconds(&self) -> u32 {
        self.seconds.unwrap_or(if self.quick { 2 } else { 5 })
    }
}

/// Arguments of `sampan-bench compare`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompareArguments {
    /// A result: of `cluster --json`, of `ceiling --json`, or the results.json of `suite`.
    pub(crate) before: PathBuf,
    /// Another result of the same kind.
    pub(crate) after: PathBuf,
}
