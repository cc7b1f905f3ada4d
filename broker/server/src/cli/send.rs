//! `sampan send`: one body, the same body many times, or one message per line of standard input.
//!
//! Sends are pipelined: up to `WINDOW_COUNT_MAX` messages or about `WINDOW_LEN_MAX` bytes are on
//! their way, and each is confirmed in its turn. After a failure no new message is sent, what is
//! on its way is waited for, and the number of messages known to be stored is told: whoever
//! repeats the command must know where to start.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use indicatif::ProgressBar;
use sampan_client::{Client, Durability, Message, MessageId, Queue, Sending};
use serde_json::json;

use super::args::{Format, SendArguments};
use super::failure::Failure;
use super::instant;
use super::output::{self, Output};
use super::stdin_lines::{self, StdinLines};

/// Most messages on their way at one time.
const WINDOW_COUNT_MAX: usize = 1_024;
/// Bytes of bodies on their way beyond which no further message is sent.
const WINDOW_LEN_MAX: usize = 16 * 1024 * 1024;

/// Where the bodies come from.
pub(crate) enum Source {
    /// One body, this many more times.
    Repeated { body: Bytes, left: u64 },
    /// Standard input.
    Lines(StdinLines),
}

impl Source {
    /// What the arguments say; reads a body from standard input when they give none.
    pub(crate) fn new(arguments: &SendArguments) -> Result<Self, Failure> {
        let body = match arguments.body.as_deref() {
            Some("-") if arguments.count.is_some() => {
                let text = "--count repeats one body; it does not go with one message per line";
                return Err(Failure::Usage(text.to_owned()));
            }
            Some("-") if arguments.dedup_key.is_some() => {
                let text = "--dedup-key is for one message; every line would have the same key";
                return Err(Failure::Usage(text.to_owned()));
            }
            Some("-") => return Ok(Source::Lines(StdinLines::start()?)),
            Some(body) => Bytes::copy_from_slice(body.as_bytes()),
            None => stdin_lines::read_whole()?,
        };
        Ok(Source::Repeated {
            body,
            left: arguments.count.unwrap_or(1),
        })
    }

    /// How many messages there will be, where that is known.
    fn count(&self) -> Option<u64> {
        match self {
            Source::Repeated { left, .. } => Some(*left),
            Source::Lines(_) => None,
        }
    }

    /// The next body. May be dropped and called again.
    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        match self {
            Source::Repeated { left: 0, .. } => None,
            Source::Repeated { body, left } => {
                *left -= 1;
                Some(Ok(body.clone()))
            }
            Source::Lines(lines) => lines.next().await,
        }
    }
}

/// Sends everything that the source gives.
pub(crate) async fn run(
    client: &Client,
    arguments: SendArguments,
    mut source: Source,
    output: &mut Output,
) -> Result<(), Failure> {
    let count = source.count();
    let bar = output::progress(count.filter(|count| *count > 1));
    let hidden = Hidden {
        delay: arguments.delay,
        until: arguments.at,
    };
    let dedup_key = arguments.dedup_key.map(Bytes::from);
    let keys = Keys {
        group: arguments.group.map(Bytes::from),
        dedup: dedup_key,
    };
    let mut window = Window::new(client.queue(&arguments.queue), hidden, keys);
    let mut sent = Sent {
        count: 0,
        last: None,
        bar,
        output,
    };
    let done = send_all(&mut source, &mut window, &mut sent).await;
    sent.bar.finish_and_clear();
    if done.is_ok() || sent.count > 0 {
        sent.tell_total()?;
    }
    done
}

async fn send_all(
    source: &mut Source,
    window: &mut Window,
    sent: &mut Sent<'_>,
) -> Result<(), Failure> {
    let mut done = Ok(());
    let mut more = true;
    while more || !window.is_empty() {
        tokio::select! {
            biased;
            stored = window.confirm(), if !window.is_empty() => match stored {
                Ok((id, durability)) => sent.add(id, durability)?,
                Err(failure) => {
                    more = false;
                    // The first failure is the one to tell; others follow from it.
                    done = done.and(Err(failure));
                }
            },
            body = source.next(), if more && window.has_room() => match body {
                Some(Ok(body)) => window.send(body),
                Some(Err(failure)) => {
                    more = false;
                    done = done.and(Err(failure));
                }
                None => more = false,
            },
        }
    }
    done
}

/// For how long, or until when, messages are hidden at first.
struct Hidden {
    delay: Option<Duration>,
    until: Option<SystemTime>,
}

impl Hidden {
    /// The delay of a message that is sent now.
    fn delay(&self) -> Option<Duration> {
        self.until.map(instant::until).or(self.delay)
    }
}

/// Keys that all messages get.
struct Keys {
    group: Option<Bytes>,
    dedup: Option<Bytes>,
}

/// Messages on their way, the oldest first.
struct Window {
    queue: Queue,
    hidden: Hidden,
    keys: Keys,
    sends: VecDeque<(Sending, usize)>,
    len: usize,
}

impl Window {
    fn new(queue: Queue, hidden: Hidden, keys: Keys) -> Self {
        Window {
            queue,
            hidden,
            keys,
            sends: VecDeque::new(),
            len: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    fn has_room(&self) -> bool {
        self.sends.len() < WINDOW_COUNT_MAX && self.len < WINDOW_LEN_MAX
    }

    fn send(&mut self, body: Bytes) {
        let len = body.len();
        let mut message = Message::new(body);
        message.delay = self.hidden.delay();
        message.group_key = self.keys.group.clone();
        message.dedup_key = self.keys.dedup.clone();
        self.sends.push_back((self.queue.send_with(message), len));
        self.len += len;
    }

    /// Waits for the oldest message. May be dropped and called again.
    async fn confirm(&mut self) -> Result<(MessageId, Durability), Failure> {
        let id = poll_fn(|cx| match self.sends.front_mut() {
            Some((sending, _)) => Pin::new(sending).poll(cx),
            None => std::task::Poll::Pending,
        })
        .await;
        let mut durability = None;
        if let Some((sending, len)) = self.sends.pop_front() {
            durability = sending.durability();
            self.len -= len;
        }
        Ok((id?, durability.unwrap_or_default()))
    }
}

/// What is known to be stored, and how it is told.
struct Sent<'a> {
    count: u64,
    last: Option<MessageId>,
    bar: ProgressBar,
    output: &'a mut Output,
}

impl Sent<'_> {
    fn add(&mut self, id: MessageId, durability: Durability) -> Result<(), Failure> {
        self.count += 1;
        self.last = Some(id);
        self.bar.inc(1);
        match self.output.format() {
            Format::Json => self
                .output
                .json(&json!({ "id": id.0, "durability": durability.text() })),
            Format::Table => Ok(()),
        }
    }

    fn tell_total(&mut self) -> Result<(), Failure> {
        match (self.output.format(), self.count, self.last) {
            (Format::Json, ..) => Ok(()),
            (Format::Table, 1, Some(id)) => self.output.line(&format!("sent message {id}")),
            (Format::Table, count, _) => self.output.line(&format!("sent {count} messages")),
        }
    }
}
