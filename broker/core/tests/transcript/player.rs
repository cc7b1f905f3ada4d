//! Plays the lines of one transcript to a broker and writes down its answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use sampan_core::{
    Arrival, Broker, CatalogCommand, CatalogRecord, Command, Effect, Entry, Fate, Peek, Redrive,
    RedriveOrder, RedriveStep, Reply, RowKey,
};
use sampan_protocol::{
    DeathReason, Handles, MessageId, PeekOf, QueueId, ReceiptHandle, RedriveFilter, SetId,
    Timestamp,
};

use crate::cluster;
use crate::words::{
    START, attribute_changes, attributes, batch, id_run, instant, message_id, milliseconds, option,
    producer,
};

pub(crate) struct Player {
    broker: Broker,
    rows: BTreeMap<RowKey, Vec<u8>>,
    now: u64,
    /// Handles in the order in which they were given; `#1` is the first.
    handles: Vec<ReceiptHandle>,
}

impl Player {
    pub(crate) fn new() -> Self {
        Player {
            broker: Broker::new(),
            rows: BTreeMap::new(),
            now: START,
            handles: Vec::new(),
        }
    }

    pub(crate) fn play(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["at", time] => {
                self.now = START + milliseconds(time);
                self.apply(Vec::new())
            }
            ["checkpoint", pages] => self.checkpoint(pages.parse().unwrap()),
            ["restore"] => self.restore(),
            ["state", queue] => vec![self.state(queue)],
            ["redriving", queue] => self.redriving(QueueId(queue.parse().unwrap())),
            ["kept", queue] => vec![self.kept(queue)],
            ["bytes", queue] => vec![self.bytes(queue)],
            ["locked", queue] => vec![self.locked(queue)],
            ["look", queue] => self.look(QueueId(queue.parse().unwrap())),
            ["letters", queue] => self.letters(QueueId(queue.parse().unwrap())),
            ["cluster", "show"] => cluster::show(self.broker.catalog()),
            ["catalog", "unfinished"] => self.broker.catalog().unfinished().map(record).collect(),
            ["catalog", "list", prefix, after] => {
                let list = self.broker.catalog().list(
                    0,
                    prefix.trim_matches('"'),
                    after.trim_matches('"'),
                );
                list.map(record).collect()
            }
            _ => {
                let commands = line
                    .split(" ; ")
                    .map(|command| self.command(command))
                    .collect();
                self.apply(commands)
            }
        }
    }

    fn command(&self, line: &str) -> Command {
        let words: Vec<&str> = line.split_whitespace().collect();
        let queue = QueueId(words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0));
        match words[0] {
            "queue" => Command::QueueCreate {
                queue,
                name: format!("queue-{queue}"),
                attributes: attributes(&words[2..]),
                secret: 0x5eed,
            },
            "set" => Command::QueueSet {
                queue,
                attributes: attributes(&words[2..]),
            },
            "drop" => Command::QueueDelete { queue },
            "send" => {
                let by = words[2].strip_prefix("by=").map(producer);
                let messages = if by.is_some() {
                    &words[3..]
                } else {
                    &words[2..]
                };
                Command::Send {
                    queue,
                    producer: by,
                    batch: batch(messages),
                }
            }
            "receive" => Command::Receive {
                queue,
                count_max: option(&words, "max").unwrap_or(1).try_into().unwrap(),
                len_max: option(&words, "len").unwrap_or(0).try_into().unwrap(),
                visibility_timeout_ms: option(&words, "visibility")
                    .map(|timeout| timeout.try_into().unwrap()),
            },
            "delete" => Command::Delete {
                queue,
                handles: self.named(&words[2..]),
            },
            "visibility" => Command::ChangeVisibility {
                queue,
                visibility_timeout_ms: milliseconds(words[2]).try_into().unwrap(),
                handles: self.named(&words[3..]),
            },
            "release" => Command::Release {
                queue,
                handles: self.named(&words[2..]),
            },
            "purge" => Command::Purge { queue },
            "rewind" => Command::Rewind {
                queue,
                to: Timestamp(START + milliseconds(words[2])),
            },
            "reschedule" => Command::Reschedule {
                queue,
                id: message_id(words[2]),
                delay_ms: Some(milliseconds(words[3])),
            },
            "cancel" => Command::Reschedule {
                queue,
                id: message_id(words[2]),
                delay_ms: None,
            },
            "deliver" => self.deliver(queue, &words),
            "settle" => Command::Settle {
                queue,
                fates: words[2..].iter().map(|word| fate(word)).collect(),
            },
            "hold" => Command::HoldSettlements {
                token: words[1].parse().unwrap(),
                for_ms: milliseconds(words[2]).try_into().unwrap(),
            },
            "redrive" => Command::RedriveBegin {
                queue,
                order: RedriveOrder {
                    target: option(&words, "to").map(QueueId),
                    target_name: String::new(),
                    filter: RedriveFilter::default(),
                    rate: option(&words, "rate").unwrap_or(0).try_into().unwrap(),
                },
            },
            "step" => step(queue, &words),
            "stop" => Command::RedriveCancel { queue },
            "catalog" => Command::Catalog(catalog_command(&words[1..])),
            "cluster" => Command::Catalog(cluster::command(&words[1..])),
            other => panic!("{other} is no command"),
        }
    }

    /// `deliver 2 from=1 3 4`: the letters 3 and 4 of queue 1, with the bodies of one byte; `3#g`
    /// is one of the group `g`.
    fn deliver(&self, queue: QueueId, words: &[&str]) -> Command {
        let source = QueueId(option(words, "from").unwrap());
        let numbers: Vec<u64> = words[3..]
            .iter()
            .map(|word| word.split('#').next().unwrap().parse().unwrap())
            .collect();
        let bodies = words[3..].iter().map(|word| match word.split_once('#') {
            Some((_, group)) => format!("1#{group}"),
            None => "1".to_owned(),
        });
        let bodies: Vec<String> = bodies.collect();
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        let arrival = |number: &u64| Arrival {
            number: *number,
            sent_at: Timestamp(START),
        };
        Command::Deliver {
            queue,
            source,
            arrivals: numbers.iter().map(arrival).collect(),
            batch: batch(&bodies),
        }
    }

    /// `#2` is the second handle that was given; a plain number is itself.
    fn named(&self, words: &[&str]) -> Handles {
        let handle = |word: &&str| match word.strip_prefix('#') {
            Some(place) => self.handles[place.parse::<usize>().unwrap() - 1],
            None => ReceiptHandle(word.parse().unwrap()),
        };
        words.iter().map(handle).collect()
    }

    fn apply(&mut self, commands: Vec<Command>) -> Vec<String> {
        let entry = Entry {
            stamp: Timestamp(self.now),
            commands,
            ..Entry::default()
        };
        let (mut effects, mut replies, mut out) = (Vec::new(), Vec::new(), Vec::new());
        while let Err(need) = self.broker.apply(&entry, &mut effects, &mut replies) {
            for key in need.0 {
                let kind = kind_name(key.kind);
                out.push(format!(
                    "needs {kind} {} of queue {}",
                    key.number, key.queue
                ));
                self.broker.supply(key, &self.rows[&key]).unwrap();
            }
        }
        replies.iter().for_each(|reply| self.tell(reply, &mut out));
        out.extend(effects.iter().map(effect));
        out
    }

    fn tell(&mut self, reply: &Reply, out: &mut Vec<String>) {
        match reply {
            Reply::Done => out.push("done".to_owned()),
            Reply::RedriveBegun(job) => out.push(format!("redrive {job} begun")),
            Reply::Redrive(newest) => out.push(redrive(newest)),
            Reply::Rewound(count) => out.push(format!("rewound {count}")),
            Reply::Purged(count) => out.push(format!("purged {count}")),
            Reply::Sent(sent) => {
                let runs = sent
                    .runs
                    .iter()
                    .map(|(first, count)| id_run(*first, u64::from(*count)));
                out.push(format!("sent {}", runs.collect::<Vec<_>>().join(" ")));
            }
            Reply::Received(deliveries) if deliveries.is_empty() => out.push("nothing".to_owned()),
            Reply::Received(deliveries) => {
                for delivery in deliveries {
                    self.handles.push(delivery.handle);
                    out.push(format!(
                        "received {} as #{}: time {}, first at {}, hidden until {}",
                        id_run(delivery.id, 1),
                        self.handles.len(),
                        delivery.receive_count,
                        instant(delivery.first_received_at),
                        instant(delivery.visible_at),
                    ));
                }
            }
            Reply::Handles(results) if results.failures.is_empty() => {
                out.push("all done".to_owned());
            }
            Reply::Handles(results) => {
                let failures = results.failures.iter();
                out.extend(failures.map(|(place, code)| format!("place {place}: {code}")));
            }
            Reply::Refused(refusal) => {
                let text = refusal
                    .text
                    .as_ref()
                    .map_or(String::new(), |text| format!(": {text}"));
                out.push(format!(
                    "refused {} {}{text}",
                    refusal.code.number(),
                    refusal.code
                ));
            }
            Reply::Catalog(told) => out.push(record(told)),
            Reply::Node(told) => out.push(cluster::node(told)),
        }
    }

    fn state(&self, queue: &str) -> String {
        match self.broker.counts(QueueId(queue.parse().unwrap())) {
            None => "no such queue".to_owned(),
            Some(counts) => format!(
                "ready {}, delayed {}, in flight {}, oldest {}",
                counts.ready,
                counts.delayed,
                counts.in_flight,
                counts.oldest_at.map_or("none".to_owned(), instant),
            ),
        }
    }

    fn redriving(&self, queue: QueueId) -> Vec<String> {
        let newest = self.broker.redrive(queue).map(redrive);
        let listed = self.broker.redriving().any(|other| other == queue);
        vec![format!(
            "{}, listed {listed}",
            newest.unwrap_or("none".to_owned())
        )]
    }

    fn letters(&self, queue: QueueId) -> Vec<String> {
        let lanes = self.broker.lanes().filter(|(source, _)| *source == queue);
        let letters = lanes.flat_map(|(source, target)| {
            let letters = self.broker.letters(source, target, 100).into_iter();
            letters.map(move |letter| {
                format!(
                    "letter {}: {} for queue {target}, {} after {} receives at {}",
                    letter.number,
                    id_run(letter.id, 1),
                    letter.reason.map_or("redriven", DeathReason::text),
                    letter.receive_count,
                    instant(letter.dead_at),
                )
            })
        });
        let counts = self.broker.counts(queue).unwrap();
        letters
            .chain([format!(
                "moving {}, undeliverable {}",
                counts.moving, counts.undeliverable
            )])
            .collect()
    }

    fn kept(&self, queue: &str) -> String {
        let counts = self.broker.counts(QueueId(queue.parse().unwrap()));
        format!("rewindable {}", counts.unwrap().rewindable)
    }

    fn bytes(&self, queue: &str) -> String {
        let counts = self.broker.counts(QueueId(queue.parse().unwrap()));
        format!("bytes {}", counts.unwrap().bytes)
    }

    fn locked(&self, queue: &str) -> String {
        let counts = self.broker.counts(QueueId(queue.parse().unwrap()));
        let counts = counts.unwrap();
        format!("ready {}, locked {}", counts.ready, counts.locked)
    }

    fn look(&self, queue: QueueId) -> Vec<String> {
        let ask = Peek {
            of: PeekOf::Ready,
            id: MessageId(0),
            count_max: 256,
            len_max: 1 << 20,
        };
        let ready = self.broker.peek(queue, &ask, &[]).unwrap();
        let ids = ready.iter().map(|message| id_run(message.id, 1));
        vec![format!("ready: {}", ids.collect::<Vec<_>>().join(" "))]
    }

    fn checkpoint(&mut self, resident_count_max: usize) -> Vec<String> {
        let mut out = Vec::new();
        for (key, row) in self.broker.freeze().into_rows() {
            let kind = kind_name(key.kind);
            match row {
                Some(row) => {
                    out.push(format!("row {} {kind} {}", key.queue, key.number));
                    self.rows.insert(key, row);
                }
                None if self.rows.remove(&key).is_some() => {
                    out.push(format!("row {} {kind} {} is gone", key.queue, key.number));
                }
                None => (),
            }
        }
        self.broker.checkpointed_with(resident_count_max);
        out
    }

    fn restore(&mut self) -> Vec<String> {
        let rows = self.rows.iter().filter(|(key, _)| !key.is_paged());
        let rows = rows.map(|(key, row)| (*key, Bytes::copy_from_slice(row)));
        self.broker = Broker::restore(rows).unwrap();
        vec![format!("restored, now is {}", instant(self.broker.now()))]
    }
}

fn kind_name(kind: u8) -> &'static str {
    match kind {
        RowKey::SET => "set",
        RowKey::CATALOG => "catalog",
        RowKey::RECORD => "record",
        RowKey::CLUSTER => "cluster",
        RowKey::NODE => "node",
        RowKey::RETIRED => "retired",
        RowKey::PLACEMENT => "placement",
        RowKey::QUEUE => "queue",
        RowKey::MARK => "mark",
        RowKey::DIRECTORY => "directory",
        RowKey::LEASES => "leases",
        RowKey::DELAYED_DIRECTORY => "delayed directory",
        RowKey::DELAYED => "delayed",
        RowKey::PRODUCER => "producer",
        RowKey::RESTING => "resting",
        RowKey::LETTERS => "letters",
        RowKey::REDRIVE => "redrive",
        RowKey::LANE => "lane",
        RowKey::KEYS => "keys",
        RowKey::KEPT => "kept",
        RowKey::REPLY => "reply",
        RowKey::GROUPED => "grouped",
        RowKey::HELD => "held",
        RowKey::PAGE => "page",
        other => panic!("row of kind {other}"),
    }
}

fn catalog_command(words: &[&str]) -> CatalogCommand {
    let account = 0;
    match *words {
        ["create", name, ref rest @ ..] => CatalogCommand::Create {
            account,
            name: name.into(),
            attributes: attributes(rest),
            set: SetId(1),
        },
        ["confirm", queue] => CatalogCommand::Confirm {
            queue: QueueId(queue.parse().unwrap()),
        },
        ["set", name, ref rest @ ..] => CatalogCommand::Set {
            account,
            name: name.into(),
            changes: attribute_changes(rest),
        },
        ["delete", name] => CatalogCommand::Delete {
            account,
            name: name.into(),
        },
        ["removed", queue] => CatalogCommand::Removed {
            queue: QueueId(queue.parse().unwrap()),
        },
        _ => panic!("{words:?} is no catalog command"),
    }
}

/// `step 1 job=1 cursor=7 skipped=2 3:9 5:9`: of the messages up to 7, 3 and 5 go to queue 9.
fn step(queue: QueueId, words: &[&str]) -> Command {
    let pick = |word: &&str| {
        let (id, target) = word.split_once(':')?;
        Some((message_id(id), QueueId(target.parse().unwrap())))
    };
    let cursor = words.iter().find_map(|word| word.strip_prefix("cursor="));
    Command::RedriveStep {
        queue,
        step: RedriveStep {
            job: option(words, "job").unwrap(),
            cursor: message_id(cursor.unwrap()),
            picks: words.iter().filter_map(pick).collect(),
            skipped: option(words, "skipped").unwrap_or(0).try_into().unwrap(),
            is_last: words.contains(&"last"),
        },
    }
}

fn redrive(newest: &Redrive) -> String {
    format!(
        "redrive {} {:?} at {}: looked {}, moved {}, skipped {}",
        newest.job,
        newest.state,
        id_run(newest.cursor, 1),
        newest.looked,
        newest.moved,
        newest.skipped,
    )
}

/// `3` was delivered, `3!` never can be.
fn fate(word: &str) -> (u64, Fate) {
    match word.strip_suffix('!') {
        Some(number) => (number.parse().unwrap(), Fate::Undeliverable),
        None => (word.parse().unwrap(), Fate::Delivered),
    }
}

fn record(record: &CatalogRecord) -> String {
    format!(
        "queue {} {} in set {}, {:?}, visibility {} ms",
        record.queue,
        record.name,
        record.set,
        record.state,
        record.attributes.visibility_timeout_ms,
    )
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Stored {
            queue,
            first,
            index,
            count,
            ..
        } => {
            let run = id_run(*first, u64::from(*count));
            format!("~ queue {queue}: store {run} from place {index}")
        }
        Effect::Removed {
            queue,
            first,
            count,
        } => {
            format!("~ queue {queue}: remove {}", id_run(*first, *count))
        }
        Effect::QueueRemoved { queue } => format!("~ queue {queue}: removed"),
        Effect::Letters { queue } => format!("~ queue {queue}: letters"),
        Effect::Redrive { queue } => format!("~ queue {queue}: redrive"),
        Effect::Ready { queue } => format!("~ queue {queue}: ready"),
        Effect::CatalogChanged => "~ catalog changed".to_owned(),
    }
}
