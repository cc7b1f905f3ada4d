//! Values of every type that travels, drawn at random.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sampan_protocol::limits::{
    KEY_LEN_MAX, RECEIVE_LEN_MAX, RECEIVE_WAIT_MAX_MS, VISIBILITY_TIMEOUT_MAX_MS,
    VISIBILITY_TIMEOUT_MIN_MS,
};
use sampan_protocol::{
    AdminReply, AdminRequest, Applied, AttributeChanges, Authenticate, Authenticated, BatchBuilder,
    ChangeVisibility, DeathReason, Delete, Durability, ErrorCode, ErrorReply, GroupMode,
    HandleResults, Handles, Hello, HelloReply, MessageBatch, MessageId, Name, NewMessage, Peek,
    PeekOf, PeekedMessage, ProducerNumber, ProducerSession, QueueAttributes, QueueCounts,
    QueueCreate, QueueDescription, QueueId, QueueList, QueueListPage, QueueRewind, QueueSet,
    ReceiptHandle, Receive, ReceivedMessage, Redrive, RedriveBegun, RedriveFilter, RedriveState,
    RedriveStatus, Reply, Request, Reschedule, RouteReply, RouteRequest, Send, Sent, SentReply,
    SetId, Timestamp, WhenFull, checksum, headers,
};

pub(crate) fn name() -> impl Strategy<Value = Name> {
    prop_oneof!["[a-zA-Z][a-zA-Z0-9_-]{0,63}", ".{0,80}"].prop_map(|text| Name::from(&text))
}

pub(crate) fn changes() -> impl Strategy<Value = AttributeChanges> {
    let short = || option::of(any::<u32>());
    let long = || option::of(any::<u64>());
    let first = (short(), long(), long(), short(), short());
    let second = (option::of(any::<bool>()), short(), short(), short());
    let counts = (long(), long(), long());
    let dead = (long(), short(), long(), long());
    let groups = prop::sample::select(&[GroupMode::Off, GroupMode::Ordered, GroupMode::Fair][..]);
    let is_set = || option::of(any::<bool>());
    let full = (long(), is_set(), is_set(), option::of(groups));
    let all = (first, second, counts, dead, full);
    all.prop_map(|(first, second, counts, dead, full)| AttributeChanges {
        visibility_timeout_ms: first.0,
        retention_ms: first.1,
        delay_ms: first.2,
        message_size_max: first.3,
        receive_wait_ms: first.4,
        is_paused: second.0,
        redelivery_delay_min_ms: second.1,
        redelivery_delay_max_ms: second.2,
        message_count_max: counts.0,
        in_flight_count_max: counts.1,
        delayed_count_max: counts.2,
        dead_letter_queue: dead.0,
        receive_count_max: dead.1,
        dead_letter_after_ms: dead.2,
        dedup_window_ms: second.3,
        rewind_ms: dead.3,
        groups: full.3,
        byte_count_max: full.0,
        when_full: full.1.map(|drops| match drops {
            false => WhenFull::Refuse,
            true => WhenFull::DropOldestToDeadLetter,
        }),
        durability: full.2.map(durability),
    })
}

fn durability(is_async: bool) -> Durability {
    match is_async {
        false => Durability::Sync,
        true => Durability::Async,
    }
}

pub(crate) fn encoded_headers() -> impl Strategy<Value = Bytes> {
    vec((".{1,12}", vec(any::<u8>(), 0..20)), 0..4).prop_map(|pairs| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()));
        headers::encode(pairs).unwrap()
    })
}

pub(crate) fn body() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 1..200).prop_map(Bytes::from)
}

pub(crate) fn dedup_key() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=KEY_LEN_MAX).prop_map(Bytes::from)
}

pub(crate) fn batch() -> impl Strategy<Value = MessageBatch> {
    let message = (
        body(),
        encoded_headers(),
        option::of(any::<u64>()),
        dedup_key(),
        dedup_key(),
    );
    vec(message, 1..10).prop_map(|messages| {
        let mut builder = BatchBuilder::new();
        for (body, headers, delay_ms, group_key, dedup_key) in messages {
            builder
                .push(NewMessage {
                    body,
                    headers,
                    delay_ms,
                    group_key,
                    dedup_key,
                })
                .unwrap();
        }
        builder.finish()
    })
}

pub(crate) fn handles() -> impl Strategy<Value = Handles> {
    vec(any::<u64>(), 1..=256).prop_map(|handles| handles.into_iter().map(ReceiptHandle).collect())
}

pub(crate) fn timeout() -> impl Strategy<Value = u32> {
    VISIBILITY_TIMEOUT_MIN_MS..=VISIBILITY_TIMEOUT_MAX_MS
}

pub(crate) fn receive() -> impl Strategy<Value = Receive> {
    let wait_ms = option::of(0..=RECEIVE_WAIT_MAX_MS);
    (
        name(),
        1..=256_u16,
        0..=RECEIVE_LEN_MAX,
        wait_ms,
        option::of(timeout()),
    )
        .prop_map(
            |(queue, count_max, len_max, wait_ms, visibility_timeout_ms)| Receive {
                queue,
                count_max,
                len_max,
                wait_ms,
                visibility_timeout_ms,
            },
        )
}

pub(crate) fn redrive() -> impl Strategy<Value = Redrive> {
    let header = (".{0,20}", vec(any::<u8>(), 0..4_097));
    let filter = (any::<u64>(), 0..5_u8, "[a-z]{0,64}", header);
    let asked = (name(), name(), any::<u32>(), any::<bool>());
    (filter, asked).prop_map(|(filter, asked)| {
        let (header_name, mut header_value) = filter.3;
        if header_name.is_empty() {
            header_value.clear();
        }
        Redrive {
            queue: asked.0,
            to: asked.1,
            filter: RedriveFilter {
                since: Timestamp(filter.0),
                reason: DeathReason::from_number(filter.1),
                source_queue: filter.2,
                header_name,
                header_value: header_value.into(),
            },
            rate: asked.2,
            is_dry_run: asked.3,
        }
    })
}

pub(crate) fn redrive_status() -> impl Strategy<Value = RedriveStatus> {
    let counts = any::<[u64; 5]>();
    let instants = (any::<u64>(), option::of(1..u64::MAX));
    (counts, instants, any::<u32>(), 0..3_u8, name()).prop_map(
        |([job, looked, moved, skipped, moving], (begun_at, ended_at), rate, state, to)| {
            RedriveStatus {
                job,
                state: RedriveState::from_number(state).unwrap(),
                rate,
                begun_at: Timestamp(begun_at),
                ended_at: ended_at.map(Timestamp),
                looked,
                moved,
                skipped,
                moving,
                to: to.as_str().to_owned(),
            }
        },
    )
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any::<u16>(), any::<u16>()).prop_map(|(one, other)| Request::Hello(Hello {
            version_min: one.min(other),
            version_max: one.max(other),
        })),
        (name(), any::<[u8; 32]>()).prop_map(|(secret_id, signature)| {
            Request::Authenticate(Authenticate {
                secret_id,
                signature,
            })
        }),
        Just(Request::Ping),
        (name(), changes())
            .prop_map(|(name, changes)| Request::QueueCreate(QueueCreate { name, changes })),
        (name(), changes())
            .prop_map(|(name, changes)| Request::QueueSet(QueueSet { name, changes })),
        name().prop_map(|name| Request::QueueShow { name }),
        name().prop_map(|name| Request::QueueDelete { name }),
        name().prop_map(|name| Request::QueuePurge { name }),
        redrive().prop_map(Request::Redrive),
        name().prop_map(|name| Request::RedriveStatus { name }),
        name().prop_map(|name| Request::RedriveCancel { name }),
        (name(), any::<u64>()).prop_map(|(name, to)| {
            let to = Timestamp(to);
            Request::QueueRewind(QueueRewind { name, to })
        }),
        (
            name(),
            0..4_usize,
            0..1_u64 << 63,
            1..=256_u16,
            0..=RECEIVE_LEN_MAX
        )
            .prop_map(|(queue, of, id, count_max, len_max)| {
                let all = [
                    PeekOf::Ready,
                    PeekOf::Delayed,
                    PeekOf::InFlight,
                    PeekOf::Message,
                ];
                Request::Peek(Peek {
                    queue,
                    of: all[of],
                    id: MessageId(id),
                    count_max,
                    len_max,
                })
            }),
        (name(), 0..1_u64 << 63, option::of(0..u64::MAX)).prop_map(|(queue, id, delay_ms)| {
            Request::Reschedule(Reschedule {
                queue,
                id: MessageId(id),
                delay_ms,
            })
        }),
        (name(), name(), 1..=1_000_u32).prop_map(|(prefix, after, count_max)| {
            Request::QueueList(QueueList {
                prefix,
                after,
                count_max,
            })
        }),
        name().prop_map(|queue| Request::Route(RouteRequest { queue })),
        (name(), ".{0,300}").prop_map(|(verb, json)| Request::Admin(AdminRequest { verb, json })),
        (name(), producer(), batch()).prop_map(|(queue, producer, batch)| {
            Request::Send(Send {
                queue,
                producer,
                batch,
            })
        }),
        receive().prop_map(Request::Receive),
        (name(), handles()).prop_map(|(queue, handles)| Request::Delete(Delete { queue, handles })),
        (
            name(),
            prop_oneof![Just(0), Just(ChangeVisibility::UNDO_RECEIVE), timeout()],
            handles()
        )
            .prop_map(|(queue, visibility_timeout_ms, handles)| {
                Request::ChangeVisibility(ChangeVisibility {
                    queue,
                    visibility_timeout_ms,
                    handles,
                })
            }),
    ]
}

pub(crate) fn attributes() -> impl Strategy<Value = QueueAttributes> {
    changes().prop_map(|changes| {
        let mut all = AttributeChanges::from(QueueAttributes::default());
        for (tag, value) in changes.named() {
            all.set(tag, value).unwrap();
        }
        all.all().unwrap()
    })
}

pub(crate) fn description() -> impl Strategy<Value = QueueDescription> {
    let at = || option::of((1..u64::MAX).prop_map(Timestamp));
    let counts = (any::<[u64; 8]>(), [at(), at(), at()]);
    (
        [name(), name()],
        any::<[u64; 2]>(),
        any::<u32>(),
        attributes(),
        counts,
    )
        .prop_map(
            |(
                [name, dead_letter_queue],
                [id, created_at],
                set,
                attributes,
                (
                    [
                        ready,
                        delayed,
                        in_flight,
                        moving,
                        undeliverable,
                        rewindable,
                        bytes,
                        locked,
                    ],
                    [oldest_at, due_at, visible_at],
                ),
            )| {
                QueueDescription {
                    name: name.to_string(),
                    id: QueueId(id),
                    set: SetId(set),
                    created_at: Timestamp(created_at),
                    attributes,
                    counts: QueueCounts {
                        ready,
                        delayed,
                        in_flight,
                        oldest_at,
                        due_at,
                        visible_at,
                        moving,
                        undeliverable,
                        rewindable,
                        bytes,
                        locked,
                    },
                    dead_letter_queue: dead_letter_queue.to_string(),
                }
            },
        )
}

pub(crate) fn received() -> impl Strategy<Value = ReceivedMessage> {
    let numbers = (
        0..1_u64 << 63,
        0..1_u64 << 63,
        any::<[u64; 3]>(),
        any::<u32>(),
    );
    let content = (encoded_headers(), dedup_key(), dedup_key(), body());
    (numbers, content).prop_map(|(numbers, (headers, group_key, dedup_key, body))| {
        let (id, handle, [sent_at, first_received_at, visible_at], receive_count) = numbers;
        ReceivedMessage {
            id: MessageId(id),
            handle: ReceiptHandle(handle),
            sent_at: Timestamp(sent_at),
            first_received_at: Timestamp(first_received_at),
            visible_at: Timestamp(visible_at),
            receive_count,
            body_crc32c: checksum(&body),
            headers,
            group_key,
            dedup_key,
            body,
        }
    })
}

pub(crate) fn code() -> impl Strategy<Value = ErrorCode> {
    prop::sample::select(ErrorCode::ALL)
}

pub(crate) fn results() -> impl Strategy<Value = HandleResults> {
    prop::collection::btree_map(0..256_u16, code(), 0..=256).prop_map(|failures| HandleResults {
        failures: failures.into_iter().collect(),
    })
}

pub(crate) fn error() -> impl Strategy<Value = ErrorReply> {
    let applied = prop::sample::select(&[Applied::No, Applied::Yes, Applied::Unknown]);
    (any::<u16>(), applied, any::<u32>(), ".{0,200}").prop_map(
        |(number, applied, retry_after_ms, text)| ErrorReply {
            number,
            applied,
            retry_after_ms,
            text,
        },
    )
}

pub(crate) fn hello_reply() -> impl Strategy<Value = HelloReply> {
    (any::<u16>(), any::<[u8; 32]>(), any::<u32>(), any::<u32>()).prop_map(
        |(version, nonce, frame_len_max, requests_in_flight_max)| HelloReply {
            version,
            nonce,
            frame_len_max,
            requests_in_flight_max,
        },
    )
}

pub(crate) fn route_reply() -> impl Strategy<Value = RouteReply> {
    let node = (1..=u64::MAX, name().prop_map(|name| name.to_string()));
    let leader = option::of(1..=u64::MAX);
    (any::<u32>(), leader, any::<u64>(), vec(node, 0..10)).prop_map(|(set, leader, term, nodes)| {
        RouteReply {
            set: SetId(set),
            leader,
            term,
            nodes,
        }
    })
}

pub(crate) fn producer() -> impl Strategy<Value = Option<ProducerNumber>> {
    let session = any::<[u8; 16]>().prop_filter("not all zeros", |session| *session != [0; 16]);
    let numbered = (session, 1..u64::MAX).prop_map(|(session, number)| ProducerNumber {
        session: ProducerSession(session),
        number,
    });
    option::of(numbered)
}

pub(crate) fn reply() -> impl Strategy<Value = Reply> {
    let runs = vec(((0..1_u64 << 63).prop_map(MessageId), 1..=25_u32), 0..=10);
    prop_oneof![
        hello_reply().prop_map(Reply::Hello),
        any::<u64>().prop_map(|now| {
            let now = Timestamp(now);
            Reply::Authenticated(Authenticated { now })
        }),
        Just(Reply::Pong),
        Just(Reply::QueueCreated),
        Just(Reply::QueueChanged),
        Just(Reply::QueueDeleted),
        Just(Reply::Rescheduled),
        any::<u64>().prop_map(Reply::QueuePurged),
        (any::<u64>(), any::<u64>())
            .prop_map(|(job, count)| Reply::RedriveBegun(RedriveBegun { job, count })),
        redrive_status().prop_map(Reply::RedriveShown),
        redrive_status().prop_map(Reply::RedriveCancelled),
        any::<u64>().prop_map(Reply::QueueRewound),
        vec((received(), 0..4_u64), 0..10).prop_map(|messages| {
            let peeked = messages.into_iter().filter_map(|(mut message, state)| {
                message.handle = ReceiptHandle(state);
                PeekedMessage::from_received(message)
            });
            Reply::Peeked(peeked.collect())
        }),
        description().prop_map(|shown| Reply::QueueShown(Box::new(shown))),
        (vec(name(), 0..50), any::<bool>()).prop_map(|(names, more)| {
            let names = names.iter().map(Name::to_string).collect();
            Reply::QueueListed(QueueListPage { names, more })
        }),
        route_reply().prop_map(Reply::Route),
        ".{0,300}".prop_map(|json| Reply::Admin(AdminReply { json })),
        (any::<bool>(), runs).prop_map(|(is_async, runs)| {
            let durability = durability(is_async);
            let sent = Sent { runs };
            Reply::Sent(SentReply { durability, sent })
        }),
        vec(received(), 0..10).prop_map(Reply::Received),
        results().prop_map(Reply::Deleted),
        results().prop_map(Reply::VisibilityChanged),
        error().prop_map(Reply::Error),
    ]
}
