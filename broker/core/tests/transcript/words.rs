//! The words of a transcript: durations, attributes, messages, ids.

use bytes::Bytes;
use sampan_protocol::{
    AttributeChanges, BatchBuilder, Durability, GroupMode, IdSpace, MessageBatch, MessageId,
    NewMessage, ProducerNumber, ProducerSession, QueueAttributes, Timestamp, WhenFull,
};

/// Transcripts count time from here.
pub(crate) const START: u64 = 1_700_000_000_000;

/// `5ms`, `30s`, `2m`, `4h`, `15d`; a bare number is milliseconds or a plain count.
pub(crate) fn milliseconds(word: &str) -> u64 {
    let end = word
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(word.len());
    let unit = match &word[end..] {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        other => panic!("{other} is no unit"),
    };
    word[..end].parse::<u64>().unwrap() * unit
}

pub(crate) fn instant(at: Timestamp) -> String {
    let since = at.0 - START;
    if since.is_multiple_of(1_000) {
        format!("{}s", since / 1_000)
    } else {
        format!("{since}ms")
    }
}

/// The value of `name=value` among the words.
pub(crate) fn option(words: &[&str], name: &str) -> Option<u64> {
    let mut values = words
        .iter()
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    values.next().map(milliseconds)
}

pub(crate) fn attribute_changes(words: &[&str]) -> AttributeChanges {
    let short = |name| option(words, name).map(|value| u32::try_from(value).unwrap());
    AttributeChanges {
        visibility_timeout_ms: short("visibility"),
        retention_ms: option(words, "retention"),
        delay_ms: option(words, "delay"),
        message_size_max: short("size"),
        receive_wait_ms: short("wait"),
        is_paused: option(words, "paused").map(|paused| paused == 1),
        redelivery_delay_min_ms: short("rest_min"),
        redelivery_delay_max_ms: short("rest_max"),
        message_count_max: option(words, "messages"),
        in_flight_count_max: option(words, "in_flight"),
        delayed_count_max: option(words, "delayed"),
        dead_letter_queue: option(words, "dead"),
        receive_count_max: short("receives"),
        dead_letter_after_ms: option(words, "after"),
        dedup_window_ms: short("window"),
        rewind_ms: option(words, "rewind"),
        byte_count_max: option(words, "bytes"),
        when_full: option(words, "full").map(|drops| match drops {
            0 => WhenFull::Refuse,
            _ => WhenFull::DropOldestToDeadLetter,
        }),
        durability: option(words, "async").map(|is_async| match is_async {
            0 => Durability::Sync,
            _ => Durability::Async,
        }),
        groups: words.iter().find_map(|word| match *word {
            "groups=off" => Some(GroupMode::Off),
            "groups=ordered" => Some(GroupMode::Ordered),
            "groups=fair" => Some(GroupMode::Fair),
            _ => None,
        }),
    }
}

pub(crate) fn attributes(words: &[&str]) -> QueueAttributes {
    attribute_changes(words)
        .applied_to(QueueAttributes::default())
        .unwrap()
}

/// `ann/3` is the third send of the session that was drawn at the start under that name;
/// `ann+2h/1`, `ann-2h/1`: so much later, or earlier.
pub(crate) fn producer(word: &str) -> ProducerNumber {
    let (drawn, number) = word.split_once('/').unwrap();
    let (name, drawn_at) = match (drawn.split_once('+'), drawn.split_once('-')) {
        (Some((name, later)), _) => (name, START + milliseconds(later)),
        (_, Some((name, earlier))) => (name, START - milliseconds(earlier)),
        _ => (drawn, START),
    };
    let mut random = [0; 10];
    random[..name.len()].copy_from_slice(name.as_bytes());
    ProducerNumber {
        session: ProducerSession::new(Timestamp(drawn_at), random),
        number: number.parse().unwrap(),
    }
}

/// `10` is a body of ten bytes, `10+5s` one with a delay, `3x10` three alike; `10@a` has the
/// deduplication key `a`, `10+5s@a` both; `10#g` is of the group `g`, `10#g@a` has both keys.
pub(crate) fn batch(words: &[&str]) -> MessageBatch {
    let mut builder = BatchBuilder::new();
    for word in words {
        let (word, key) = word.split_once('@').unwrap_or((word, ""));
        let (word, group) = word.split_once('#').unwrap_or((word, ""));
        let (count, rest) = word.split_once('x').map_or((1, word), |(count, rest)| {
            (count.parse::<usize>().unwrap(), rest)
        });
        let (len, delay) = rest.split_once('+').map_or((rest, None), |(len, delay)| {
            (len, Some(milliseconds(delay)))
        });
        for _ in 0..count {
            let body = Bytes::from(vec![b'm'; len.parse::<usize>().unwrap()]);
            builder
                .push(NewMessage {
                    body,
                    delay_ms: delay,
                    group_key: Bytes::copy_from_slice(group.as_bytes()),
                    dedup_key: Bytes::copy_from_slice(key.as_bytes()),
                    ..NewMessage::default()
                })
                .unwrap();
        }
    }
    builder.finish()
}

/// `5`, `5..9`; ids of delayed messages are `d5`, `d5..d9`, those of groups `g5`.
pub(crate) fn id_run(first: MessageId, count: u64) -> String {
    let name = |id: u64| {
        let space = MessageId(id).space();
        let number = id - space.base();
        match space {
            IdSpace::Immediate => number.to_string(),
            IdSpace::Grouped => format!("g{number}"),
            IdSpace::Delayed => format!("d{number}"),
        }
    };
    match count {
        1 => name(first.0),
        _ => format!("{}..{}", name(first.0), name(first.0 + count - 1)),
    }
}

/// `5`, or `d5` of a message that was sent with a delay, `g5` of one of a group.
pub(crate) fn message_id(word: &str) -> MessageId {
    let number = |word: &str| word.parse::<u64>().unwrap();
    match (word.strip_prefix('d'), word.strip_prefix('g')) {
        (Some(word), _) => MessageId(number(word) | MessageId::DELAYED_BIT),
        (_, Some(word)) => MessageId(number(word) | MessageId::GROUPED_BIT),
        _ => MessageId(number(word)),
    }
}
