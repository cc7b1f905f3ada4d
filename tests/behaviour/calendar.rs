//! Goal: messages that are due in minutes and in most of a year survive restarts, are found by
//! their ids, and arrive when they are told to. Method: a real broker whose rows of them lie on
//! disk: after checkpoints, a kill and a stop, it begins with a directory of them in memory only.

use std::time::Duration;

use sampan_client::{
    ErrorCode, Message, MessageId, MessageState, PeekOf, PeekedMessage, Queue, QueueOptions,
};

use crate::broker::{Broker, Setup};
use crate::client::connect;

const DAY: Duration = Duration::from_secs(86_400);
const MINUTES: Duration = Duration::from_secs(600);
/// Some rows of 64.
const FAR_COUNT: usize = 300;

fn body(number: usize) -> Vec<u8> {
    format!("{number:04}").repeat(256).into_bytes()
}

async fn send(queue: &Queue, numbers: std::ops::Range<usize>, delay: Duration) -> Vec<MessageId> {
    let message = |number| Message::new(body(number)).delay(delay);
    let mut ids = Vec::new();
    for first in numbers.clone().step_by(100) {
        let batch = (first..numbers.end.min(first + 100)).map(message).collect();
        ids.extend(queue.send_batch(batch).await.unwrap());
    }
    ids
}

async fn look(queue: &Queue) -> Vec<PeekedMessage> {
    let (mut seen, mut after) = (Vec::new(), MessageId(0));
    loop {
        let peek = queue.peek().of(PeekOf::Delayed).after(after).max(70);
        let page = peek.await.unwrap();
        let Some(last) = page.last() else { return seen };
        after = last.id;
        seen.extend(page);
    }
}

#[tokio::test]
async fn messages_far_ahead_outlast_restarts_and_come_when_they_are_told_to() {
    let mut broker = Broker::start(Setup {
        storage: "overlay_len = 65536".to_owned(),
        ..Setup::default()
    });
    let client = connect(&broker.env()).await;
    let options = QueueOptions::new().retention(400 * DAY);
    let queue = client.create_queue("orders", options).await.unwrap();
    let far = send(&queue, 0..FAR_COUNT, 300 * DAY).await;
    let near = send(&queue, FAR_COUNT..FAR_COUNT + 10, MINUTES).await;
    let error = queue.send_with(Message::new("x").delay(401 * DAY)).await;
    assert_eq!(error.unwrap_err().code(), Some(ErrorCode::DelayOutOfRange));
    broker.wait_for_segments(200_000);
    let (all, before) = (look(&queue).await, client.show_queue("orders").await);
    let before = before.unwrap().counts;
    assert_eq!((before.delayed, all.len()), (310, 310));
    assert_eq!(before.due_at, all[FAR_COUNT].ready_at);

    broker.kill();
    broker.launch();
    let after = client.show_queue("orders").await.unwrap().counts;
    assert_eq!(after, before);
    assert_eq!(look(&queue).await, all);
    for (number, id) in [(0, far[0]), (299, far[299]), (305, near[5])] {
        let found = queue.message(id).await.unwrap().unwrap();
        assert_eq!(found.state, MessageState::Delayed);
        assert_eq!(found.body, body(number));
    }
    queue.cancel(far[1]).await.unwrap();
    queue.cancel(near[0]).await.unwrap();
    let second = Duration::from_secs(1);
    for id in [far[70], near[3]] {
        queue.reschedule(id, second).await.unwrap();
    }
    queue.reschedule(far[2], 310 * DAY).await.unwrap();

    broker.terminate();
    broker.launch();
    let (mut came, wait) = (Vec::new(), Duration::from_secs(20));
    while came.len() < 2 {
        for delivery in queue.receive().max(9).wait(wait).await.unwrap() {
            came.push((delivery.id, delivery.body.clone()));
            delivery.delete().await.unwrap();
        }
    }
    came.sort();
    let expected = [(far[70], 70), (near[3], 303)];
    assert_eq!(came, expected.map(|(id, number)| (id, body(number).into())));
    let counts = client.show_queue("orders").await.unwrap().counts;
    assert_eq!((counts.delayed, counts.ready), (306, 0));
    let seen = look(&queue).await;
    let gone = [far[1], far[70], near[0], near[3]];
    assert!(seen.iter().all(|message| !gone.contains(&message.id)));
    let moved = seen.iter().find(|message| message.id == far[2]).unwrap();
    let first = all.iter().find(|message| message.id == far[2]).unwrap();
    assert!(moved.ready_at >= first.ready_at.map(|at| at.after(9 * DAY)));
    let error = queue.cancel(far[1]).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MessageNotFound));
}
