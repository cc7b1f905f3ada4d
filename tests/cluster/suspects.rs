//! Goal: replicas that have lost what they confirmed elect nobody by themselves while a voter that
//! may still have it is missing; an operator who knows that it never comes back may say so.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use sampan_client::ErrorCode;

use super::support::{assert_works, three_nodes};
use crate::cluster::Cluster;
use crate::cluster::node::Launch;
use crate::log_batches::{self, Batch, PAGE_LEN};
use crate::patience::{PATIENCE, block_on, builder, connect, wait_for};

const MESSAGE_COUNT: u64 = 200;
/// Many elections long.
const REFUSED_SEND_COUNT: usize = 40;

fn newest_batch(cluster: &Cluster, id: u64) -> (File, Batch) {
    let batches = log_batches::batches(&cluster.nodes[&id].data().join("log"));
    let newest = batches.last().expect("something was written").clone();
    let file = File::options().write(true).open(&newest.file);
    (file.expect("the log can be opened"), newest)
}

/// The last write of the node never got to the disk whole.
fn tear_log(cluster: &Cluster, id: u64) {
    let (file, newest) = newest_batch(cluster, id);
    let end = newest.at + u64::from(newest.len);
    let torn = file.write_all_at(&[0xa5; 16], end - 16);
    torn.expect("the log can be written");
    // A log that was idle before the kill has a closing batch behind it. With that the batch would
    // be damaged and not torn; without it there are zeros, as nothing was ever written there.
    let len = file.metadata().expect("the log can be looked at").len();
    for len in [end.next_multiple_of(PAGE_LEN), len] {
        file.set_len(len).expect("the log can be cut off");
    }
}

/// The file with the newest entries is shorter than it was made.
fn shorten_log(cluster: &Cluster, id: u64) {
    let (file, newest) = newest_batch(cluster, id);
    file.set_len(newest.at).expect("the log can be cut off");
}

/// Sends messages one after another, each in a batch of the log of its own.
fn fill(cluster: &Cluster) {
    block_on(async {
        let queue = connect(&cluster.env()).await.queue("orders");
        for number in 0..MESSAGE_COUNT {
            let sent = queue.send(number.to_string()).await;
            sent.expect("the cluster takes it");
        }
    });
}

fn count_ready(cluster: &Cluster) -> u64 {
    block_on(async {
        let client = connect(&cluster.env()).await;
        let shown = client.show_queue("orders").await;
        shown.expect("there is a leader").counts.ready
    })
}

/// Nothing is sent over node 1, and the client is told why, for as long as many elections take.
fn assert_refused(cluster: &Cluster) {
    let env = cluster.env_of(1);
    block_on(async {
        let impatient = builder(&env).retry_deadline(Duration::ZERO);
        let client = impatient.connect().await.expect("the node is there");
        for _ in 0..REFUSED_SEND_COUNT {
            let error = client.queue("orders").send("too soon").await;
            let error = error.expect_err("nobody may lead");
            let codes = [Some(ErrorCode::NoLeader), Some(ErrorCode::NotLeader)];
            assert!(codes.contains(&error.code()), "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

#[test]
fn suspects_without_the_third_node_lead_only_when_told_to_trust_their_logs() {
    let mut cluster = three_nodes();
    assert_works(&cluster, "orders");
    fill(&cluster);
    for id in [1, 2, 3] {
        cluster.nodes.get_mut(&id).expect("a node").kill();
    }
    for id in [1, 2] {
        tear_log(&cluster, id);
        cluster.launch(id, &Launch::default());
    }
    wait_for("two suspects in every set", || {
        let status = cluster.status_at(1)?;
        let mut sets = status.sets.iter();
        sets.all(|set| set.suspects.starts_with(&[1, 2]))
            .then_some(())
    });
    assert_refused(&cluster);
    let trusting = Launch {
        arguments: vec!["--trust-log".to_owned()],
        ..Launch::default()
    };
    for id in [1, 2] {
        let node = cluster.nodes.get_mut(&id).expect("a node");
        assert!(node.terminate().success());
        cluster.launch(id, &trusting);
    }
    // Each has lost one batch at most, and so one message.
    let present = count_ready(&cluster);
    assert!(
        (MESSAGE_COUNT - 1..=MESSAGE_COUNT).contains(&present),
        "{present}"
    );
    // The third node may have what the others have lost; it follows them all the same.
    cluster.launch(3, &Launch::default());
    let whole = cluster.wait_until_whole(PATIENCE, u64::MAX);
    whole.expect("the third node comes back");
    assert_works(&cluster, "others");
}

/// What is left of the log of the node that founded the cluster says that it is alone.
#[test]
fn a_node_that_lost_the_entry_that_made_others_voters_does_not_lead_alone() {
    let mut cluster = three_nodes();
    assert_works(&cluster, "orders");
    fill(&cluster);
    for id in [1, 2, 3] {
        cluster.nodes.get_mut(&id).expect("a node").kill();
    }
    shorten_log(&cluster, 1);
    cluster.launch(1, &Launch::default());
    assert_refused(&cluster);
    for id in [2, 3] {
        cluster.launch(id, &Launch::default());
    }
    let whole = cluster.wait_until_whole(PATIENCE, u64::MAX);
    whole.expect("the others bring it back");
    assert_eq!(count_ready(&cluster), MESSAGE_COUNT);
    assert_works(&cluster, "others");
}
