//! `sampan restore`: makes the data folder of a new cluster of one node from a backup.
//!
//! No node runs meanwhile. Exit codes: 0 restored, 1 the backup is damaged or something failed, 2
//! there is no backup, or the data folder is not empty.

use std::error::Error;

use sampan_cluster::{RestoreError, Restored, restore};
use serde_json::json;

use super::args::RestoreArguments;
use super::failure::Failure;
use super::output::Output;

/// Restores the backup and prints what came back.
pub(crate) fn run(arguments: &RestoreArguments, output: &mut Output) -> Result<(), Failure> {
    let RestoreArguments {
        backup,
        data,
        node_id,
    } = arguments;
    let restored = restore(backup.clone(), data.clone(), *node_id, rand::random::<u64>);
    let restored = restored.map_err(|error| failure(&error))?;
    let Restored {
        cluster,
        old_cluster,
        catalog_index,
        set_count,
        queue_count,
    } = restored;
    let text = format!(
        "restored to {} (queues: {queue_count}, sets: {set_count}): node {node_id} of the new \
         cluster {cluster:032x}; other nodes join it with empty folders",
        data.display()
    );
    let value = json!({
        "data": data.display().to_string(),
        "node": node_id,
        "cluster": format!("{cluster:032x}"),
        "old_cluster": format!("{old_cluster:032x}"),
        "catalog_index": catalog_index,
        "set_count": set_count,
        "queue_count": queue_count,
    });
    output.either(&text, &value)
}

fn failure(error: &RestoreError) -> Failure {
    let mut text = format!("not restored: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    match error {
        RestoreError::NoBackup(_) | RestoreError::NotEmpty(_) | RestoreError::InUse(_) => {
            Failure::Usage(text)
        }
        _ => Failure::Partial(text),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::args::Format;
    use super::super::output::tests::attempted;
    use super::*;

    fn restored(backup: &Path, data: &Path) -> Failure {
        let arguments = RestoreArguments {
            backup: backup.to_owned(),
            data: data.to_owned(),
            node_id: 1,
        };
        let (text, done) = attempted(Format::Table, |output| run(&arguments, output));
        assert_eq!(text, "");
        done.unwrap_err()
    }

    #[test]
    fn what_is_no_backup_is_wrong_usage_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let (backup, data) = (folder.path().join("backup"), folder.path().join("data"));
        for _ in 0..2 {
            let failure = restored(&backup, &data);
            assert_eq!(failure.exit_code(), 2, "{failure}");
            assert!(failure.to_string().contains("no backup"), "{failure}");
            assert!(!data.exists());
            // The second time it is a folder without a manifest.
            fs::create_dir_all(&backup).unwrap();
        }
    }

    #[test]
    fn a_damaged_manifest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("manifest"), "SMPNBKP1").unwrap();
        let failure = restored(folder.path(), &folder.path().join("data"));
        assert_eq!(failure.exit_code(), 1, "{failure}");
        let name = folder.path().join("manifest").display().to_string();
        assert!(failure.to_string().contains(&name), "{failure}");
    }
}
