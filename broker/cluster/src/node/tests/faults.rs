//! Goal: a node whose disk has failed says so, and leads no more. Method: a cluster of one set on a
//! disk in memory that fails on command.

use std::time::Instant;

use sampan_core::Command;
use sampan_protocol::QueueAttributes;

use super::*;
use crate::board::{Fault, Role, SetLine};
use crate::status::Health;

const SET: SetId = SetId(0);
/// A disk that nobody touches for this long is at rest.
const REST: Duration = Duration::from_millis(300);

/// A cluster of one set, serving.
async fn serving(disk: &SimulatedDisk) -> Node {
    let founding = Founding::New { set_count: Some(1) };
    let (node, parts) = Node::open(options(disk, None, Some(founding))).unwrap();
    for part in parts {
        within(part.start()).await.unwrap();
    }
    node
}

async fn create(node: &Node, queue: u64) -> Result<(), Refused> {
    let command = Command::QueueCreate {
        queue: QueueId(queue),
        name: format!("q{queue}"),
        attributes: QueueAttributes::default(),
        secret: 5,
    };
    within(node.sets()[0].propose(command)).await.map(drop)
}

async fn checkpoint(node: &Node) -> Result<u64, Refused> {
    let (done, answer) = oneshot::channel();
    let asked = SetRequest::Checkpoint(done);
    node.sets()[0].request(asked).await.unwrap();
    within(answer)
        .await
        .expect("everybody who asks is answered")
}

/// Returns once nothing is written any more, but for what the test begins.
async fn rested(disk: &SimulatedDisk) {
    within(async {
        let mut count = disk.operation_count();
        loop {
            tokio::time::sleep(REST).await;
            match disk.operation_count() {
                now if now == count => return,
                now => count = now,
            }
        }
    })
    .await;
}

fn line(node: &Node) -> SetLine {
    node.member.as_ref().unwrap().reach.board.line(SET)
}

async fn line_with(node: &Node, fault: Fault) -> SetLine {
    let begun = Instant::now();
    while line(node).fault != Some(fault) {
        assert!(begun.elapsed() < PATIENCE, "no fault: {:?}", line(node));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    line(node)
}

fn reason(health: Health) -> String {
    match health {
        Health::No(reason) => reason,
        Health::Yes => panic!("a node at fault says that it is well"),
    }
}

#[test]
fn a_store_that_is_shut_is_a_reason_to_restart_and_to_hand_over() {
    run(async {
        let disk = SimulatedDisk::new();
        let node = serving(&disk).await;
        create(&node, 1).await.unwrap();
        checkpoint(&node).await.unwrap();
        create(&node, 2).await.unwrap();
        rested(&disk).await;
        assert_eq!(node.live(), Health::Yes);
        assert!(!line(&node).is_full);

        disk.fail_at(disk.operation_count() + 1);
        let refused = checkpoint(&node).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Internal, "{refused}");
        let line = line_with(&node, Fault::StoreLatched).await;
        // What makes the replica's task hand over, and peers keep the lead from it.
        assert!(line.is_full);
        assert_eq!(line.role, Role::Leader);
        let reason = reason(node.live());
        assert_eq!(reason, format!("set 0 here {}", Fault::StoreLatched.text()));
        assert_ne!(node.ready(), Health::Yes);
        // Its log is sound.
        create(&node, 3).await.unwrap();
        assert!(checkpoint(&node).await.is_err());
    });
}

#[test]
fn a_set_whose_consensus_has_ended_does_not_lead_and_is_a_reason_to_restart() {
    run(async {
        let disk = SimulatedDisk::new();
        let node = serving(&disk).await;
        create(&node, 1).await.unwrap();
        rested(&disk).await;
        assert_eq!(line(&node).role, Role::Leader);

        disk.crash_at(disk.operation_count() + 1);
        create(&node, 2).await.unwrap_err();
        let line = line_with(&node, Fault::Stopped).await;
        assert_eq!((line.role, line.leader), (Role::Stopped, None));
        assert_eq!(node.leader(SET).0, None);
        let reason = reason(node.live());
        assert!(reason.contains("set 0 here has stopped"), "{reason}");
        assert_ne!(node.ready(), Health::Yes);
        let refused = create(&node, 3).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::NoLeader);
        checkpoint(&node).await.unwrap_err();
    });
}
