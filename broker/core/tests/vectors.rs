//! Goal: the bytes of entries and rows are those of `spec/vectors/core`, and no byte string makes
//! reading them panic.
//!
//! Method: an entry with every command, and a state with every kind of row, are compared with the
//! files and read back; then damaged copies and random bytes are read. `UPDATE=1` writes the files;
//! that is right only together with a new format version.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sampan_core::{
    Arrival, Broker, CatalogCommand, Command, Entry, Fate, NodeJoin, RedriveOrder, RedriveStep,
    Reply, RowKey, SetRecord,
};
use sampan_protocol::{
    AttributeChanges, BatchBuilder, DeathReason, Durability, GroupMode, Handles, MessageBatch,
    MessageId, NewMessage, ProducerNumber, ProducerSession, QueueAttributes, QueueId,
    ReceiptHandle, RedriveFilter, SetId, Timestamp, WhenFull,
};

const QUEUE: QueueId = QueueId(1);
const GROUPS: QueueId = QueueId(5);

fn batch() -> MessageBatch {
    let mut builder = BatchBuilder::new();
    for (body, delay_ms) in [
        (&b"first"[..], None),
        (b"second", Some(9_000)),
        (b"third", Some(0)),
    ] {
        builder
            .push(NewMessage {
                body: Bytes::from_static(body),
                delay_ms,
                ..NewMessage::default()
            })
            .unwrap();
    }
    builder.finish()
}

fn handles() -> Handles {
    [ReceiptHandle(0x8123), ReceiptHandle(77)]
        .into_iter()
        .collect()
}

fn catalog_commands() -> Vec<CatalogCommand> {
    let (account, queue, attributes) = (7, QUEUE, QueueAttributes::default());
    let changes = AttributeChanges {
        delay_ms: Some(5),
        message_size_max: Some(100),
        ..Default::default()
    };
    vec![
        CatalogCommand::Create {
            account,
            name: "Orders".into(),
            attributes,
            set: SetId(2),
        },
        CatalogCommand::Confirm { queue },
        CatalogCommand::Set {
            account,
            name: "orders".into(),
            changes,
        },
        CatalogCommand::Delete {
            account,
            name: "orders".into(),
        },
        CatalogCommand::Removed { queue: QueueId(9) },
    ]
}

fn join(node: u64) -> CatalogCommand {
    CatalogCommand::NodeJoin(NodeJoin {
        node,
        incarnation: 0x1111_2222_3333_4444_5555_6666_7777_8880 + u128::from(node),
        peer_address: format!("10.0.0.{node}:7413"),
        client_address: format!("10.0.0.{node}:7411"),
        http_address: String::new(),
        zone: "a".to_owned(),
        format_version_max: 1,
        release: "0.1.0".to_owned(),
    })
}

/// In this order each of them is carried out.
fn cluster_commands() -> Vec<CatalogCommand> {
    let incarnation = |node: u128| 0x1111_2222_3333_4444_5555_6666_7777_8880 + node;
    vec![
        CatalogCommand::ClusterFound {
            cluster: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
            set_count: 4,
            replica_count: 3,
            format_version: 1,
        },
        join(1),
        join(2),
        join(3),
        CatalogCommand::NodeDrain {
            node: 1,
            is_draining: true,
        },
        CatalogCommand::SetPlace(SetRecord {
            set: SetId(2),
            voters: vec![1, 3],
            preferred_leader: Some(3),
        }),
        CatalogCommand::NodeLeave {
            node: 2,
            incarnation: incarnation(2),
        },
        CatalogCommand::NodeReplaced {
            node: 3,
            incarnation: incarnation(3),
        },
        CatalogCommand::NodeRemoved {
            node: 2,
            incarnation: incarnation(2),
        },
        CatalogCommand::ClusterFormat { format_version: 1 },
    ]
}

fn numbered(number: u64, batch: MessageBatch) -> Command {
    let session = ProducerSession::new(Timestamp(1_700_000_000_000), *b"0123456789");
    Command::Send {
        queue: QUEUE,
        producer: Some(ProducerNumber { session, number }),
        batch,
    }
}

/// Two messages with keys of their own, and one with the key of the first.
fn keyed_batch() -> MessageBatch {
    let mut builder = BatchBuilder::new();
    for key in [&b"order-1"[..], b"order-2", b"order-1"] {
        builder
            .push(NewMessage {
                body: Bytes::from_static(b"keyed"),
                dedup_key: Bytes::from_static(key),
                ..NewMessage::default()
            })
            .unwrap();
    }
    builder.finish()
}

/// Creates a queue in which groups take turns, sends messages of three, and receives two.
fn grouped_commands() -> Vec<Command> {
    let queue = GROUPS;
    let mut builder = BatchBuilder::new();
    for key in ["a", "a", "b", "c"] {
        builder
            .push(NewMessage {
                body: Bytes::from_static(b"grouped"),
                group_key: Bytes::from_static(key.as_bytes()),
                ..NewMessage::default()
            })
            .unwrap();
    }
    let attributes = QueueAttributes {
        groups: GroupMode::Fair,
        ..QueueAttributes::default()
    };
    vec![
        Command::QueueCreate {
            queue,
            name: "groups".to_owned(),
            attributes,
            secret: 0x5eed,
        },
        Command::Send {
            queue,
            producer: None,
            batch: builder.finish(),
        },
        Command::Receive {
            queue,
            count_max: 2,
            len_max: 0,
            visibility_timeout_ms: None,
        },
    ]
}

/// Three messages that another queue gave up.
fn deliver() -> Command {
    let arrival = |number| Arrival {
        number,
        sent_at: Timestamp(1_699_999_000_000 + number),
    };
    Command::Deliver {
        queue: QUEUE,
        source: QueueId(9),
        arrivals: [4, 5, 7].map(arrival).into(),
        batch: keyed_batch(),
    }
}

/// A redrive with every filter.
fn redrive() -> Command {
    Command::RedriveBegin {
        queue: QUEUE,
        order: RedriveOrder {
            target: Some(QueueId(9)),
            target_name: "late".to_owned(),
            filter: RedriveFilter {
                since: Timestamp(1_699_999_000_000),
                reason: Some(DeathReason::Age),
                source_queue: "orders".to_owned(),
                header_name: "tenant".to_owned(),
                header_value: Bytes::from_static(b"acme"),
            },
            rate: 500,
        },
    }
}

fn step() -> Command {
    let step = RedriveStep {
        job: 1,
        cursor: MessageId(3),
        picks: vec![(MessageId(3), QueueId(9))],
        skipped: 2,
        is_last: false,
    };
    Command::RedriveStep { queue: QUEUE, step }
}

/// Every kind of command, each kind of catalog command included.
fn commands() -> Vec<Command> {
    let (queue, attributes) = (QUEUE, QueueAttributes::default());
    let receive = |visibility_timeout_ms| Command::Receive {
        queue,
        count_max: 2,
        len_max: 1 << 20,
        visibility_timeout_ms,
    };
    let reschedule = |delay_ms: Option<u64>| Command::Reschedule {
        queue,
        id: MessageId(MessageId::DELAYED_BIT + 1 + u64::from(delay_ms.is_none())),
        delay_ms,
    };
    let mut commands = vec![
        Command::QueueCreate {
            queue,
            name: "orders".to_owned(),
            attributes,
            secret: 0x5eed,
        },
        Command::Send {
            queue,
            producer: None,
            batch: batch(),
        },
        receive(None),
        receive(Some(1_000)),
        Command::Delete {
            queue,
            handles: handles(),
        },
        Command::ChangeVisibility {
            queue,
            visibility_timeout_ms: 0,
            handles: handles(),
        },
        Command::Release {
            queue,
            handles: handles(),
        },
        Command::Purge { queue: QueueId(2) },
        reschedule(Some(9_500)),
        reschedule(None),
        deliver(),
        Command::Settle {
            queue,
            fates: vec![(1, Fate::Delivered), (2, Fate::Undeliverable)],
        },
        Command::Rewind {
            queue,
            to: Timestamp(1_699_999_999_000),
        },
        redrive(),
        step(),
        Command::RedriveCancel { queue: QueueId(2) },
        numbered(1, batch()),
        Command::QueueSet { queue, attributes },
        Command::QueueDelete { queue: QueueId(2) },
    ];
    let catalog = catalog_commands().into_iter().chain(cluster_commands());
    commands.extend(catalog.map(Command::Catalog));
    commands.push(Command::HoldSettlements {
        token: 0x77,
        for_ms: 60_000,
    });
    commands
}

fn entry() -> Entry {
    Entry {
        stamp: Timestamp(1_700_000_000_000),
        commands: commands(),
        ..Entry::default()
    }
}

/// Messages ready again, in groups, in flight, delayed, resting, moving, kept and fresh; and the
/// hash after each entry.
fn broker() -> (Broker, [u64; 3]) {
    let mut broker = Broker::new();
    let (mut effects, mut replies) = (Vec::new(), Vec::new());
    broker.apply(&entry(), &mut effects, &mut replies).unwrap();
    let first_hash = broker.state_hash();
    let received = handles_of(&replies[2]);
    let attributes = QueueAttributes {
        redelivery_delay_min_ms: 1_000,
        redelivery_delay_max_ms: 60_000,
        ..QueueAttributes::default()
    };
    let receive = Command::Receive {
        queue: QUEUE,
        count_max: 3,
        len_max: 0,
        visibility_timeout_ms: None,
    };
    let mut commands = vec![
        numbered(2, batch()),
        numbered(2, batch()),
        numbered(3, keyed_batch()),
        receive,
        give_up(received[0]),
        Command::QueueSet {
            queue: QUEUE,
            attributes,
        },
        give_up(received[1]),
    ];
    commands.extend(grouped_commands());
    let entry = Entry {
        stamp: Timestamp(1_700_000_001_500),
        commands,
        ..Entry::default()
    };
    replies.clear();
    broker.apply(&entry, &mut effects, &mut replies).unwrap();
    let second_hash = broker.state_hash();
    let attributes = QueueAttributes {
        dead_letter_queue: 9,
        receive_count_max: 1,
        rewind_ms: 3_600_000,
        byte_count_max: 1 << 30,
        when_full: WhenFull::DropOldestToDeadLetter,
        ..attributes
    };
    let received = handles_of(&replies[3]);
    let grouped = handles_of(replies.last().unwrap());
    let commands = vec![
        Command::QueueSet {
            queue: QUEUE,
            attributes,
        },
        give_up(received[0]),
        Command::Delete {
            queue: QUEUE,
            handles: [received[1]].into_iter().collect(),
        },
        Command::ChangeVisibility {
            queue: GROUPS,
            visibility_timeout_ms: 0,
            handles: [grouped[1]].into_iter().collect(),
        },
    ];
    let entry = Entry {
        stamp: Timestamp(1_700_000_001_600),
        commands,
        ..Entry::default()
    };
    broker.apply(&entry, &mut effects, &mut replies).unwrap();
    let hashes = [first_hash, second_hash, broker.state_hash()];
    (broker, hashes)
}

fn handles_of(reply: &Reply) -> Vec<ReceiptHandle> {
    let Reply::Received(deliveries) = reply else {
        panic!("{reply:?}")
    };
    deliveries.iter().map(|delivery| delivery.handle).collect()
}

fn give_up(handle: ReceiptHandle) -> Command {
    Command::ChangeVisibility {
        queue: QUEUE,
        visibility_timeout_ms: 0,
        handles: [handle].into_iter().collect(),
    }
}

/// Rows of every kind.
fn rows() -> Vec<(RowKey, Vec<u8>)> {
    let (mut broker, _) = broker();
    let rows = broker.freeze().into_rows();
    rows.filter_map(|(key, row)| Some((key, row?))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn assert_file(name: &str, have: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/core");
    let path = folder.join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&path, have).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap();
    assert_eq!(have, want, "{}", path.display());
    want
}

#[test]
fn an_entry_has_the_bytes_of_its_vector_and_comes_back_from_them() {
    let mut text = String::new();
    for (number, command) in commands().into_iter().enumerate() {
        let entry = Entry {
            stamp: Timestamp(1_700_000_000_000),
            durability: match command {
                Command::Release { .. } => Durability::Async,
                _ => Durability::Sync,
            },
            commands: vec![command],
        };
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        assert_eq!(bytes.len(), entry.encoded_len());
        writeln!(text, "{number} {}", hex(&bytes)).unwrap();
    }
    let mut bytes = Vec::new();
    entry().encode(&mut bytes);
    assert_eq!(Entry::decode(bytes.into()), Ok(entry()));
    let text = assert_file("entries.hex", &text);
    for (line, command) in text.lines().zip(commands()) {
        let (_, bytes) = line.split_once(' ').unwrap();
        assert_eq!(
            Entry::decode(unhex(bytes).into()).unwrap().commands,
            [command]
        );
    }
}

#[test]
fn every_kind_of_row_has_the_bytes_of_its_vector() {
    let mut text = String::new();
    let mut kinds = Vec::new();
    for (key, row) in rows() {
        kinds.push(key.kind);
        writeln!(text, "{} {}", hex(&key.encode()), hex(&row)).unwrap();
    }
    for kind in [
        RowKey::SET,
        RowKey::CATALOG,
        RowKey::RECORD,
        RowKey::CLUSTER,
        RowKey::NODE,
        RowKey::RETIRED,
        RowKey::PLACEMENT,
        RowKey::QUEUE,
        RowKey::MARK,
        RowKey::DIRECTORY,
        RowKey::LEASES,
        RowKey::DELAYED_DIRECTORY,
        RowKey::DELAYED,
        RowKey::PRODUCER,
        RowKey::RESTING,
        RowKey::LETTERS,
        RowKey::LANE,
        RowKey::KEYS,
        RowKey::KEPT,
        RowKey::REDRIVE,
        RowKey::REPLY,
        RowKey::GROUPED,
        RowKey::HELD,
        RowKey::PAGE,
    ] {
        assert!(kinds.contains(&kind), "no row of kind {kind:#x}");
    }
    assert_file("rows.hex", &text);
    assert!(Broker::restore(rows().into_iter().map(|(key, row)| (key, row.into()))).is_ok());
}

#[test]
fn the_state_hash_is_that_of_its_vector() {
    let (mut broker, hashes) = broker();
    let lines = hashes.map(|hash| format!("{hash:016x}\n"));
    assert_file("state_hash.hex", &lines.concat());
    let rows = broker.freeze().into_rows();
    let rows = rows.filter_map(|(key, row)| Some((key, Bytes::from(row?))));
    assert_eq!(Broker::restore(rows).unwrap().state_hash(), hashes[2]);
}

#[test]
fn every_command_of_the_cluster_is_carried_out_by_its_vector() {
    let mut replies = Vec::new();
    let applied = Broker::new().apply(&entry(), &mut Vec::new(), &mut replies);
    assert_eq!(applied, Ok(()));
    let refused = |reply: &&Reply| matches!(reply, Reply::Refused(_));
    let of_cluster = replies.len() - cluster_commands().len();
    assert_eq!(replies[of_cluster..].iter().find(refused), None);
}

#[test]
fn a_batch_and_handles_of_an_entry_are_shared_not_copied() {
    let mut bytes = Vec::new();
    entry().encode(&mut bytes);
    let bytes = Bytes::from(bytes);
    let inside = bytes.as_ptr_range();
    for command in Entry::decode(bytes.clone()).unwrap().commands {
        let part = match &command {
            Command::Send { batch, .. } => batch.as_bytes(),
            Command::Delete { handles, .. } => handles.as_bytes(),
            _ => continue,
        };
        assert!(inside.contains(&part.as_ptr()));
    }
}

#[test]
fn damaged_and_random_entries_are_refused_or_read_but_never_panic() {
    let mut whole = Vec::new();
    entry().encode(&mut whole);
    for len in 0..whole.len() {
        assert!(
            Entry::decode(Bytes::copy_from_slice(&whole[..len])).is_err(),
            "cut at {len}"
        );
    }
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        let read = Entry::decode(bytes.into());
        // What could be read can be applied, whatever it says.
        if let Ok(entry) = read {
            let mut broker = Broker::new();
            broker
                .apply(&entry, &mut Vec::new(), &mut Vec::new())
                .unwrap();
        }
        let len = random.random_range(0..80);
        let bytes: Vec<u8> = (0..len).map(|_| random.random()).collect();
        drop(Entry::decode(bytes.into()));
    }
}

#[test]
fn damaged_rows_are_refused_or_read_but_never_panic() {
    let whole = rows();
    let mut random = StdRng::seed_from_u64(2);
    for _ in 0..20_000 {
        let mut rows = whole.clone();
        let (_, row) = &mut rows[random.random_range(0..whole.len())];
        if random.random() {
            let at = random.random_range(0..row.len());
            row[at] ^= 1 << random.random_range(0..8);
        } else {
            row.truncate(random.random_range(0..row.len()));
        }
        drop(Broker::restore(
            rows.into_iter().map(|(key, row)| (key, row.into())),
        ));
    }
}

#[test]
fn rows_out_of_order_or_without_their_queue_are_refused() {
    let restore = |rows: Vec<(RowKey, Vec<u8>)>| {
        Broker::restore(rows.into_iter().map(|(key, row)| (key, row.into())))
    };
    let mut reversed = rows();
    reversed.reverse();
    assert!(restore(reversed).is_err());
    let orphans = rows()
        .into_iter()
        .filter(|(key, _)| key.kind != RowKey::QUEUE)
        .collect();
    assert!(restore(orphans).is_err());
}
