//! Goal: a backup that is taken under load has everything that was acknowledged before it began,
//! and is restored as it was or refused. Method: queues in every state, clients that go on while
//! the backup is taken, then a restored folder in the place of the old one; then damaged copies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sampan_client::{Client, Message, Queue, QueueOptions};
use sampan_protocol::QueueDescription;
use serde_json::Value;

use crate::broker::{Broker, Setup};
use crate::cli;
use crate::client::connect;
use crate::waiting::within;

const LONG: Duration = Duration::from_secs(3_600);
/// Queues that nobody touches while the backup is taken.
const QUIET: [&str; 5] = ["orders", "empty", "first", "second", "third"];

fn body(number: u32) -> Bytes {
    format!("{number:08}").repeat(128).into()
}

async fn create(client: &Client, name: &str) -> Queue {
    let created = client.create_queue(name, QueueOptions::new()).await;
    created.unwrap()
}

async fn send(queue: &Queue, numbers: std::ops::Range<u32>) {
    let sends: Vec<_> = numbers.map(|number| queue.send(body(number))).collect();
    for send in sends {
        send.await.unwrap();
    }
}

async fn shown(client: &Client) -> Vec<QueueDescription> {
    let mut shown = Vec::new();
    for name in QUIET {
        shown.push(client.show_queue(name).await.unwrap());
    }
    shown
}

/// Makes the quiet queues; returns receipt handles of messages in flight.
async fn fill(broker: &Broker, client: &Client) -> Vec<Value> {
    let mut queues = Vec::new();
    for name in QUIET {
        queues.push(create(client, name).await);
    }
    send(&queues[0], 0..600).await;
    let late = Message::new("late").delay(LONG);
    queues[0].send_with(late).await.unwrap();
    for queue in &queues[2..] {
        send(queue, 0..40).await;
    }
    let receive = ["receive", "orders", "--max", "100"];
    let received = broker.json(&[&receive[..], &["--visibility-timeout", "1h"]].concat());
    let handles: Vec<Value> = received
        .into_iter()
        .map(|received| received["handle"].clone())
        .collect();
    assert_eq!(handles.len(), 100);
    let gone: Vec<String> = handles[..50].iter().map(Value::to_string).collect();
    let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
    broker
        .cli(&[&["delete", "orders"], &gone[..]].concat())
        .expect(0);
    handles
}

/// What goes on while the backup is taken: sends, and queues that come and go.
struct Load {
    stop: Arc<AtomicBool>,
    sent_count: Arc<AtomicU32>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    async fn start(client: &Client) -> Load {
        let busy = create(client, "busy").await;
        let load = Load {
            stop: Arc::default(),
            sent_count: Arc::default(),
            tasks: Vec::new(),
        };
        let (stop, sent_count) = (load.stop.clone(), load.sent_count.clone());
        let sending = tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let first = sent_count.load(Ordering::Relaxed);
                send(&busy, first..first + 20).await;
                sent_count.store(first + 20, Ordering::Relaxed);
            }
        });
        let (stop, client) = (load.stop.clone(), client.clone());
        let changing = tokio::spawn(async move {
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let queue = create(&client, &format!("come-{round}")).await;
                send(&queue, 0..3).await;
                if round >= 4 {
                    client
                        .delete_queue(&format!("come-{}", round - 4))
                        .await
                        .unwrap();
                }
            }
        });
        Load {
            tasks: vec![sending, changing],
            ..load
        }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// Everything in a queue; each message is what was sent under its number.
async fn drain(queue: &Queue) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    loop {
        let received = queue
            .receive()
            .max(256)
            .visibility_timeout(LONG)
            .await
            .unwrap();
        if received.is_empty() {
            return numbers;
        }
        for delivery in received {
            let number = std::str::from_utf8(&delivery.body[..8])
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(delivery.body, body(number));
            assert!(numbers.insert(number), "{number} is there twice");
        }
    }
}

fn restore(backup: &Path, data: &Path) -> Command {
    let mut command = cli::command(&["restore"]);
    command.arg(backup).arg("--data").arg(data);
    command
}

#[tokio::test]
async fn a_backup_under_load_has_all_that_was_acknowledged_before_it_began() {
    let mut broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let handles = fill(&broker, &client).await;
    let load = Load::start(&client).await;
    while load.sent_count.load(Ordering::Relaxed) < 400 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = shown(&client).await;
    let promised = load.sent_count.load(Ordering::Relaxed);
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let mut command = cli::command(&["backup", "--output", "json"]);
    command.arg(&backup).envs(broker.env());
    let taken = tokio::task::spawn_blocking(move || cli::run(command, b"")).await;
    let taken = taken.unwrap().objects().remove(0);
    assert_eq!(taken["dir"], backup.to_str().unwrap());
    assert_eq!(taken["set_count"], 2);
    let again = broker.cli(&["backup", backup.to_str().unwrap()]).expect(1);
    assert!(again.stderr.contains("not empty"), "{again:?}");
    load.stop().await;
    drop(client);
    broker.terminate();
    let old = broker.data().with_extension("old");
    fs::rename(broker.data(), old).unwrap();
    cli::run(restore(&backup, &broker.data()), b"").expect(0);
    broker.launch();
    let client = connect(&broker.env()).await;
    assert_eq!(shown(&client).await, before);
    compare(&broker, &client, promised, &handles).await;
    // It is a node like any other: it comes back as it is.
    let before = shown(&client).await;
    broker.terminate();
    broker.launch();
    assert_eq!(shown(&client).await, before);
}

/// What the restored broker has beyond the counts.
async fn compare(broker: &Broker, client: &Client, promised: u32, handles: &[Value]) {
    let found = drain(&client.queue("busy")).await;
    let missing: Vec<u32> = (0..promised)
        .filter(|number| !found.contains(number))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    for name in ["first", "second", "third"] {
        assert_eq!(
            drain(&client.queue(name)).await,
            (0..40).collect(),
            "{name}"
        );
    }
    assert_eq!(drain(&client.queue("orders")).await, (100..600).collect());
    // Handles of messages in flight are as good as they were, those of deleted ones are not.
    broker
        .cli(&["delete", "orders", &handles[60].to_string()])
        .expect(0);
    broker
        .cli(&["delete", "orders", &handles[10].to_string()])
        .expect(1);
    // Whatever queue the catalog knows, its set has.
    let listed = broker.json(&["queue", "list"]);
    assert!(listed.len() > QUIET.len());
    for queue in listed {
        let name = queue["name"].as_str().unwrap();
        client.show_queue(name).await.unwrap();
        client.queue(name).send("more").await.unwrap();
    }
    create(client, "after").await.send("more").await.unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_backup_with_any_file_damaged_is_refused_by_its_name() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    fill(&broker, &client).await;
    let folder = tempfile::tempdir().unwrap();
    let (backup, data) = (folder.path().join("backup"), folder.path().join("data"));
    broker.cli(&["backup", backup.to_str().unwrap()]).expect(0);
    let files = files(&backup);
    assert!(files.len() >= 5, "{files:?}");
    for file in &files {
        let content = fs::read(file).unwrap();
        for place in [0, content.len() / 2, content.len() - 1] {
            let mut changed = content.clone();
            changed[place] ^= 0x10;
            fs::write(file, changed).unwrap();
            let refused = cli::run(restore(&backup, &data), b"").expect(1);
            let name = file.display().to_string();
            assert!(
                refused.stderr.contains(&name),
                "byte {place} of {name}: {refused:?}"
            );
            let left = fs::read_dir(&data).map_or(0, Iterator::count);
            assert_eq!(left, 0, "byte {place} of {name}");
        }
        fs::remove_file(file).unwrap();
        let refused = cli::run(restore(&backup, &data), b"");
        assert_ne!(refused.code, Some(0), "{refused:?}");
        fs::write(file, content).unwrap();
    }
    cli::run(restore(&backup, &data), b"").expect(0);
    let again = cli::run(restore(&backup, &data), b"").expect(2);
    assert!(again.stderr.contains("not empty"), "{again:?}");
}

/// Two queues that are in different sets.
async fn apart(broker: &Broker, client: &Client) -> (Queue, Queue) {
    let mut first: Option<(Queue, u64)> = None;
    for number in 0..64 {
        let name = format!("apart-{number}");
        let queue = create(client, &name).await;
        let set = broker.json(&["queue", "show", &name]).remove(0)["set"].clone();
        let set = set.as_u64().unwrap();
        match first.take() {
            None => first = Some((queue, set)),
            Some((before, its_set)) if its_set < set => return (before, queue),
            Some((before, its_set)) if its_set > set => return (queue, before),
            same => first = same,
        }
    }
    panic!("all queues are in one set");
}

#[tokio::test]
async fn a_message_that_moves_while_a_backup_is_taken_is_in_it_once() {
    const COUNT: u32 = 20_000;
    let mut broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let (from, to) = apart(&broker, &client).await;
    let (from_name, to_name) = (from.name().to_owned(), to.name().to_owned());
    send(&from, 0..COUNT).await;
    broker
        .cli(&["dead-letter", "redrive", &from_name, "--to", &to_name])
        .expect(0);
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    within(Duration::from_secs(60), "messages on their way", || {
        let shown = broker.json(&["queue", "show", &to_name]).remove(0);
        shown["ready"].as_u64().filter(|ready| *ready > 0)
    });
    broker.cli(&["backup", backup.to_str().unwrap()]).expect(0);
    let left = client.show_queue(&from_name).await.unwrap().counts;
    assert!(left.ready + left.moving > 0, "the backup came too late");
    drop((client, from, to));
    broker.terminate();
    fs::rename(broker.data(), broker.data().with_extension("old")).unwrap();
    cli::run(restore(&backup, &broker.data()), b"").expect(0);
    broker.launch();
    let client = connect(&broker.env()).await;
    // The redrive goes on where the backup has it.
    let shown = || broker.json(&["queue", "show", &from_name]).remove(0);
    within(Duration::from_secs(120), "the end of the move", || {
        let shown = shown();
        (shown["moving"] == 0 && shown["ready"] == 0).then_some(())
    });
    let found = drain(&client.queue(&to_name)).await;
    let missing: Vec<u32> = (0..COUNT).filter(|it| !found.contains(it)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
