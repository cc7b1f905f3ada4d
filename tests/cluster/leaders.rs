//! Goal: whoever leads can go, and clients notice nothing but a pause. Method: sends and receives
//! by the SDK without a break while leaders are killed, cut off, drained and handed over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sampan_client::{Error, ErrorCode};

use super::support::{PATIENCE, assert_works, block_on, connect, leader_of, three_nodes, wait_for};
use crate::cluster::Cluster;

/// Far more than a failover takes; the fault program measures.
const GAP_MAX: Duration = Duration::from_secs(30);

/// Sends one message after another until it is stopped.
struct Sender {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(u64, Duration), Error>>,
}

impl Sender {
    fn start(cluster: &Cluster, queue: &'static str) -> Sender {
        let stop = Arc::new(AtomicBool::new(false));
        let (env, stopped) = (cluster.env(), stop.clone());
        let run = async move {
            let queue = connect(&env).await.queue(queue);
            let (mut count, mut gap, mut last) = (0, Duration::ZERO, Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                queue.send("a message").await?;
                count += 1;
                gap = gap.max(last.elapsed());
                last = Instant::now();
            }
            Ok((count, gap))
        };
        Sender {
            stop,
            thread: std::thread::spawn(|| block_on(run)),
        }
    }

    /// How many were sent, and the longest time that one took; no send may have failed.
    fn finish(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.thread.join().expect("the sender does not panic");
        sent.expect("no error surfaces from the SDK")
    }
}

#[test]
fn sends_go_on_without_an_error_when_the_leader_is_killed() {
    let mut cluster = three_nodes();
    assert_works(&cluster, "orders");
    let leader = leader_of(&cluster, "orders");
    let sender = Sender::start(&cluster, "orders");
    std::thread::sleep(Duration::from_secs(1));
    cluster.nodes.get_mut(&leader).expect("a node").kill();
    std::thread::sleep(Duration::from_secs(3));
    let new = wait_for("another leader", || {
        let new = leader_of(&cluster, "orders");
        (new != leader).then_some(new)
    });
    cluster.launch(leader, &Default::default());
    cluster
        .wait_until_whole(PATIENCE, u64::MAX)
        .expect("the node comes back");
    let (count, gap) = sender.finish();
    println!("{count} sends, leader {leader} and then {new}, the longest took {gap:?}");
    assert!(gap < GAP_MAX, "{gap:?}");
    let present = block_on(async {
        let client = connect(&cluster.env()).await;
        let shown = client.show_queue("orders").await;
        shown.expect("there is a leader").counts.ready
    });
    // A send whose outcome was unknown was repeated, and may be stored twice.
    assert!(
        (count..=count + 1).contains(&present),
        "{present} of {count}"
    );
}

#[test]
fn a_node_without_a_majority_says_so_at_once_and_serves_again_with_one() {
    let mut cluster = three_nodes();
    assert_works(&cluster, "orders");
    for id in [2, 3] {
        cluster.nodes.get_mut(&id).expect("a node").kill();
    }
    let env = cluster.env_of(1);
    block_on(async {
        let builder = sampan_client::Client::builder()
            .server(&env["SAMPAN_SERVER"])
            .ca_file(&env["SAMPAN_CA"])
            .secret_id(&env["SAMPAN_SECRET_ID"])
            .secret_key(&env["SAMPAN_SECRET_KEY"])
            .retry_deadline(Duration::ZERO);
        let client = builder.connect().await.expect("the node is there");
        let began = Instant::now();
        loop {
            // It may believe for a moment that it leads; what it then takes is never acknowledged.
            let error = client.queue("orders").send("lost?").await;
            let error = error.expect_err("nothing is acknowledged without a majority");
            if error.code() == Some(ErrorCode::NoLeader) {
                break assert!(error.retry());
            }
            assert!(began.elapsed() < PATIENCE, "never `no leader` but {error}");
        }
    });
    for id in [2, 3] {
        cluster.launch(id, &Default::default());
    }
    cluster
        .wait_until_whole(PATIENCE, u64::MAX)
        .expect("the cluster comes back");
    assert_works(&cluster, "others");
}

#[test]
fn a_leader_that_is_cut_off_is_followed_by_another() {
    let cluster = three_nodes();
    assert_works(&cluster, "orders");
    let leader = leader_of(&cluster, "orders");
    let sender = Sender::start(&cluster, "orders");
    let others: Vec<u64> = cluster
        .nodes
        .keys()
        .copied()
        .filter(|id| *id != leader)
        .collect();
    for other in &others {
        cluster
            .network
            .change(leader, *other, |link| link.blocked = true);
        cluster
            .network
            .change(*other, leader, |link| link.blocked = true);
    }
    wait_for("another leader", || {
        let status = cluster.status_at(others[0])?;
        let led =
            |set: &crate::cluster::status::SetStatus| set.leader.is_some_and(|new| new != leader);
        status.sets.iter().all(led).then_some(())
    });
    std::thread::sleep(Duration::from_secs(2));
    cluster.network.heal();
    let (count, gap) = sender.finish();
    println!("{count} sends, the longest took {gap:?}");
    assert!(gap < GAP_MAX, "{gap:?}");
    cluster
        .wait_until_whole(PATIENCE, u64::MAX)
        .expect("the cluster heals");
}
