//! Goal: messages of an ordered group are handed out in the order of their sends whatever happens
//! to the broker, and a group that floods a fair queue does not hold up the others. Method: several
//! consumers of the SDK beside a producer, SIGKILL in between, checkpoints all the time or none;
//! and the commands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sampan_client::{Client, ErrorCode, GroupMode, Message, Queue, QueueOptions};
use serde_json::json;

use crate::broker::{Broker, Setup};
use crate::client::connect;
use crate::waiting::within;

const GROUP_COUNT: u32 = 12;
const COUNT: u32 = 60;
const CONSUMER_COUNT: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// What was handled of each group: how often each number, up to the highest.
#[derive(Default)]
struct Handled(BTreeMap<u32, u32>);

impl Handled {
    fn is_done(&self) -> bool {
        self.0.len() == GROUP_COUNT as usize && self.0.values().all(|next| *next == COUNT)
    }

    /// Again, or the next one: nothing was overtaken.
    fn note(&mut self, group: u32, number: u32) {
        let next = self.0.entry(group).or_default();
        assert!(
            number <= *next,
            "group {group}: {number} came before {next}"
        );
        *next = (*next).max(number + 1);
    }
}

/// Sends the messages of all groups, each with its group and its number there.
async fn produce(queue: Queue) {
    let numbers = (0..COUNT).flat_map(|number| (0..GROUP_COUNT).map(move |group| (group, number)));
    let sends = numbers.map(|(group, number)| {
        let message = Message::new(format!("{group} {number} {}", "x".repeat(500)));
        queue.send_with(message.group_key(format!("group {group}")))
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.unwrap();
    }
}

async fn consume(queue: Queue, handled: Arc<Mutex<Handled>>) {
    while !handled.lock().unwrap().is_done() {
        let receive = queue.receive().max(7).wait(Duration::from_secs(1));
        let Ok(deliveries) = receive.await else {
            continue;
        };
        for delivery in deliveries {
            let text = String::from_utf8(delivery.body.to_vec()).unwrap();
            let mut numbers = text.split(' ').take(2).map(|word| word.parse().unwrap());
            let (group, number) = (numbers.next().unwrap(), numbers.next().unwrap());
            assert_eq!(delivery.group_key, Some(format!("group {group}").into()));
            handled.lock().unwrap().note(group, number);
            if delivery.delete().await.is_err() {
                // What is left of the batch may be another's by now.
                break;
            }
        }
    }
}

async fn order_is_kept(storage: &str) {
    let mut broker = Broker::start(Setup {
        storage: storage.to_owned(),
        ..Setup::default()
    });
    let client = connect(&broker.env()).await;
    let options = QueueOptions::new().groups(GroupMode::Ordered);
    let options = options.visibility_timeout(Duration::from_secs(3));
    client.create_queue("orders", options).await.unwrap();
    let handled = Arc::new(Mutex::new(Handled::default()));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(produce(client.queue("orders")));
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..CONSUMER_COUNT {
        clients.push(connect(&broker.env()).await);
    }
    for client in &clients {
        tasks.spawn(consume(client.queue("orders"), Arc::clone(&handled)));
    }
    let handled_count = || handled.lock().unwrap().0.values().sum::<u32>();
    for part in 1..3 {
        within(PATIENCE, "a part of the messages", || {
            (handled_count() >= GROUP_COUNT * COUNT / 3 * part).then_some(())
        });
        broker.kill();
        broker.launch();
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_inside_groups_is_kept_over_kills() {
    order_is_kept("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_inside_groups_is_kept_over_kills_and_checkpoints() {
    order_is_kept("overlay_len = 65536").await;
}

#[tokio::test]
async fn a_flood_does_not_hold_up_other_groups() {
    let mut broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let options = QueueOptions::new().groups(GroupMode::Fair);
    let queue = client.create_queue("orders", options).await.unwrap();
    let flood = (0..2_000).map(|_| queue.send_with(Message::new("flood").group_key("flood")));
    for send in flood.collect::<Vec<_>>() {
        send.await.unwrap();
    }
    for name in ["ann", "bob", "cid"] {
        let message = Message::new(name).group_key(name);
        queue.send_with(message).await.unwrap();
    }
    let received = queue.receive().max(2).await.unwrap();
    assert_eq!(received.len(), 2);
    broker.kill();
    broker.launch();
    let client = connect(&broker.env()).await;
    let received = client.queue("orders").receive().max(4).await.unwrap();
    let mut bodies: Vec<&[u8]> = received.iter().map(|delivery| &delivery.body[..]).collect();
    bodies.sort_unstable();
    // Ann's was received before.
    assert_eq!(bodies, [&b"bob"[..], b"cid", b"flood", b"flood"]);

    let late = Message::new("late")
        .group_key("ann")
        .delay(Duration::from_secs(1));
    let refused = client.queue("orders").send_with(late).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::DelayInGroup), "{refused}");
}

#[test]
fn commands_take_group_keys_and_show_them() {
    let broker = Broker::start(Setup::default());
    let create = ["queue", "create", "orders", "--groups", "ordered"];
    broker.cli(&create).expect(0);
    for body in ["first", "second"] {
        let send = ["send", "orders", body, "--group", "account 12"];
        broker.cli(&send).expect(0);
    }
    let peeked = broker.json(&["queue", "peek", "orders"]).remove(0);
    assert_eq!(peeked["group_key"], "account 12");
    let received = broker.json(&["receive", "orders"]).remove(0);
    assert_eq!(received["group_key"], "account 12");
    assert_eq!(received["body"], "first");
    assert!(broker.json(&["receive", "orders"]).is_empty());
    let why = broker.json(&["queue", "why", "orders"]).remove(0);
    assert_eq!(why["why"], "groups in flight");
    let shown = broker.json(&["queue", "show", "orders"]).remove(0);
    let told = [&shown["groups"], &shown["ready"], &shown["locked"]];
    assert_eq!(told, [&json!("ordered"), &json!(1), &json!(1)]);
    let handle = received["handle"].to_string();
    broker.cli(&["delete", "orders", &handle]).expect(0);
    let received = broker.json(&["receive", "orders"]).remove(0);
    assert_eq!(received["body"], "second");

    let kept = ["queue", "set", "orders", "--rewind", "1h"];
    let refused = broker.cli(&kept).expect(1);
    assert!(refused.stderr.contains("groups"), "{}", refused.stderr);
    let late = ["send", "orders", "late", "--group", "a", "--delay", "5s"];
    let refused = broker.cli(&late).expect(1);
    assert!(refused.stderr.contains("5000 ms"), "{}", refused.stderr);
    broker
        .cli(&["queue", "set", "orders", "--groups", "off"])
        .expect(0);
    broker.cli(&kept).expect(0);
}
