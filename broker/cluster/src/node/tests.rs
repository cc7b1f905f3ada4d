//! Goal: a new cluster gets the sets that were asked for. Method: nodes of one core without peers,
//! on a disk in memory.

mod checkpoints;
mod durability;
mod faults;

use std::sync::atomic::AtomicBool;

use sampan_storage::io::SimulatedDisk;
use tokio::task::LocalSet;

use super::*;
use crate::clock::SystemTime;

/// What must happen happens within this time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn options(
    disk: &SimulatedDisk,
    set_count: Option<u32>,
    founding: Option<Founding>,
) -> NodeOptions {
    NodeOptions {
        node: 1,
        folder: disk.root(),
        set_count,
        core_count: 1,
        time: Arc::new(SystemTime::default()),
        random: || 7,
        storage_full: Arc::new(AtomicBool::new(false)),
        overlay_len: None,
        log_kept_len: LOG_KEPT_LEN_DEFAULT,
        snapshot_rate: SNAPSHOT_RATE_DEFAULT,
        client_address: "a:7411".to_owned(),
        http_address: String::new(),
        zone: String::new(),
        release: String::new(),
        trust_log: false,
        boot_id: Some(|| 3),
        peers: None,
        founding,
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, what).await;
    done.expect("it happens in time")
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// How many sets a cluster gets from `configured` and what its operator asks for.
async fn sets_of(configured: Option<u32>, asked: Option<u32>) -> usize {
    let disk = SimulatedDisk::new();
    let (node, _) = Node::open(options(&disk, configured, None)).unwrap();
    let init = ClusterRequest::Init { set_count: asked };
    assert_eq!(node.cluster(init).await, Ok(ClusterReply::Done));
    let founding = within(node.founding()).await;
    drop(node);
    let (node, _) = Node::open(options(&disk, configured, Some(founding))).unwrap();
    node.sets().len()
}

#[test]
fn a_new_cluster_has_the_sets_that_were_asked_for_or_configured() {
    run(async {
        assert_eq!(sets_of(Some(9), Some(3)).await, 3);
        assert_eq!(sets_of(Some(9), None).await, 9);
        assert_eq!(sets_of(None, Some(3)).await, 3);
        assert_eq!(sets_of(None, None).await, 6);
    });
}

#[test]
fn a_number_of_sets_that_no_cluster_has_is_refused() {
    run(async {
        let (node, _) = Node::open(options(&SimulatedDisk::new(), None, None)).unwrap();
        for count in [0, 257, u32::MAX] {
            let set_count = Some(count);
            let init = node.cluster(ClusterRequest::Init { set_count }).await;
            let refused = init.unwrap_err();
            assert_eq!(refused.code, ErrorCode::ClusterRefused);
            assert_eq!(refused.text, "a cluster has 1 to 256 sets");
        }
    });
}
