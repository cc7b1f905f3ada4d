//! Random entries: what a busy, careless, sometimes hostile crowd of clients would do.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use sampan_core::Command;
use sampan_protocol::{
    BatchBuilder, Durability, GroupMode, Handles, MessageBatch, MessageId, NewMessage,
    ProducerNumber, QueueAttributes, QueueId, ReceiptHandle, WhenFull,
};

static BODY: [u8; 5_000] = [7; 5_000];

/// How one run behaves throughout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Messages of the largest batch, and handles and messages of the largest request.
    pub(crate) count_max: u16,
    /// In a thousand sends, how many name delays.
    pub(crate) delayed: u32,
    /// In a thousand sends, how many have deduplication keys.
    pub(crate) keyed: u32,
    /// How many different keys there are.
    pub(crate) key_count: u32,
    /// Content of every message, when all are alike.
    pub(crate) content_len: Option<usize>,
    /// The longest delay, in milliseconds; hardly longer than the queue's retention.
    pub(crate) delay_max: u64,
    /// In a thousand sends, how many have group keys.
    pub(crate) grouped: u32,
    /// How many different group keys there are.
    pub(crate) group_count: u32,
    /// The longest pause between two entries, in milliseconds.
    pub(crate) pause_max: u64,
}

impl Profile {
    pub(crate) fn random(random: &mut StdRng) -> Self {
        Profile {
            count_max: *[4, 40, 40, 256].choose(random).unwrap(),
            delayed: *[0, 100, 600].choose(random).unwrap(),
            keyed: *[0, 300, 900].choose(random).unwrap(),
            key_count: *[3, 300, 100_000].choose(random).unwrap(),
            content_len: *[None, Some(20), Some(300)].choose(random).unwrap(),
            delay_max: *[20_000, 60_002, 90_000_000, u64::MAX]
                .choose(random)
                .unwrap(),
            grouped: *[0, 0, 600, 950].choose(random).unwrap(),
            group_count: *[1, 3, 8, 300].choose(random).unwrap(),
            pause_max: *[3, 2_000, 40_000, 20_000_000, 3_000_000_000]
                .choose(random)
                .unwrap(),
        }
    }

    /// As it is towards a queue of this retention.
    pub(crate) fn within(self, retention_ms: u64) -> Self {
        Profile {
            delay_max: self.delay_max.min(retention_ms + 2),
            ..self
        }
    }

    pub(crate) fn pause(&self, random: &mut StdRng) -> u64 {
        match random.random_range(0..4) {
            0 => 0,
            1 => random.random_range(0..=self.pause_max),
            2 => random.random_range(0..=self.pause_max / 10),
            _ => random.random_range(0..=3),
        }
    }
}

/// `target`: the queue that may be its dead-letter queue.
pub(crate) fn attributes(random: &mut StdRng, target: Option<QueueId>) -> QueueAttributes {
    let rest = *[(0, 0), (0, 0), (1, 1), (500, 20_000), (10_000, 43_200_000)]
        .choose(random)
        .unwrap();
    let target = target.filter(|_| random.random_ratio(2, 3));
    let policy = match target {
        None => (0, 0),
        Some(_) => *[(1, 0), (2, 0), (3, 30_000), (0, 5_000), (0, 0)]
            .choose(random)
            .unwrap(),
    };
    let when_full = match target.is_some() && random.random() {
        true => WhenFull::DropOldestToDeadLetter,
        false => WhenFull::Refuse,
    };
    let groups = *[GroupMode::Off, GroupMode::Ordered, GroupMode::Fair]
        .choose(random)
        .unwrap();
    let rewind_max = u64::MAX * u64::from(groups == GroupMode::Off);
    let retention_ms = *[60_000, 600_000, 86_400_000, 34_560_000_000]
        .choose(random)
        .unwrap();
    QueueAttributes {
        dead_letter_queue: target.map_or(0, |target| target.0),
        receive_count_max: policy.0,
        dead_letter_after_ms: policy.1,
        visibility_timeout_ms: random.random_range(1_000..60_000),
        retention_ms,
        byte_count_max: *[1 << 50, 1 << 50, 20_000, 3_000].choose(random).unwrap(),
        when_full,
        rewind_ms: rewind_max.min(*[0, 0, 5_000, 60_000, retention_ms].choose(random).unwrap()),
        groups,
        delay_ms: *[0, 0, 0, 5_000].choose(random).unwrap(),
        message_size_max: *[4_096, 4_096, 4_096, 50].choose(random).unwrap(),
        is_paused: random.random_ratio(1, 8),
        redelivery_delay_min_ms: rest.0,
        redelivery_delay_max_ms: rest.1,
        message_count_max: *[1_000_000_000, 1_000_000_000, 500, 60]
            .choose(random)
            .unwrap(),
        in_flight_count_max: *[1_000_000, 1_000_000, 100].choose(random).unwrap(),
        delayed_count_max: *[1_000_000, 1_000_000, 1_000_000, 0].choose(random).unwrap(),
        receive_wait_ms: 0,
        dedup_window_ms: *[0, 1, 2_000, 300_000, 86_400_000].choose(random).unwrap(),
        durability: *[Durability::Sync, Durability::Async]
            .choose(random)
            .unwrap(),
    }
}

fn batch(random: &mut StdRng, profile: &Profile) -> MessageBatch {
    let mut builder = BatchBuilder::new();
    let with_keys = random.random_range(0..1_000) < profile.keyed;
    let with_groups = random.random_range(0..1_000) < profile.grouped;
    let with_delays = random.random_range(0..1_000) < profile.delayed;
    for _ in 0..random.random_range(1..=profile.count_max) {
        let longest = *[10, 100, 4_096, 4_097]
            .choose_weighted(random, |len| if *len > 4_096 { 1 } else { 800 })
            .unwrap();
        let len = if longest > 4_096 {
            longest
        } else {
            random.random_range(1..=longest)
        };
        let group_key = match with_groups && random.random_ratio(7, 8) {
            true => Bytes::from(random.random_range(0..profile.group_count).to_string()),
            false => Bytes::new(),
        };
        let delay_ms = match random.random_range(0..4) {
            _ if !group_key.is_empty() && random.random_ratio(999, 1_000) => Some(0),
            _ if !with_delays => None,
            0 => None,
            1 => Some(0),
            2 => Some(random.random_range(1..20_000)),
            _ => Some(random.random_range(1..profile.delay_max)),
        };
        let dedup_key = match with_keys && random.random_ratio(3, 4) {
            true => Bytes::from(random.random_range(0..profile.key_count).to_string()),
            false => Bytes::new(),
        };
        let (headers_len, len) = match profile.content_len {
            None => (random.random_range(0..2) * 30, len),
            // One that is too long is refused.
            Some(_) if len > 4_096 => (0, len),
            Some(content_len) => (0, content_len - dedup_key.len()),
        };
        let headers = Bytes::from_static(&BODY[..headers_len]);
        let body = Bytes::from_static(&BODY[..len]);
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
}

/// Mostly handles of late, some of long ago, some never given.
fn handles(random: &mut StdRng, profile: &Profile, given: &[ReceiptHandle]) -> Handles {
    let count = random.random_range(1..=usize::from(profile.count_max));
    let start = given
        .len()
        .saturating_sub(random.random_range(1..=3) * count);
    let mut handles: Vec<ReceiptHandle> = given[start..].iter().take(count).copied().collect();
    if random.random_range(0..3) == 0 || handles.is_empty() {
        let strange = [
            0,
            1,
            u64::MAX,
            random.random(),
            random.random_range(0..1 << 30),
        ];
        handles.push(ReceiptHandle(*strange.choose(random).unwrap()));
        if let Some(old) = given.choose(random) {
            handles.push(*old);
            handles.push(ReceiptHandle(old.0 ^ 1));
        }
    }
    handles.truncate(256);
    handles.into_iter().collect()
}

pub(crate) fn command(
    random: &mut StdRng,
    profile: &Profile,
    queue: QueueId,
    target: Option<QueueId>,
    producer: Option<ProducerNumber>,
    given: &[ReceiptHandle],
    id: u64,
) -> Command {
    match random.random_range(0..100) {
        0..30 => Command::Send {
            queue,
            producer,
            batch: batch(random, profile),
        },
        30..62 => Command::Receive {
            queue,
            count_max: random.random_range(1..=profile.count_max),
            len_max: *[0, 0, 0, 1, 5_000, 60_000].choose(random).unwrap(),
            visibility_timeout_ms: *[None, None, Some(1_000), Some(3_600_000)]
                .choose(random)
                .unwrap(),
        },
        62..82 => Command::Delete {
            queue,
            handles: handles(random, profile, given),
        },
        82..91 => Command::ChangeVisibility {
            queue,
            visibility_timeout_ms: *[0, 0, 1_000, 70_000].choose(random).unwrap(),
            handles: handles(random, profile, given),
        },
        91..94 => Command::Release {
            queue,
            handles: handles(random, profile, given),
        },
        94..98 => Command::Reschedule {
            queue,
            id: MessageId(id),
            delay_ms: match random.random_range(0..6) {
                0 => None,
                1 => Some(0),
                2 => Some(random.random_range(1..10_000)),
                _ => Some(random.random_range(1..profile.delay_max)),
            },
        },
        98 if random.random_ratio(1, 2) => Command::Purge { queue },
        _ => Command::QueueSet {
            queue,
            attributes: attributes(random, target),
        },
    }
}
