//! `sampan backup`: has a node write a backup of the whole cluster, on its own machine.
//!
//! The node that is asked copies while it serves, for as long as that takes, so this command waits
//! without a limit of its own. A path that is not whole is taken as one of this machine, where the
//! node most often runs too. Spec: spec/admin.md.

use std::path::{Path, absolute};
use std::time::Duration;

use sampan_client::Client;
use serde_json::{Value, json};

use super::args::ClientOptions;
use super::connect::builder;
use super::failure::Failure;
use super::output::Output;

/// The longest backup: a day. A connection that breaks ends the wait before.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes a backup and prints what it has.
pub(crate) async fn run(
    options: &ClientOptions,
    folder: &Path,
    output: &mut Output,
) -> Result<(), Failure> {
    let unusable = |what: &str| Failure::Usage(format!("{}: {what}", folder.display()));
    let path = absolute(folder).map_err(|error| unusable(&error.to_string()))?;
    let path = path.to_str().ok_or_else(|| unusable("it is not UTF-8"))?;
    let builder = builder(options.env_file.as_deref())?;
    let client: Client = builder.request_timeout(WAIT_MAX).connect().await?;
    let arguments = json!({ "dir": path }).to_string();
    let text = client.admin("cluster.backup", arguments).await?;
    let answer: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::Broker(format!("the broker's answer is no JSON: {error}")))?;
    output.either(&told(&answer), &answer)
}

fn told(answer: &Value) -> String {
    format!(
        "backup of {} sets, about {} bytes of messages, in {}",
        answer["set_count"],
        answer["len"],
        answer["dir"].as_str().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_names_the_folder() {
        let answer = json!({ "dir": "/b", "set_count": 3, "len": 700, "catalog_index": 9 });
        assert_eq!(
            told(&answer),
            "backup of 3 sets, about 700 bytes of messages, in /b"
        );
    }
}
