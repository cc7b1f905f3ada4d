//! What only a build that pretends to be the next release writes: notes, which need format version
//! 2, so that a test of upgrades has entries that the release before cannot read.
//!
//! As every command of a new version must be: proposed by the leader of the set, and only once the
//! catalog says that all nodes read it. Spec: spec/state.md, "Versions".

use std::time::Duration;

use sampan_core::Command;
use sampan_protocol::SetId;
use tokio::time::Instant;

use crate::reach::Reach;

/// How often leadership and format version are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Between two notes of one leader.
const NOTE_INTERVAL: Duration = Duration::from_secs(60);

/// Writes a note when this node begins to lead the set, and one every minute.
pub(crate) async fn write_notes(reach: Reach, set: SetId) {
    let mut noted_at: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if !reach.leads(set) {
            noted_at = None;
            continue;
        }
        let note = Command::Note {
            text: format!("node {} leads", reach.node),
        };
        let directory = reach.directory();
        let cluster = directory.map().cluster.as_ref();
        let is_read =
            cluster.is_some_and(|cluster| cluster.format_version >= note.version_needed());
        let is_due = noted_at.is_none_or(|noted_at| noted_at.elapsed() >= NOTE_INTERVAL);
        if !is_read || !is_due {
            continue;
        }
        match reach.propose(set, note).await {
            Ok(_) => {
                noted_at = Some(Instant::now());
                tracing::info!(%set, "an entry of format version 2 was written");
            }
            Err(refused) => tracing::debug!(%set, error = %refused, "no note yet"),
        }
    }
}
