//! Goal: the command line does what scripts rely on: names, JSON keys, exit codes. Method: each
//! command as a process, with the variables of the env file.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::broker::{Broker, SAMPAN, Setup};
use crate::cli;

#[test]
fn a_queue_lives_from_its_creation_over_changes_to_its_deletion() {
    let broker = Broker::start(Setup::default());
    let create = [
        "queue",
        "create",
        "orders",
        "--visibility-timeout",
        "1m",
        "--retention",
        "2d",
    ];
    let more = [
        "--delay",
        "3s",
        "--max-message-size",
        "64KiB",
        "--wait",
        "500ms",
    ];
    broker.cli(&[&create[..], &more].concat()).expect(0);
    let shown = broker.json(&["queue", "show", "orders"]).remove(0);
    for (key, value) in [
        ("name", json!("orders")),
        ("visibility_timeout_ms", json!(60_000)),
        ("retention_ms", json!(172_800_000)),
        ("delay_ms", json!(3_000)),
        ("max_message_size", json!(65_536)),
        ("wait_ms", json!(500)),
        ("ready", json!(0)),
        ("delayed", json!(0)),
        ("in_flight", json!(0)),
    ] {
        assert_eq!(shown[key], value, "{key} of {shown}");
    }
    broker
        .cli(&["queue", "set", "orders", "--delay", "0s"])
        .expect(0);
    let changed = broker.json(&["queue", "show", "orders"]).remove(0);
    assert_eq!(
        (&changed["delay_ms"], &changed["wait_ms"]),
        (&json!(0), &json!(500))
    );
    let table = broker.cli(&["queue", "show", "orders"]).expect(0).stdout;
    assert!(
        table
            .lines()
            .any(|line| line.split_whitespace().eq(["retention", "2d"])),
        "{table}"
    );

    broker.cli(&["queue", "create", "other"]).expect(0);
    let names = |broker: &Broker| broker.cli(&["queue", "list"]).expect(0).stdout;
    assert_eq!(names(&broker), "orders\nother\n");
    broker.cli(&["queue", "delete", "orders"]).expect(0);
    assert_eq!(names(&broker), "other\n");
}

#[test]
fn a_paused_queue_gives_nothing_until_it_is_resumed_and_why_says_so() {
    let broker = Broker::start(Setup::default());
    let why = |broker: &Broker| broker.json(&["queue", "why", "orders"]).remove(0);
    broker.cli(&["queue", "create", "orders"]).expect(0);
    assert_eq!(why(&broker)["why"], "empty");
    broker.cli(&["send", "orders", "one"]).expect(0);
    assert_eq!(why(&broker)["why"], "ready");
    broker.cli(&["queue", "pause", "orders"]).expect(0);
    assert_eq!(why(&broker)["why"], "paused");
    let received = broker.cli(&["receive", "orders"]).expect(0).stdout;
    assert!(!received.contains("one"), "{received}");
    broker.cli(&["queue", "resume", "orders"]).expect(0);
    let received = broker.cli(&["receive", "orders"]).expect(0).stdout;
    assert!(received.contains("one"), "{received}");
    let hidden = why(&broker);
    assert_eq!(hidden["why"], "hidden");
    assert!(hidden["until_ms"].is_u64(), "{hidden}");
}

#[test]
fn messages_are_held_for_longer_and_given_back_by_their_handles() {
    let broker = Broker::start(Setup::default());
    broker.cli(&["queue", "create", "orders"]).expect(0);
    broker.cli(&["send", "orders", "one"]).expect(0);
    let receive = |broker: &Broker| broker.json(&["receive", "orders"]);
    let handle = receive(&broker)[0]["handle"].to_string();
    let extended = ["message", "extend", "orders", &handle, "--for", "1h"];
    assert_eq!(broker.json(&extended)[0]["extended"], true);
    let visible_at = &broker.json(&["queue", "show", "orders"])[0]["visible_at_ms"];
    let why = &broker.json(&["queue", "why", "orders"])[0]["until_ms"];
    assert_eq!(visible_at, why);
    assert!(receive(&broker).is_empty());
    let released = ["message", "release", "orders", &handle];
    broker.cli(&released).expect(0);
    assert_eq!(receive(&broker)[0]["receive_count"], 2);
    // The handle is spent.
    let stderr = broker.cli(&released).expect(1).stderr;
    assert!(stderr.contains("receipt expired"), "{stderr}");
    let too_long = ["message", "extend", "orders", &handle, "--for", "13h"];
    assert!(broker.cli(&too_long).expect(1).stderr.contains("43200000"));
}

#[test]
fn limits_and_redelivery_delays_are_attributes_like_others() {
    let broker = Broker::start(Setup::default());
    let create = [
        "queue",
        "create",
        "orders",
        "--redelivery-delay",
        "1s..10m",
        "--max-messages",
        "2",
        "--max-in-flight",
        "1",
        "--max-delayed",
        "0",
    ];
    broker.cli(&create).expect(0);
    let shown = broker.json(&["queue", "show", "orders"]).remove(0);
    for (key, value) in [
        ("redelivery_delay_min_ms", 1_000),
        ("redelivery_delay_max_ms", 600_000),
        ("max_messages", 2),
        ("max_in_flight", 1),
        ("max_delayed", 0),
    ] {
        assert_eq!(shown[key], json!(value), "{key} of {shown}");
    }
    let refused = broker.cli(&["send", "orders", "late", "--delay", "1s"]);
    assert!(refused.expect(1).stderr.contains("delayed"));
    broker
        .cli(&["send", "orders", "one", "--count", "2"])
        .expect(0);
    let refused = broker.cli(&["send", "orders", "three"]);
    assert!(refused.expect(1).stderr.contains("at most 2 messages"));
    let wrong = ["queue", "set", "orders", "--redelivery-delay", "10s..1s"];
    assert!(broker.cli(&wrong).expect(1).stderr.contains("10000 to"));
}

#[test]
fn queue_names_are_the_same_in_any_case() {
    let broker = Broker::start(Setup::default());
    broker.cli(&["queue", "create", "Orders"]).expect(0);
    broker.cli(&["send", "ORDERS", "one"]).expect(0);
    broker
        .cli(&["queue", "set", "oRDERS", "--wait", "1s"])
        .expect(0);
    assert_eq!(broker.json(&["queue", "show", "orders"])[0]["ready"], 1);
    assert_eq!(
        broker.json(&["receive", "orders", "--delete"])[0]["body"],
        "one"
    );
    assert_eq!(
        broker.json(&["queue", "list"]),
        [json!({ "name": "Orders" })]
    );
    broker.cli(&["queue", "delete", "orders"]).expect(0);
}

#[test]
fn messages_come_out_as_they_went_in_and_once_deleted_never_again() {
    let broker = Broker::start(Setup::default());
    broker.cli(&["queue", "create", "orders"]).expect(0);
    broker.cli(&["send", "orders", "grüße"]).expect(0);
    broker
        .cli(&["send", "orders", "thrice", "--count", "3"])
        .expect(0);
    broker
        .cli_with_input(&["send", "orders", "-"], b"line one\nline two\n")
        .expect(0);
    broker
        .cli_with_input(&["send", "orders"], &[0xff, 0x00, 0x01])
        .expect(0);
    let received = broker.json(&["receive", "orders", "--max", "256"]);
    let bodies: Vec<&Value> = received.iter().map(|message| &message["body"]).collect();
    let expected = [
        "grüße", "thrice", "thrice", "thrice", "line one", "line two", "/wAB",
    ];
    assert_eq!(bodies, expected);
    for (index, message) in received.iter().enumerate() {
        let encoding = (index == 6).then_some("base64");
        assert_eq!(
            message.get("encoding").and_then(Value::as_str),
            encoding,
            "{message}"
        );
        assert_eq!(message["receive_count"], 1);
        assert!(
            message["handle"]
                .as_u64()
                .is_some_and(|handle| handle < 1 << 63)
        );
    }
    let handles: Vec<_> = received
        .iter()
        .map(|message| message["handle"].to_string())
        .collect();
    let mut arguments = vec!["delete", "orders"];
    arguments.extend(handles.iter().map(String::as_str));
    broker.cli(&arguments).expect(0);
    // Nothing is left: printed is nothing, and that is no failure.
    let nothing = broker.cli(&["receive", "orders", "--wait", "0s"]).expect(0);
    assert_eq!(nothing.stdout, "");
    assert_eq!(broker.json(&["queue", "show", "orders"])[0]["in_flight"], 0);
    // The same handles again: each is refused.
    let again = broker.cli(&arguments).expect(1);
    assert!(again.stderr.contains("401"), "{again:?}");
}

#[test]
fn receive_with_delete_deletes_what_it_printed() {
    let broker = Broker::start(Setup::default());
    broker.cli(&["queue", "create", "orders"]).expect(0);
    broker
        .cli(&["send", "orders", "body", "--count", "5"])
        .expect(0);
    let received = broker.json(&["receive", "orders", "--max", "3", "--delete"]);
    assert_eq!(received.len(), 3);
    let shown = broker.json(&["queue", "show", "orders"]).remove(0);
    assert_eq!(
        (&shown["ready"], &shown["in_flight"]),
        (&json!(2), &json!(0))
    );
}

#[test]
fn an_env_file_can_be_named_instead_of_variables() {
    let broker = Broker::start(Setup::default());
    let file = broker.data().join("dev.env");
    let command = cli::command(&["queue", "list", "--env-file", file.to_str().unwrap()]);
    cli::run(command, b"").expect(0);
}

#[test]
fn wrong_usage_exits_with_2_and_no_connection_with_3() {
    for arguments in [
        &["frobnicate"][..],
        &["queue", "create"],
        &["queue", "create", "q", "--retention", "soon"],
        &["receive", "q", "--max", "257"],
        &["send", "q", "body", "--count", "0"],
        &["delete", "q", "no-handle"],
        &["serve", "--cores", "0"],
    ] {
        let ended = cli::run(cli::command(arguments), b"").expect(2);
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
    // A port that is bound and does not listen: nobody else can take it meanwhile.
    let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    taken.bind(&any.into()).unwrap();
    let port = taken.local_addr().unwrap().as_socket().unwrap().port();
    let mut command = cli::command(&["queue", "list"]);
    let unreachable = [
        ("SAMPAN_SERVER", format!("sampan+tcp://127.0.0.1:{port}")),
        ("SAMPAN_SECRET_ID", "AKIDx".to_owned()),
        ("SAMPAN_SECRET_KEY", "key".to_owned()),
    ];
    command.envs(unreachable);
    let ended = cli::run(command, b"").expect(3);
    assert!(!ended.stderr.is_empty());
}

#[test]
fn without_dev_a_broker_needs_certificate_and_accounts() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut command = Command::new(SAMPAN);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data);
    let ended = cli::run(command, b"").expect(1);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("account"), "{ended:?}");
    assert!(ended.stderr.contains("--dev"), "{ended:?}");
}
