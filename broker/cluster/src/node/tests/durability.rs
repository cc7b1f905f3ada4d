//! Goal: what is acknowledged before it is synced is never relied on by what is: a checkpoint, or
//! another queue. Method: a cluster of one set on a disk in memory; what a kill or a power cut
//! leaves of it is opened again.

use std::sync::Arc;

use sampan_core::{Command, Reply};
use sampan_protocol::{
    AttributeChanges, BatchBuilder, Durability, Name, NewMessage, QueueAttributes, SetId,
};
use sampan_storage::log::{Log, LogIdentity, LogOptions, SteppedLog};

use super::*;
use crate::catalog::CatalogRequest;
use crate::raft::payload::LogPayload;
use crate::raft::types::{Proposal, RaftPayload};

const SET: SetId = SetId(0);
const SOURCE: QueueId = QueueId(1);

async fn serving(disk: &SimulatedDisk, founding: Option<Founding>) -> Node {
    let (node, parts) = Node::open(options(disk, None, founding)).unwrap();
    for part in parts {
        within(part.start()).await.unwrap();
    }
    node
}

async fn propose(node: &Node, command: Command) -> Reply {
    within(node.sets()[0].propose(command)).await.unwrap()
}

async fn create(node: &Node, queue: QueueId, attributes: QueueAttributes) {
    let command = Command::QueueCreate {
        queue,
        name: format!("q{queue}"),
        attributes,
        secret: 5,
    };
    propose(node, command).await;
}

/// Creates a queue as a client does, once the cluster takes changes.
async fn create_in_catalog(node: &Node, name: &str, changes: AttributeChanges) -> QueueId {
    let request = CatalogRequest::Create {
        name: Name::from(name),
        changes,
    };
    let created = async {
        while let Err(refused) = node.catalog().request(request.clone()).await {
            assert!(refused.retry_after_ms > 0, "{refused}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(created).await;
    let directory = node.directory().borrow().clone();
    directory.find(name).unwrap().queue
}

async fn send(node: &Node) {
    send_to(node, SOURCE).await;
}

async fn send_to(node: &Node, queue: QueueId) {
    let mut batch = BatchBuilder::new();
    let body = vec![7; 3_000].into();
    let message = NewMessage {
        body,
        ..NewMessage::default()
    };
    batch.push(message).unwrap();
    let command = Command::Send {
        queue,
        producer: None,
        batch: batch.finish(),
    };
    let reply = propose(node, command).await;
    assert!(matches!(reply, Reply::Sent(_)), "{reply:?}");
}

/// What the log on the disk holds of the set: commands with the durability of their entries.
fn logged(disk: &SimulatedDisk) -> (u64, Vec<(Command, Durability)>) {
    let folder = disk.root();
    let node = folder.open("node").unwrap();
    let mut cluster = [0; 16];
    node.read_exact_at(&mut cluster, 16).unwrap();
    let identity = LogIdentity {
        node: 1,
        cluster: u128::from_le_bytes(cluster),
    };
    let folder = folder.folder("log").unwrap();
    let opened = Log::<LogPayload>::open_stepped(folder, identity, LogOptions::default());
    let SteppedLog { log, .. } = opened.unwrap();
    let last = log.state(SET).last.unwrap().index;
    let mut commands = Vec::new();
    for index in 1..=last {
        let Ok(entries) = log.read(SET, index, index + 1, usize::MAX) else {
            continue;
        };
        for entry in entries {
            if let RaftPayload::Normal(Proposal(entry)) = entry.payload.into_raft().unwrap() {
                let entry = Arc::unwrap_or_clone(entry);
                let durability = entry.durability;
                let each = entry.commands.into_iter();
                commands.extend(each.map(|command| (command, durability)));
            }
        }
    }
    (last, commands)
}

fn is_async() -> QueueAttributes {
    QueueAttributes {
        durability: Durability::Async,
        ..QueueAttributes::default()
    }
}

async fn ready(node: &Node, queue: QueueId) -> u64 {
    let (done, counts) = oneshot::channel();
    let asked = SetRequest::Counts(done);
    node.sets()[0].request(asked).await.unwrap();
    let counts = within(counts).await.unwrap();
    let found = counts.queues.iter().find(|(id, _)| *id == queue);
    found.map_or(0, |(_, counts)| counts.ready)
}

#[test]
fn a_checkpoint_is_durable_only_after_the_log_that_it_takes_the_place_of() {
    run(async {
        let disk = SimulatedDisk::new();
        let founding = Founding::New { set_count: Some(1) };
        let node = serving(&disk, Some(founding)).await;
        create(&node, SOURCE, is_async()).await;
        for _ in 0..5 {
            for _ in 0..5 {
                send(&node).await;
            }
            let (done, answer) = oneshot::channel();
            let asked = SetRequest::Checkpoint(done);
            node.sets()[0].request(asked).await.unwrap();
            let upto = within(answer).await.unwrap().unwrap();
            let (last, _) = logged(&disk.after_crash(0));
            assert!(
                last >= upto,
                "a checkpoint of {upto}, and a log up to {last}"
            );
        }
        // A power cut leaves what can be opened, and goes on.
        let left = disk.after_crash(0);
        let node = serving(&left, None).await;
        assert_eq!(ready(&node, SOURCE).await, 25);
        send(&node).await;
    });
}

#[test]
fn a_killed_node_finds_all_that_an_async_queue_acknowledged() {
    run(async {
        let disk = SimulatedDisk::new();
        let founding = Founding::New { set_count: Some(1) };
        let node = serving(&disk, Some(founding)).await;
        create(&node, SOURCE, is_async()).await;
        for _ in 0..30 {
            send(&node).await;
        }
        let killed = disk.after_kill();
        let node = serving(&killed, None).await;
        let recovered = async {
            while ready(&node, SOURCE).await < 30 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(recovered).await;
    });
}

#[test]
fn a_letter_is_synced_before_another_queue_gets_its_message() {
    run(async {
        let disk = SimulatedDisk::new();
        let founding = Founding::New { set_count: Some(1) };
        let node = serving(&disk, Some(founding)).await;
        let target = create_in_catalog(&node, "target", AttributeChanges::default()).await;
        let changes = AttributeChanges {
            dead_letter_queue: Some(target.0),
            receive_count_max: Some(1),
            durability: Some(Durability::Async),
            ..AttributeChanges::default()
        };
        let source = create_in_catalog(&node, "source", changes).await;
        send_to(&node, source).await;
        let receive = Command::Receive {
            queue: source,
            count_max: 1,
            len_max: 0,
            visibility_timeout_ms: None,
        };
        let Reply::Received(deliveries) = propose(&node, receive).await else {
            panic!("there is a message");
        };
        let give_up = Command::ChangeVisibility {
            queue: source,
            visibility_timeout_ms: 0,
            handles: [deliveries[0].handle].into_iter().collect(),
        };
        propose(&node, give_up).await;
        let arrived = async {
            while ready(&node, target).await == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(arrived).await;
        let (_, commands) = logged(&disk.after_kill());
        let place = |what: fn(&Command) -> bool| {
            let found = commands.iter().position(|(command, _)| what(command));
            found.expect("it is in the log")
        };
        let given_up = place(|command| matches!(command, Command::ChangeVisibility { .. }));
        let delivered = place(|command| matches!(command, Command::Deliver { .. }));
        assert_eq!(commands[given_up].1, Durability::Async);
        let mut between = commands[given_up + 1..delivered].iter();
        assert!(
            between.any(|(_, durability)| *durability == Durability::Sync),
            "an entry that is synced lies between: {commands:?}"
        );
    });
}
