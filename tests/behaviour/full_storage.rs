//! Goal: a node whose data folder is over its `used_len_max` refuses sends, goes on with all else,
//! and takes sends again by itself once messages were deleted. Method: messages until the broker
//! says so, then they are received and deleted; the room comes with the next checkpoint.

use std::time::Duration;

use bytes::Bytes;
use sampan_client::{ErrorCode, QueueOptions};

use crate::broker::{Broker, Setup};
use crate::client::connect;
use crate::waiting::within;

/// Three files of the log, and as much again.
const USED_LEN_MAX: u64 = 384 << 20;
const BODY_LEN: usize = 1 << 20;
/// So many bodies alone are twice the limit.
const COUNT_MAX: usize = 768;
/// A checkpoint comes every minute, if anything changed.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_full_storage_takes_deletes_and_then_sends_again() {
    let broker = Broker::start(Setup {
        storage: format!("used_len_max = {USED_LEN_MAX}\noverlay_len = 16777216"),
        ..Setup::default()
    });
    let client = connect(&broker.env()).await;
    let options = QueueOptions::new();
    let orders = client.create_queue("orders", options).await.unwrap();
    let body = Bytes::from(vec![7; BODY_LEN]);
    let mut stored = 0;
    let refused = loop {
        match orders.send(body.clone()).await {
            Err(refused) => break refused,
            Ok(_) => stored += 1,
        }
        assert!(stored < COUNT_MAX, "never refused");
    };
    assert_eq!(refused.code(), Some(ErrorCode::StorageFull), "{refused}");
    let paused = QueueOptions::new().paused(false);
    client.set_queue("orders", paused).await.unwrap();
    let mut deleted = 0;
    while deleted < stored {
        let deliveries = orders.receive().max(16).await.unwrap();
        assert!(!deliveries.is_empty(), "{deleted} of {stored}");
        for delivery in deliveries {
            assert_eq!(delivery.body, body);
            delivery.delete().await.unwrap();
            deleted += 1;
        }
    }
    let is_empty = orders.receive().await.unwrap().is_empty();
    assert!(is_empty, "what was refused was not stored");
    within(PATIENCE, "room for a send", || {
        let ended = broker.cli(&["send", "orders", "again"]);
        (ended.code == Some(0)).then_some(())
    });
    assert_eq!(&orders.receive().await.unwrap()[0].body[..], b"again");
}
