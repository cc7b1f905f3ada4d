//! Goal: what lies in a dead-letter queue goes back to where it came from, each message once,
//! whatever is killed, full or gone; filters, dry run, rate and cancel do what they say.
//!
//! Method: a broker whose queues lie in different sets, two sources and their dead-letter queue,
//! receives that are given up, SIGKILL, and limits.

use std::time::Duration;

use sampan_client::{
    Client, DeathReason, ErrorCode, Message, Queue, QueueCounts, QueueOptions, RedriveState,
    RedriveStatus, headers,
};

use crate::broker::{Broker, Setup};
use crate::client::connect;
use crate::queues::{counts, give_up, until};

const PATIENCE: Duration = Duration::from_secs(120);

/// What a test works with: messages of `orders` and `bills` that are given up lie in `dead`.
struct Queues {
    client: Client,
    orders: Queue,
    bills: Queue,
    dead: Queue,
}

impl Queues {
    async fn new(broker: &Broker) -> Queues {
        let client = connect(&broker.env()).await;
        let none = QueueOptions::new();
        let dead = client.create_queue("dead", none).await.unwrap();
        let target = client.show_queue("dead").await.unwrap();
        let options = none.dead_letter_queue(target.id).receive_count_max(1);
        let orders = client.create_queue("orders", options).await.unwrap();
        let bills = client.create_queue("Bills", options).await.unwrap();
        let sets = ["orders", "Bills"].map(|name| client.show_queue(name));
        for shown in sets {
            let source = shown.await.unwrap();
            if source.name == "orders" {
                assert_ne!(source.set, target.set, "the queues lie in several sets");
            }
        }
        Queues {
            client,
            orders,
            bills,
            dead,
        }
    }

    /// Sends `count` messages to a queue, receives and gives them up.
    async fn bury(&self, queue: &Queue, count: usize) {
        let name = queue.name();
        let sends: Vec<_> = (0..count)
            .map(|number| {
                let parity = [b'0' + u8::from(number % 2 == 1)];
                let headers = headers::encode([("parity", &parity[..])]).unwrap();
                queue.send_with(Message::new(format!("{name} {number}")).headers(headers))
            })
            .collect();
        for send in sends {
            send.await.unwrap();
        }
        give_up(queue, count).await;
        until(&self.client, name, |counts| {
            *counts == QueueCounts::default()
        })
        .await;
    }

    /// Looks until the redrive has ended and nothing is on its way.
    async fn ended(&self) -> RedriveStatus {
        let look = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            loop {
                let status = self.dead.redrive_status().await.unwrap();
                if status.state != RedriveState::Running && status.moving == 0 {
                    return status;
                }
                ticks.tick().await;
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(status) => status,
            Err(_) => panic!("it stays at {:?}", self.dead.redrive_status().await),
        }
    }
}

/// Receives and deletes all that is ready: the bodies, sorted.
async fn drain(queue: &Queue) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let deliveries = queue.receive().max(256).await.unwrap();
        if deliveries.is_empty() {
            bodies.sort();
            return bodies;
        }
        for delivery in deliveries {
            assert_eq!(delivery.receive_count, 1, "counted anew");
            assert_eq!(delivery.dead_letter(), None, "the broker's headers are off");
            assert_eq!(delivery.headers().count(), 1, "the sender's are there");
            bodies.push(String::from_utf8(delivery.body.to_vec()).unwrap());
            delivery.delete().await.unwrap();
        }
    }
}

fn all(name: &str, numbers: impl Iterator<Item = usize>) -> Vec<String> {
    let mut bodies: Vec<String> = numbers.map(|number| format!("{name} {number}")).collect();
    bodies.sort();
    bodies
}

#[tokio::test]
async fn everything_goes_back_to_where_it_came_from() {
    let broker = Broker::start(Setup::default());
    let queues = Queues::new(&broker).await;
    let refused = queues.dead.redrive_status().await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::NoRedrive));
    queues.bury(&queues.orders, 700).await;
    queues.bury(&queues.bills, 300).await;
    until(&queues.client, "dead", |counts| counts.ready == 1_000).await;
    // One of these came from nowhere.
    queues.dead.send("stays").await.unwrap();
    assert_eq!(queues.dead.redrive().dry_run().await.unwrap(), 1_000);
    assert_eq!(
        counts(&queues.client, "dead").await.ready,
        1_001,
        "nothing moved"
    );
    assert_eq!(queues.dead.redrive().begin().await.unwrap(), 1);
    let status = queues.ended().await;
    assert_eq!((status.job, status.state), (1, RedriveState::Done));
    assert_eq!(
        (status.looked, status.moved, status.skipped),
        (1_001, 1_000, 1)
    );
    assert!(status.ended_at >= Some(status.begun_at) && status.to.is_empty());
    assert_eq!(drain(&queues.orders).await, all("orders", 0..700));
    assert_eq!(drain(&queues.bills).await, all("Bills", 0..300));
    assert_eq!(counts(&queues.client, "dead").await.ready, 1);
}

#[tokio::test]
async fn filters_choose_and_the_dry_run_counts_the_same() {
    let broker = Broker::start(Setup::default());
    let queues = Queues::new(&broker).await;
    queues.bury(&queues.orders, 40).await;
    queues.bury(&queues.bills, 20).await;
    until(&queues.client, "dead", |counts| counts.ready == 60).await;
    let redrive = || queues.dead.redrive();
    let later = std::time::SystemTime::now() + Duration::from_secs(3_600);
    for (chosen, count) in [
        (redrive(), 60),
        (redrive().to("orders"), 60),
        (redrive().reason(DeathReason::ReceiveCount), 60),
        (redrive().reason(DeathReason::Age), 0),
        (redrive().since(later), 0),
        (redrive().since(std::time::UNIX_EPOCH), 60),
        (redrive().source("bills"), 20),
        (redrive().header("parity", "1"), 30),
        (redrive().header("parity", "2"), 0),
        (redrive().source("orders").header("parity", "0"), 20),
    ] {
        assert_eq!(chosen.dry_run().await.unwrap(), count, "{chosen:?}");
    }
    assert_eq!(
        counts(&queues.client, "dead").await.ready,
        60,
        "nothing moved"
    );
    redrive()
        .source("orders")
        .header("parity", "0")
        .begin()
        .await
        .unwrap();
    assert_eq!(queues.ended().await.skipped, 40);
    assert_eq!(
        drain(&queues.orders).await,
        all("orders", (0..40).step_by(2))
    );
    // What is left, all to one queue that it did not come from.
    redrive().to("ORDERS").begin().await.unwrap();
    let status = queues.ended().await;
    assert_eq!(
        (status.job, status.to.as_str(), status.moved),
        (2, "orders", 40)
    );
    let mut left = all("orders", (1..40).step_by(2));
    left.extend(all("Bills", 0..20));
    left.sort();
    assert_eq!(drain(&queues.orders).await, left);
    for (to, code) in [
        ("nowhere", ErrorCode::QueueNotFound),
        ("Dead", ErrorCode::InvalidDeadLetterQueue),
    ] {
        let refused = redrive().to(to).begin().await.unwrap_err();
        assert_eq!(refused.code(), Some(code), "{to}");
    }
}

#[tokio::test]
async fn one_runs_at_a_time_at_its_rate_until_it_is_cancelled() {
    let broker = Broker::start(Setup::default());
    let queues = Queues::new(&broker).await;
    queues.bury(&queues.orders, 50).await;
    until(&queues.client, "dead", |counts| counts.ready == 50).await;
    // So slow that it cannot end meanwhile.
    queues.dead.redrive().rate(1).begin().await.unwrap();
    let refused = queues.dead.redrive().begin().await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::RedriveRunning));
    until(&queues.client, "orders", |counts| counts.ready >= 2).await;
    let status = queues.dead.cancel_redrive().await.unwrap();
    assert_eq!(status.state, RedriveState::Cancelled);
    assert!(status.moved < 50, "{status:?}");
    let again = queues.dead.cancel_redrive().await.unwrap();
    assert_eq!(
        (again.moved, again.ended_at),
        (status.moved, status.ended_at)
    );
    let ended = queues.ended().await;
    assert_eq!(ended.moved, status.moved, "nothing moves any more");
    let (dead, orders) = (
        counts(&queues.client, "dead").await,
        counts(&queues.client, "orders").await,
    );
    assert_eq!(
        (dead.ready + orders.ready, orders.ready),
        (50, status.moved)
    );
}

#[tokio::test]
async fn each_message_is_in_one_queue_however_often_the_broker_is_killed() {
    // Small checkpoints: pages, bodies and the job are on disk, too.
    let mut broker = Broker::start(Setup {
        storage: "overlay_len = 65536\n".to_owned(),
        ..Setup::default()
    });
    let queues = Queues::new(&broker).await;
    queues.bury(&queues.orders, 900).await;
    queues.bury(&queues.bills, 900).await;
    until(&queues.client, "dead", |counts| counts.ready == 1_800).await;
    queues.dead.redrive().rate(1_500).begin().await.unwrap();
    for seen in [100, 700] {
        until(&queues.client, "orders", |counts| counts.ready >= seen).await;
        broker.kill();
        broker.launch();
    }
    let status = queues.ended().await;
    assert_eq!(
        (status.state, status.looked, status.moved),
        (RedriveState::Done, 1_800, 1_800)
    );
    assert_eq!(counts(&queues.client, "dead").await, QueueCounts::default());
    assert_eq!(drain(&queues.orders).await, all("orders", 0..900));
    assert_eq!(drain(&queues.bills).await, all("Bills", 0..900));
}

#[tokio::test]
async fn a_full_target_holds_messages_back_and_one_that_is_gone_gives_them_back() {
    let broker = Broker::start(Setup::default());
    let queues = Queues::new(&broker).await;
    queues.bury(&queues.orders, 10).await;
    until(&queues.client, "dead", |counts| counts.ready == 10).await;
    let few = QueueOptions::new().message_count_max(4);
    let late = queues.client.create_queue("late", few).await.unwrap();
    queues.dead.redrive().to("late").begin().await.unwrap();
    until(&queues.client, "late", |counts| counts.ready == 4).await;
    until(&queues.client, "dead", |counts| counts.moving == 6).await;
    let many = QueueOptions::new().message_count_max(8);
    queues.client.set_queue("late", many).await.unwrap();
    until(&queues.client, "late", |counts| counts.ready == 8).await;
    assert_eq!(drain(&late).await.len(), 8);
    queues.ended().await;
    assert_eq!(drain(&late).await.len(), 2);
    // These never get anywhere, for the queue goes.
    queues.bury(&queues.orders, 5).await;
    until(&queues.client, "dead", |counts| counts.ready == 5).await;
    let pause = QueueOptions::new().paused(true);
    queues.client.set_queue("late", pause).await.unwrap();
    queues.dead.redrive().to("late").begin().await.unwrap();
    until(&queues.client, "dead", |counts| counts.moving == 5).await;
    queues.client.delete_queue("late").await.unwrap();
    until(&queues.client, "dead", |counts| counts.ready == 5).await;
    queues.dead.redrive().begin().await.unwrap();
    queues.ended().await;
    assert_eq!(drain(&queues.orders).await, all("orders", 0..5));
}
