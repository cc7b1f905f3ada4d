//! Delivers what the queues of a set give up to the queues that take it, in whatever set.
//!
//! Runs beside each replica and works where the set is led. A lane (one source, one target) is
//! served by one task: it reads the bodies of the first letters, proposes them to the target's set,
//! and then settles them in its own. A task that is cut off in between leaves letters that are not
//! settled; whoever leads next delivers them again, and the target knows them by their numbers. So
//! nothing here has to be remembered.
//!
//! A target that refuses (full, paused, without a leader) stops its own lane only, which is tried
//! again with one letter, less and less often: a refusal costs an entry of the log.
//!
//! Invariants: a lane has one task at a time on a node; letters of a lane are delivered in the
//! order of their numbers, after a majority synced them, and settled only after the target said
//! that it has them.
//! Spec: spec/semantics.md, "Dead letters".

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use sampan_core::{Arrival, Command, Fate, Outgoing, Reply};
use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::{
    BatchBuilder, DeadLetter, ErrorCode, MessageId, NewMessage, QueueId, SetId,
    without_broker_headers,
};
use sampan_storage::store::StoredMessage;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::request::Refused;
use super::state::SetState;
use crate::reach::Reach;
use crate::repair::Repairer;

/// Lanes of a set that are served at one time; the others wait for their turn.
const LANES_UNDER_WAY_MAX: usize = 64;
/// Bodies of one delivery, in bytes; at least one message goes.
const DELIVERY_LEN: usize = 1024 * 1024;
/// Messages that are read at one time.
pub(super) const READ_COUNT: usize = 16;
/// How often lanes are looked at that could not be served.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Longest pause of a lane whose target refuses.
const PAUSE_MAX: Duration = Duration::from_secs(10);
pub(super) const CATALOG: SetId = SetId(0);

/// From which queue to which.
type Lane = (QueueId, QueueId);

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) set: SetId,
    pub(crate) state: Rc<RefCell<SetState>>,
    pub(crate) reach: Reach,
    pub(crate) repairer: Repairer,
}

/// How often a lane was refused since it last moved, and until when it is left alone.
#[derive(Clone, Copy)]
struct Pause {
    refusals: u32,
    until: Instant,
}

impl Pause {
    fn after(refusals: u32) -> Self {
        let factor = 1 << refusals.saturating_sub(1).min(8);
        Pause {
            refusals,
            until: Instant::now() + (LOOK_INTERVAL * factor).min(PAUSE_MAX),
        }
    }
}

/// Serves the lanes of a set until the node stops.
pub(crate) async fn relay(relay: Relay) {
    let wake = relay.state.borrow().letters_wake();
    let relay = Rc::new(relay);
    let mut rounds = Rounds {
        relay: relay.clone(),
        under_way: BTreeSet::new(),
        pauses: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    loop {
        let has_lanes = rounds.begin();
        tokio::select! {
            () = wake.notified() => {}
            Some(ended) = rounds.tasks.join_next() => match ended {
                Ok((lane, result)) => rounds.end(lane, result),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            () = tokio::time::sleep(LOOK_INTERVAL), if has_lanes => {}
        }
    }
}

/// The lanes that are served, and those that wait.
struct Rounds {
    relay: Rc<Relay>,
    under_way: BTreeSet<Lane>,
    pauses: BTreeMap<Lane, Pause>,
    tasks: JoinSet<(Lane, Result<(), Refused>)>,
}

impl Rounds {
    /// Begins whatever can be begun; returns whether there are lanes at all.
    fn begin(&mut self) -> bool {
        let lanes: BTreeSet<Lane> = self.relay.state.borrow().broker.lanes().collect();
        self.pauses.retain(|lane, _| lanes.contains(lane));
        if !self.relay.reach.leads(self.relay.set) {
            return !lanes.is_empty();
        }
        let now = Instant::now();
        for lane in &lanes {
            let pause = self.pauses.get(lane);
            let is_left_alone = pause.is_some_and(|pause| pause.until > now);
            if self.under_way.len() >= LANES_UNDER_WAY_MAX {
                break;
            }
            if is_left_alone || !self.under_way.insert(*lane) {
                continue;
            }
            // One letter finds out whether the target takes any.
            let count_max = pause.map_or(BATCH_COUNT_MAX, |_| 1);
            let (relay, lane) = (self.relay.clone(), *lane);
            self.tasks
                .spawn_local(async move { (lane, relay.serve(lane, count_max).await) });
        }
        !lanes.is_empty()
    }

    fn end(&mut self, lane: Lane, result: Result<(), Refused>) {
        self.under_way.remove(&lane);
        let Err(refused) = result else {
            self.pauses.remove(&lane);
            return;
        };
        let before = self.pauses.get(&lane).map_or(0, |pause| pause.refusals);
        let pause = Pause::after(before.saturating_add(1));
        if before == 0 {
            let (source, target) = lane;
            tracing::warn!(
                set = %self.relay.set, %source, %target, error = %refused,
                "messages wait for the queue that is to take them"
            );
        }
        self.pauses.insert(lane, pause);
    }
}

impl Relay {
    /// Delivers the first letters of a lane.
    async fn serve(&self, lane: Lane, count_max: usize) -> Result<(), Refused> {
        let (source, target) = lane;
        let mut letters = self
            .state
            .borrow()
            .broker
            .letters(source, target, count_max);
        if letters.is_empty() {
            return Ok(());
        }
        self.harden(source).await?;
        let Some(set) = self.set_of(target).await? else {
            let fates = letters.iter().map(|it| (it.number, Fate::Undeliverable));
            return self.settle(source, fates.collect()).await;
        };
        let (messages, lost) = self.read(source, &letters).await?;
        letters.truncate(messages.len());
        if !letters.is_empty() {
            let delivery = self.delivery(lane, &letters, messages)?;
            accepted(self.reach.propose(set, delivery).await?)?;
        }
        let delivered = letters.iter().map(|it| (it.number, Fate::Delivered));
        let lost = lost.map(|number| (number, Fate::Undeliverable));
        self.settle(source, delivered.chain(lost).collect()).await
    }

    /// Returns when a majority has synced all that is applied here. A letter that were lost after
    /// its delivery would leave its number to another, which the target would take for a repeat.
    async fn harden(&self, source: QueueId) -> Result<(), Refused> {
        if self.state.borrow().is_firm() {
            return Ok(());
        }
        // Settles nothing, but is never lazy.
        self.settle(source, Vec::new()).await
    }

    async fn settle(&self, source: QueueId, fates: Vec<(u64, Fate)>) -> Result<(), Refused> {
        let settle = Command::Settle {
            queue: source,
            fates,
        };
        match accepted(self.reach.propose(self.set, settle).await?) {
            // Deleted, with all that it had on its way.
            Err(refused) if refused.code == ErrorCode::QueueNotFound => Ok(()),
            settled => settled,
        }
    }

    /// The set that holds a queue; none when the queue is gone for good.
    async fn set_of(&self, queue: QueueId) -> Result<Option<SetId>, Refused> {
        let find = || {
            let directory = self.reach.directory();
            let mut routes = directory.routes();
            let route = routes.find(|route| route.queue == queue);
            route.map(|route| route.set)
        };
        if let Some(set) = find() {
            return Ok(Some(set));
        }
        self.reach.confirm(CATALOG).await?;
        Ok(find())
    }

    /// The messages of the first letters, as many as fit a delivery, and the number of the letter
    /// behind them when its message is lost on every replica.
    async fn read(
        &self,
        source: QueueId,
        letters: &[Outgoing],
    ) -> Result<(Vec<StoredMessage>, Option<u64>), Refused> {
        let (mut messages, mut len) = (Vec::new(), 0);
        for piece in letters.chunks(READ_COUNT) {
            let ids: Vec<MessageId> = piece.iter().map(|letter| letter.id).collect();
            let (found, lost_count) = self.read_found(source, &ids).await?;
            if found.iter().filter(|message| message.is_none()).count() > lost_count {
                // They were settled meanwhile: this node does not lead any more.
                return Err(Refused::retry_after(ErrorCode::LeaderChanged, 0));
            }
            for (letter, message) in piece.iter().zip(found) {
                let Some(message) = message else {
                    return Ok((messages, Some(letter.number)));
                };
                len += message.content.len();
                if len > DELIVERY_LEN && !messages.is_empty() {
                    return Ok((messages, None));
                }
                messages.push(message);
            }
        }
        Ok((messages, None))
    }

    /// Messages with their bodies, `None` for those that are not there; and how many of these are
    /// lost on every replica, and not gone.
    pub(super) async fn read_found(
        &self,
        source: QueueId,
        ids: &[MessageId],
    ) -> Result<(Vec<Option<StoredMessage>>, usize), Refused> {
        let (in_memory, missing) = self.state.borrow().find(source, ids);
        let mut lost_count = 0;
        let mut found: BTreeMap<MessageId, StoredMessage> = in_memory.into_iter().collect();
        if !missing.is_empty() {
            let reader = self.state.borrow().reader();
            let read = self
                .repairer
                .read(self.set, &reader, source, &missing)
                .await;
            let bodies = read.map_err(|error| {
                tracing::error!(set = %self.set, %error, "messages cannot be read");
                Refused::new(ErrorCode::Internal)
            })?;
            lost_count = bodies.lost_count;
            let read = missing.into_iter().zip(bodies.messages);
            found.extend(read.filter_map(|(id, message)| Some((id, message?))));
        }
        let messages = ids.iter().map(|id| found.remove(id)).collect();
        Ok((messages, lost_count))
    }

    fn delivery(
        &self,
        (source, target): Lane,
        letters: &[Outgoing],
        messages: Vec<StoredMessage>,
    ) -> Result<Command, Refused> {
        let state = self.state.borrow();
        let source_queue = state.broker.name(source).unwrap_or_default().to_owned();
        let (mut arrivals, mut batch) = (Vec::new(), BatchBuilder::new());
        for (letter, message) in letters.iter().zip(messages) {
            arrivals.push(Arrival {
                number: letter.number,
                sent_at: message.sent_at,
            });
            let story = letter.reason.map(|reason| DeadLetter {
                source_queue: source_queue.clone(),
                source_id: letter.id,
                receive_count: letter.receive_count,
                reason,
                dead_at: letter.dead_at,
            });
            let outgoing = outgoing(story.as_ref(), &message);
            let pushed = outgoing.and_then(|message| batch.push(message));
            pushed.map_err(Refused::new)?;
        }
        Ok(Command::Deliver {
            queue: target,
            source,
            arrivals,
            batch: batch.finish(),
        })
    }
}

/// The message as it goes on, with its story in the headers; without any when it is redriven.
fn outgoing(story: Option<&DeadLetter>, message: &StoredMessage) -> Result<NewMessage, ErrorCode> {
    let headers_len = usize::from(message.record.headers_len);
    let headers = &message.content[..headers_len];
    let body_at = message.content.len() - message.record.body_len as usize;
    let dedup_key_at = headers_len + usize::from(message.record.group_key_len);
    Ok(NewMessage {
        body: message.content.slice(body_at..),
        headers: match story {
            Some(story) => story.stamp(headers)?,
            None => without_broker_headers(headers)?,
        },
        group_key: message.content.slice(headers_len..dedup_key_at),
        dedup_key: message.content.slice(dedup_key_at..body_at),
        delay_ms: None,
    })
}

pub(super) fn accepted(reply: Reply) -> Result<(), Refused> {
    match reply {
        Reply::Refused(refusal) => Err(refusal.into()),
        _ => Ok(()),
    }
}
