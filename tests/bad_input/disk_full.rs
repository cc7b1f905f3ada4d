//! Goal: a full disk stops sends and nothing else, and only for as long as it is full. Method: a
//! small `used_len_max`, and a file of ballast in the data folder that comes and goes: how much the
//! log and the store take by themselves is theirs to choose.

use std::fs::File;

use sampan_protocol::ErrorCode;

use crate::broker::{Broker, Setup};
use crate::cli::Ended;
use crate::first_line::START_MAX;
use crate::waiting::within;

/// More than a broker takes that does next to nothing.
const USED_LEN_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Sends until the outcome is as expected: the disk is looked at now and then only.
fn send_until(broker: &Broker, expected: impl Fn(&Ended) -> bool) -> Ended {
    within(START_MAX, "another outcome of a send", || {
        let ended = broker.cli(&["send", "orders", "body"]);
        println!("{ended:?}");
        Some(ended).filter(&expected)
    })
}

#[test]
fn a_full_disk_refuses_sends_only_and_recovers_by_itself() {
    let storage = format!("used_len_max = {USED_LEN_MAX}");
    let broker = Broker::start(Setup {
        storage,
        ..Setup::default()
    });
    broker.cli(&["queue", "create", "orders"]).expect(0);
    broker
        .cli(&["send", "orders", "before", "--count", "20"])
        .expect(0);
    let ballast = broker.data().join("ballast");
    // Sparse: it has the length, and takes no room of the machine's.
    File::create(&ballast)
        .unwrap()
        .set_len(USED_LEN_MAX)
        .unwrap();
    let refused = send_until(&broker, |ended| ended.code != Some(0));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains(&ErrorCode::StorageFull.number().to_string()),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("storage full"), "{refused:?}");

    let received = broker.json(&["receive", "orders", "--max", "10", "--delete"]);
    assert_eq!(received.len(), 10);
    let received = broker.json(&["receive", "orders"]);
    let handle = received[0]["handle"].to_string();
    broker.cli(&["delete", "orders", &handle]).expect(0);
    broker
        .cli(&["queue", "set", "orders", "--delay", "0s"])
        .expect(0);
    broker.cli(&["send", "orders", "body"]).expect(1);

    std::fs::remove_file(&ballast).unwrap();
    send_until(&broker, |ended| ended.code == Some(0));
}
