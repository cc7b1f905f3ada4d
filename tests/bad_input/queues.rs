//! Goal: what cannot be done with a queue is refused with its number, by the command line as well
//! as on the wire. Method: the command line, whose exit codes and stderr are a contract too.

use sampan_protocol::ErrorCode;

use crate::broker::{Broker, Setup};

/// Runs a command that the broker must refuse with `code`; returns what it said.
fn refused(broker: &Broker, arguments: &[&str], code: ErrorCode) -> String {
    let ended = broker.cli(arguments).expect(1);
    let number = format!("{}", code.number());
    assert!(
        ended.stderr.contains(&number),
        "{number} is not in {ended:?}"
    );
    assert_eq!(ended.stdout, "");
    ended.stderr
}

#[test]
fn what_cannot_be_done_with_a_queue_is_refused_with_its_number() {
    let broker = Broker::start(Setup::default());
    broker.cli(&["queue", "create", "orders"]).expect(0);
    let exists = ErrorCode::QueueAlreadyExists;
    refused(&broker, &["queue", "create", "orders"], exists);
    refused(&broker, &["queue", "create", "ORDERS"], exists);
    let missing = ErrorCode::QueueNotFound;
    for arguments in [
        &["queue", "show", "nobody"][..],
        &["queue", "set", "nobody", "--delay", "1s"],
        &["queue", "delete", "nobody"],
        &["send", "nobody", "body"],
        &["receive", "nobody"],
        &["delete", "nobody", "1"],
    ] {
        refused(&broker, arguments, missing);
    }
    let invalid = ErrorCode::InvalidQueueName;
    let long = "x".repeat(65);
    for name in ["", "9lives", "-x", "a b", "a/b", "queue!", "büro", &long] {
        let said = refused(&broker, &["queue", "create", "--", name], invalid);
        assert!(said.contains("64"), "the limit is not in {said:?}");
    }
    broker.cli(&["queue", "create", &"x".repeat(64)]).expect(0);
    broker.cli(&["queue", "delete", "orders"]).expect(0);
    refused(&broker, &["queue", "delete", "orders"], missing);
}

#[test]
fn attributes_out_of_range_are_refused_with_the_range_and_leave_the_queue_as_it_was() {
    let broker = Broker::start(Setup::default());
    broker.cli(&["queue", "create", "orders"]).expect(0);
    let before = broker.json(&["queue", "show", "orders"]);
    for (option, value, limit) in [
        ("--visibility-timeout", "0s", "1000"),
        ("--visibility-timeout", "13h", "43200000"),
        ("--retention", "59s", "60000"),
        ("--retention", "401d", "34560000000"),
        ("--delay", "5d", "345600000"),
        ("--max-message-size", "2MiB", "1048576"),
        ("--wait", "31s", "30000"),
    ] {
        for verb in [["queue", "set", "orders"], ["queue", "create", "fresh"]] {
            let arguments = [&verb[..], &[option, value]].concat();
            let said = refused(&broker, &arguments, ErrorCode::AttributeOutOfRange);
            assert!(said.contains(limit), "{limit} is not in {said:?}");
        }
    }
    assert_eq!(broker.json(&["queue", "show", "orders"]), before);
    refused(
        &broker,
        &["queue", "show", "fresh"],
        ErrorCode::QueueNotFound,
    );
}
