//! Goal: a body that has changed on one replica's disk is brought back from another, and nobody
//! notices but the operator. Method: one byte of a segment file of a stopped follower is flipped;
//! then that node leads, and everything is received from it, each message once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sampan_client::{Applied, Queue};

use super::support::{leader_of, three_nodes, wait_for_line};
use crate::cluster::Cluster;
use crate::log_batches::files;
use crate::patience::{PATIENCE, block_on, builder, connect, wait_for};

const MESSAGE_COUNT: usize = 5_000;
/// Of the queue's messages in segment files before the node is stopped.
const SEGMENT_LEN_MIN: u64 = 2 * 1024 * 1024;

fn body(number: usize) -> String {
    let mark = format!("body {number:06};");
    mark.repeat(1_024 / mark.len())
}

/// Sends a message until it is acknowledged; the number, if it may be there more than once.
async fn send(queue: &Queue, number: usize) -> Option<usize> {
    let began = Instant::now();
    let mut repeated = None;
    while let Err(error) = queue.send(body(number)).await {
        let is_unknown = error.applied() == Applied::Unknown;
        let goes_on = is_unknown && began.elapsed() < PATIENCE;
        assert!(goes_on, "the cluster takes it: {error}");
        repeated = Some(number);
    }
    repeated
}

/// Sends all messages; returns the set of the queue, and which may be there more than once.
fn fill(cluster: &Cluster) -> (u32, BTreeSet<usize>) {
    block_on(async {
        // It hears of each send whose outcome is unknown.
        let telling = builder(&cluster.env()).resend_unknown(false);
        let client = telling.connect().await.expect("a node is there");
        let queue = client.create_queue("orders", Default::default()).await;
        let queue = queue.expect("a new queue");
        let numbers: Vec<usize> = (0..MESSAGE_COUNT).collect();
        let mut repeated = BTreeSet::new();
        for piece in numbers.chunks(500) {
            let sends = piece.iter().map(|number| send(&queue, *number));
            let sent = futures::future::join_all(sends).await;
            repeated.extend(sent.into_iter().flatten());
        }
        let shown = client.show_queue("orders").await;
        (shown.expect("there is one").set.0, repeated)
    })
}

/// Receives and deletes everything there is: how often each body came.
fn drain(cluster: &Cluster) -> BTreeMap<String, u32> {
    block_on(async {
        let queue = connect(&cluster.env()).await.queue("orders");
        let mut bodies = BTreeMap::new();
        loop {
            let is_short = bodies.len() < MESSAGE_COUNT;
            let wait = Duration::from_secs(if is_short { 10 } else { 1 });
            let receive = queue.receive().max(256).wait(wait);
            let deliveries = receive.await.expect("the node has every body");
            if deliveries.is_empty() {
                assert!(!is_short, "only {} came", bodies.len());
                return bodies;
            }
            for delivery in deliveries {
                let text = String::from_utf8(delivery.body.to_vec()).expect("bodies are text");
                *bodies.entry(text).or_default() += 1;
                delivery.delete().await.expect("it is ours");
            }
        }
    })
}

fn len_of(files: &[PathBuf]) -> u64 {
    let len = |file| fs::metadata(file).map_or(0, |found| found.len());
    files.iter().map(len).sum()
}

/// Changes one byte in the middle of a body.
fn flip(files: &[PathBuf]) {
    for file in files {
        let mut bytes = fs::read(file).expect("the segment can be read");
        let body = body(700);
        let found = bytes
            .windows(body.len())
            .position(|window| window == body.as_bytes());
        if let Some(at) = found {
            bytes[at + body.len() / 2] ^= 1;
            fs::write(file, bytes).expect("the segment can be written");
            return;
        }
    }
    panic!("no segment has the body");
}

fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let asked = stream.write_all(request.as_bytes());
    asked.expect("the request can be written");
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    read.expect("the connection ends behind the answer");
    text
}

#[test]
fn a_body_that_changed_on_disk_comes_from_another_replica() {
    let mut cluster = three_nodes();
    let (set, repeated) = fill(&cluster);
    let leader = leader_of(&cluster, "orders");
    let follower = if leader == 3 { 2 } else { leader + 1 };
    let folder = cluster.nodes[&follower]
        .data()
        .join(format!("set-{set:04}"));
    wait_for("messages in segments", || {
        (len_of(&files(&folder, "seg")) >= SEGMENT_LEN_MIN).then_some(())
    });
    let node = cluster.nodes.get_mut(&follower).expect("a node");
    assert!(node.terminate().success());
    flip(&files(&folder, "seg"));
    let from = cluster.nodes[&follower].log().len();
    cluster.launch(follower, &Default::default());
    let whole = cluster.wait_until_whole(PATIENCE, 100);
    whole.expect("the node comes back");
    let (set, to) = (set.to_string(), follower.to_string());
    wait_for("the set's new leader", || {
        // Refused while the set is between two leaders, or has it there already.
        drop(cluster.cli(1, &["cluster", "transfer-leader", &set, &to]));
        (leader_of(&cluster, "orders") == follower).then_some(())
    });
    let received = drain(&cluster);
    for number in 0..MESSAGE_COUNT {
        let count = received.get(&body(number)).copied().unwrap_or(0);
        let is_right = count == 1 || (count > 1 && repeated.contains(&number));
        assert!(is_right, "body {number} came {count} times");
    }
    assert_eq!(received.len(), MESSAGE_COUNT);
    let what = ["ERROR", "stored messages are damaged", ".seg", "offset"];
    wait_for_line(&cluster, follower, from, &what);
    wait_for_line(&cluster, follower, from, &["INFO", "brought back"]);
    let address = cluster.nodes[&follower].http_address();
    let text = metrics(address);
    let figure = |name| {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        let value = value.expect("the node tells this figure").trim();
        value.parse::<u64>().expect("it is a whole number")
    };
    let damaged = figure("sampan_damaged_bodies_total");
    assert!(damaged > 0);
    assert_eq!(figure("sampan_repaired_bodies_total"), damaged);
}
