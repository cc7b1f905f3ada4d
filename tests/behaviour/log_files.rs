//! Goal: the log is as long as what is not written down yet, whatever some sets do or do not do.
//! Method: a broker with two sets, of which one is used; several log files are filled, and then the
//! oldest must go.

use std::time::Duration;

use bytes::Bytes;
use sampan_client::QueueOptions;

use crate::broker::{Broker, Setup};
use crate::client::connect;
use crate::waiting::within;

const BODY_LEN: usize = 1 << 20;
/// Four files and a half of 64 MiB.
const COUNT: usize = 288;
/// A checkpoint comes every minute, if anything changed.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_set_in_which_nothing_happens_does_not_hold_the_log() {
    let broker = Broker::start(Setup {
        storage: "overlay_len = 16777216".to_owned(),
        ..Setup::default()
    });
    let oldest = broker.data().join("log").join("00000001.log");
    assert!(oldest.exists());
    let client = connect(&broker.env()).await;
    let queue = client
        .create_queue("orders", QueueOptions::new())
        .await
        .unwrap();
    let body = Bytes::from(vec![7; BODY_LEN]);
    for _ in 0..COUNT / 16 {
        let sends: Vec<_> = (0..16).map(|_| queue.send(body.clone())).collect();
        for send in sends {
            send.await.unwrap();
        }
    }
    within(PATIENCE, "the end of the oldest log file", || {
        (!oldest.exists()).then_some(())
    });
    let shown = client.show_queue("orders").await.unwrap();
    assert_eq!(shown.counts.ready, COUNT as u64);
}
