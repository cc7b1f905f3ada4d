use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::node::{CLUSTER, PATIENCE, TestNode, WHO, World, local_of, run, until};
use crate::clock::TimeSource;
use crate::peer::{PeerError, RefusalReason};

/// What `from` is told when it connects to `to` once.
async fn refusal(from: &TestNode, to: &TestNode) -> String {
    let called = from
        .peers
        .call_address(&to.address, WHO, Bytes::new(), PATIENCE);
    match called.await {
        Err(PeerError::NotReached(_, text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_nodes_connect_both_ways_and_exchange_clocks_and_pulses() {
    run(async {
        let (one, two) = (TestNode::start(1), TestNode::start(2));
        two.world.wall_ahead_ms.store(3_600_000, Ordering::Relaxed);
        one.knows(&[&two]);
        two.knows(&[&one, &two]);
        one.is_connected_to(2).await;
        two.is_connected_to(1).await;
        one.echoes(2).await;
        two.echoes(1).await;
        let has_heard = |node: &TestNode, from| {
            node.world.pulses.lock().unwrap().get(&from) == Some(&Bytes::from_static(b"news"))
        };
        until(|| has_heard(&one, 2) && has_heard(&two, 1)).await;
        let now = crate::clock::SystemTime::default().read().wall_ms;
        let estimates = one.peers.clocks().estimates(0);
        let [(2, wall_ms)] = estimates[..] else {
            panic!("{estimates:?}");
        };
        let ahead = wall_ms.abs_diff(now + 3_600_000);
        assert!(ahead < PATIENCE.as_millis() as u64, "off by {ahead} ms");
    });
}

#[test]
fn every_refusal_reaches_the_node_that_connects_and_other_links_go_on() {
    run(async {
        let (one, two, three) = (TestNode::start(1), TestNode::start(2), TestNode::start(3));
        one.knows(&[&three]);
        one.is_connected_to(3).await;
        for reason in RefusalReason::KNOWN {
            *two.world.refusal.lock().unwrap() = Some(reason);
            let text = refusal(&one, &two).await;
            let expected = format!("refused ({}): node 1 is not wanted", reason.number());
            assert_eq!(text, expected);
        }
        one.knows(&[&two, &three]);
        one.echoes(3).await;
        assert!(!one.peers.is_connected(2));
        *two.world.refusal.lock().unwrap() = None;
        one.is_connected_to(2).await;
        one.echoes(2).await;
        one.echoes(3).await;
    });
}

#[test]
fn nodes_of_two_clusters_do_not_talk() {
    run(async {
        let one = TestNode::start(1);
        let stranger = TestNode::start_in(2, 5, Arc::default());
        assert!(refusal(&one, &stranger).await.starts_with("refused (2)"));
        assert!(refusal(&stranger, &one).await.starts_with("refused (2)"));
        let nobodys = TestNode::start_in(3, 0, Arc::default());
        assert!(refusal(&one, &nobodys).await.contains("no cluster yet"));
    });
}

#[test]
fn a_node_that_is_not_the_expected_one_or_has_the_same_number_is_refused() {
    run(async {
        let (one, two) = (TestNode::start(1), TestNode::start(2));
        let same = TestNode::start(2);
        assert!(refusal(&same, &two).await.starts_with("refused (7)"));
        // Node 3 is said to be where node 2 is.
        let members = [(3, two.address.clone())].into();
        one.peers.set_members(members);
        let connecting = one.peers.greeter_for_tests().connect(Some(3), &two.address);
        let Err(error) = connecting.await else {
            panic!("node 2 was taken for node 3");
        };
        assert!(error.to_string().starts_with("refused (3)"), "{error}");
        assert!(!one.peers.is_connected(3));
    });
}

#[test]
fn a_node_without_a_cluster_may_ask_as_no_member_and_joins_later() {
    run(async {
        let one = TestNode::start(1);
        let two = TestNode::start_in(2, 0, Arc::new(World::default()));
        let asked = two
            .peers
            .call_address(&one.address, WHO, Bytes::new(), PATIENCE);
        assert_eq!(asked.await, Ok(Bytes::from_static(b"2 false None")));
        one.knows(&[&two]);
        two.peers.set_local(local_of(2, CLUSTER));
        one.is_connected_to(2).await;
        let link = one.peers.link(2);
        let asked = link.call(None, WHO, Bytes::new(), PATIENCE);
        assert_eq!(asked.await, Ok(Bytes::from_static(b"1 true None")));
    });
}

#[test]
fn a_peer_that_comes_back_or_moves_is_connected_to_again() {
    run(async {
        let (one, two) = (TestNode::start(1), TestNode::start(2));
        one.knows(&[&two]);
        one.is_connected_to(2).await;
        two.peers.stop();
        two.task.await.unwrap().unwrap();
        until(|| !one.peers.is_connected(2)).await;
        let moved = TestNode::start(2);
        one.knows(&[&moved]);
        one.is_connected_to(2).await;
        one.echoes(2).await;
        one.knows(&[]);
        until(|| !one.peers.is_connected(2)).await;
    });
}

#[test]
fn a_peer_that_loses_its_place_loses_its_open_connections() {
    run(async {
        let (one, two, three) = (TestNode::start(1), TestNode::start(2), TestNode::start(3));
        one.knows(&[&two, &three]);
        one.is_connected_to(2).await;
        one.is_connected_to(3).await;
        // By the node that it connected to.
        *two.world.refusal.lock().unwrap() = Some(RefusalReason::WrongIncarnation);
        until(|| !one.peers.is_connected(2)).await;
        assert!(refusal(&one, &two).await.starts_with("refused (5)"));
        one.echoes(3).await;
        *two.world.refusal.lock().unwrap() = None;
        one.is_connected_to(2).await;
        // By the node that connected.
        *one.world.refusal.lock().unwrap() = Some(RefusalReason::UnknownNode);
        until(|| !one.peers.is_connected(2) && !one.peers.is_connected(3)).await;
    });
}
