//! Goal: a look at messages tells what they are and changes nothing; a purge takes all of them, and
//! delayed ones go by their id. Method: the SDK and the command line, with bodies in memory, and
//! again after a kill, from the segment files that checkpoints have made meanwhile.

use std::time::Duration;

use sampan_client::{
    Client, Delivery, ErrorCode, Message, MessageId, MessageState, PeekOf, PeekedMessage, Queue,
    QueueOptions,
};
use serde_json::{Value, json};

use crate::broker::{Broker, Setup};
use crate::client::connect;

const LONG: Duration = Duration::from_secs(3_600);

fn large(number: u8) -> Message {
    Message::new(vec![number; 65_536])
}

/// Two ready again and 40 fresh, 3 delayed and one resting, 3 in flight.
async fn filled(client: &Client) -> (Queue, Vec<Delivery>) {
    let queue = client
        .create_queue("orders", QueueOptions::new())
        .await
        .unwrap();
    queue.send_batch((0..6).map(large).collect()).await.unwrap();
    let receive = queue.receive().max(6).visibility_timeout(LONG);
    let held = receive.await.unwrap();
    held[0].release().await.unwrap();
    held[1].release().await.unwrap();
    let rests = QueueOptions::new().redelivery_delay(LONG, LONG);
    client.set_queue("orders", rests).await.unwrap();
    held[5].release().await.unwrap();
    queue
        .send_batch((6..46).map(large).collect())
        .await
        .unwrap();
    let delayed = ["a", "b", "c"].map(|body| Message::new(body).delay(LONG));
    queue.send_batch(delayed.to_vec()).await.unwrap();
    (queue, held)
}

/// Everything of one kind, in pages of `count` messages.
async fn look(queue: &Queue, of: PeekOf, count: u16) -> Vec<PeekedMessage> {
    let (mut seen, mut after) = (Vec::new(), MessageId(0));
    loop {
        let page = queue.peek().of(of).after(after).max(count).await.unwrap();
        assert!(page.len() <= usize::from(count));
        let Some(last) = page.last() else { return seen };
        after = last.id;
        seen.extend(page);
    }
}

async fn look_at_all(queue: &Queue, count: u16) -> [Vec<PeekedMessage>; 3] {
    [
        look(queue, PeekOf::Ready, count).await,
        look(queue, PeekOf::Delayed, count).await,
        look(queue, PeekOf::InFlight, count).await,
    ]
}

fn ids_and_states(messages: &[PeekedMessage]) -> Vec<(u64, MessageState)> {
    let told = messages.iter().map(|message| (message.id.0, message.state));
    told.collect()
}

#[tokio::test]
async fn a_look_tells_every_message_and_changes_nothing_also_from_segment_files() {
    let mut broker = Broker::start(Setup {
        storage: "overlay_len = 65536".to_owned(),
        ..Setup::default()
    });
    let client = connect(&broker.env()).await;
    let (queue, held) = filled(&client).await;
    let before = client.show_queue("orders").await.unwrap();
    let all = look_at_all(&queue, 256).await;
    let [ready, delayed, in_flight] = &all;
    let ready_ids: Vec<u64> = ready.iter().map(|message| message.id.0).collect();
    assert_eq!(
        ready_ids,
        [1, 2].into_iter().chain(7..=46).collect::<Vec<_>>()
    );
    let counts: Vec<u32> = ready.iter().map(|message| message.receive_count).collect();
    assert_eq!((counts[0], counts[1], counts[2]), (1, 1, 0));
    assert_eq!(ready[0].first_received_at, Some(held[0].first_received_at));
    for message in ready {
        let number = u8::try_from(message.id.0 - 1).unwrap();
        assert_eq!(message.body, vec![number; 65_536]);
        assert_eq!(
            (message.state, message.ready_at),
            (MessageState::Ready, None)
        );
    }
    let base = MessageId::DELAYED_BIT;
    let expected = [
        (6, MessageState::Resting),
        (base + 1, MessageState::Delayed),
        (base + 2, MessageState::Delayed),
        (base + 3, MessageState::Delayed),
    ];
    assert_eq!(ids_and_states(delayed), expected);
    let expected = [3, 4, 5].map(|id| (id, MessageState::InFlight));
    assert_eq!(ids_and_states(in_flight), expected);
    assert_eq!(in_flight[0].ready_at, Some(held[2].visible_at));

    broker.kill();
    broker.launch();
    assert_eq!(look_at_all(&queue, 5).await, all);
    for message in all.iter().flatten() {
        assert_eq!(
            queue.message(message.id).await.unwrap().as_ref(),
            Some(message)
        );
    }
    assert_eq!(queue.message(MessageId(47)).await.unwrap(), None);
    assert_eq!(client.show_queue("orders").await.unwrap(), before);
    held[2].delete().await.unwrap();
    assert_eq!(queue.message(held[2].id).await.unwrap(), None);
}

#[tokio::test]
async fn a_purge_takes_messages_of_every_state_and_nothing_that_comes_after() {
    let mut broker = Broker::start(Setup {
        storage: "overlay_len = 65536".to_owned(),
        ..Setup::default()
    });
    let client = connect(&broker.env()).await;
    let (queue, held) = filled(&client).await;
    assert_eq!(queue.purge().await.unwrap(), 49);
    let id = queue.send("after").await.unwrap();
    for is_restarted in [false, true] {
        if is_restarted {
            broker.kill();
            broker.launch();
        }
        let counts = client.show_queue("orders").await.unwrap().counts;
        let told = (counts.ready, counts.delayed, counts.in_flight);
        assert_eq!(told, (1, 0, 0));
        assert_eq!(queue.message(MessageId(1)).await.unwrap(), None);
        let error = held[2].delete().await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::ReceiptExpired));
    }
    let received = queue.receive().max(256).await.unwrap();
    assert_eq!((received.len(), received[0].id), (1, id));
    received[0].delete().await.unwrap();
    assert_eq!(queue.purge().await.unwrap(), 0);
}

#[tokio::test]
async fn a_delayed_message_is_cancelled_or_rescheduled_by_its_id() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let queue = client
        .create_queue("orders", QueueOptions::new())
        .await
        .unwrap();
    let mut ids = Vec::new();
    for body in ["now", "never", "later"] {
        let message = Message::new(body).delay(LONG);
        ids.push(queue.send_with(message).await.unwrap());
    }
    let due_at = queue.message(ids[2]).await.unwrap().unwrap().ready_at;
    queue.reschedule(ids[0], Duration::ZERO).await.unwrap();
    queue.cancel(ids[1]).await.unwrap();
    queue.reschedule(ids[2], 2 * LONG).await.unwrap();
    let received = queue.receive().max(9).await.unwrap();
    assert_eq!((received.len(), &received[0].body[..]), (1, &b"now"[..]));
    let later = queue.message(ids[2]).await.unwrap().unwrap();
    assert!(later.ready_at >= due_at.map(|at| at.after(LONG)));
    for id in &ids[..2] {
        let error = queue.cancel(*id).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::MessageNotFound));
    }
    let year = Duration::from_secs(31_536_000);
    let error = queue.reschedule(ids[2], year).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::DelayOutOfRange));
}

/// `message show` of an id, as JSON.
fn show(broker: &Broker, id: &Value) -> Value {
    let id = id.to_string();
    broker.json(&["message", "show", "orders", &id]).remove(0)
}

#[test]
fn the_command_line_looks_cancels_reschedules_and_purges() {
    let broker = Broker::start(Setup::default());
    broker.cli(&["queue", "create", "orders"]).expect(0);
    broker
        .cli(&["send", "orders", "one", "--count", "12"])
        .expect(0);
    let send = ["send", "orders", "two", "--delay", "1h", "--count", "2"];
    broker.cli(&send).expect(0);
    let seen = broker.json(&["queue", "peek", "orders"]);
    assert_eq!(seen.len(), 10);
    assert_eq!(seen[9]["id"], 10);
    assert_eq!(
        (&seen[0]["state"], &seen[0]["body"]),
        (&json!("ready"), &json!("one"))
    );
    let rest = ["queue", "peek", "orders", "--after", "10", "--count", "256"];
    assert_eq!(broker.json(&rest).len(), 2);
    let peek = ["queue", "peek", "orders", "--state", "delayed"];
    let delayed = broker.json(&peek);
    let (first, second) = (&delayed[0]["id"], &delayed[1]["id"]);
    assert_eq!(show(&broker, first), delayed[0]);
    let (first, second) = (first.to_string(), second.to_string());
    broker
        .cli(&["message", "cancel", "orders", &first])
        .expect(0);
    let gone = broker.cli(&["message", "show", "orders", &first]).expect(1);
    assert!(gone.stderr.contains("has no message"), "{}", gone.stderr);
    let refused = broker
        .cli(&["message", "cancel", "orders", &first])
        .expect(1);
    assert!(refused.stderr.contains("error 407"), "{}", refused.stderr);
    let reschedule = ["message", "reschedule", "orders", &second];
    let past = [&reschedule[..], &["--at", "2020-01-01T00:00:00Z"]].concat();
    broker.cli(&past).expect(0);
    assert_eq!(show(&broker, &delayed[1]["id"])["state"], "ready");
    let table = broker.cli(&["queue", "peek", "orders"]).expect(0).stdout;
    assert!(table.starts_with("ID"), "{table}");
    let purged = broker.json(&["queue", "purge", "orders"]).remove(0);
    assert_eq!(purged, json!({ "purged": "orders", "count": 13 }));
    assert!(broker.json(&["queue", "peek", "orders"]).is_empty());
}
