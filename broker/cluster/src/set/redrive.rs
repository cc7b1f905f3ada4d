//! Drives the redrives of the queues of a set: looks at the messages behind a job's cursor, finds
//! a target for each that passes the filters, and proposes the next step.
//!
//! Runs beside each replica and works where the set is led. What it needs to go on, the cursor and
//! the counts, is replicated with the queue; so whoever leads next goes on with the same job, and
//! a step that was proposed and not heard of again may come twice. What is only here is the pace.
//!
//! A job stays at most [`AHEAD_MAX`] messages ahead of the relay, so that a target that takes
//! nothing holds it up with few messages out of sight, and a cancelled job is soon at rest.
//!
//! Invariants: one step of a set is proposed at a time; pages that are not in memory are read for
//! one look, and not taken in. Spec: spec/semantics.md, "Redrive".

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sampan_core::{Command, Need, Peek, PeekError, Peeked, RedriveOrder, RedriveStep, RowKey};
use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::{DeadLetter, ErrorCode, MessageId, PeekOf, QueueId};
use sampan_storage::store::StoredMessage;
use tokio::time::Instant;

use super::relay::{CATALOG, LOOK_INTERVAL, READ_COUNT, Relay, accepted};
use super::request::Refused;

/// Messages of a queue that a job lets be on their way before it waits.
const AHEAD_MAX: u64 = 1_024;
/// How long it waits then.
const AHEAD_PAUSE: Duration = Duration::from_millis(20);
/// Steps a second of a job with a rate, as long as that is one message each at least.
const STEPS_PER_SECOND: u32 = 10;
/// Bytes of the messages of one look.
const LOOK_LEN: u32 = 4 * 1024 * 1024;
/// How often a look reads rows: pages that it needs may be let go while it reads others.
const ROUND_COUNT_MAX: u32 = 4;
/// Behind every message.
const END: MessageId = MessageId((1 << 63) - 1);

type Rows = Vec<(RowKey, Option<Bytes>)>;

/// What came of a look at some messages.
pub(super) struct Sorted {
    /// The last one that was looked at.
    pub(super) cursor: MessageId,
    /// Those that are to move, and where to.
    pub(super) picks: Vec<(MessageId, QueueId)>,
    /// How many stay, or were gone when their bodies were read.
    pub(super) skipped: u32,
}

/// Drives the jobs of a set until the node stops.
pub(crate) async fn redrive(relay: Relay) {
    let wake = relay.state.borrow().redrives_wake();
    let mut pauses: BTreeMap<QueueId, Instant> = BTreeMap::new();
    loop {
        let next = relay.drive(&mut pauses).await;
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)),
                if next.is_some() => {}
        }
    }
}

impl Relay {
    /// One step of each job that has no pause; returns when the next has its turn.
    async fn drive(&self, pauses: &mut BTreeMap<QueueId, Instant>) -> Option<Instant> {
        let jobs: Vec<QueueId> = self.state.borrow().broker.redriving().collect();
        pauses.retain(|queue, _| jobs.contains(queue));
        if !self.reach.leads(self.set) {
            return (!jobs.is_empty()).then(|| Instant::now() + LOOK_INTERVAL);
        }
        for queue in jobs {
            let now = Instant::now();
            if pauses.get(&queue).is_some_and(|until| *until > now) {
                continue;
            }
            let pause = self.step(queue).await.unwrap_or_else(|refused| {
                tracing::warn!(set = %self.set, %queue, error = %refused, "a redrive waits");
                LOOK_INTERVAL
            });
            pauses.insert(queue, now + pause);
        }
        pauses.values().min().copied()
    }

    /// The next step of a job; returns how long after its beginning the one behind it begins.
    async fn step(&self, queue: QueueId) -> Result<Duration, Refused> {
        let (job, moving) = {
            let state = self.state.borrow();
            let counts = state.broker.counts(queue);
            (
                state.broker.redrive(queue).cloned(),
                counts.map_or(0, |counts| counts.moving),
            )
        };
        let Some(job) = job else {
            return Ok(Duration::ZERO);
        };
        let room = usize::try_from(AHEAD_MAX.saturating_sub(moving)).unwrap_or(usize::MAX);
        let room = room.min(step_count_max(job.order.rate));
        if room == 0 {
            return Ok(AHEAD_PAUSE);
        }
        let found = self.look(queue, job.cursor, job.ends).await?;
        let sorted = self.sort(queue, &job.order, &found, room).await?;
        let moved = sorted.picks.len();
        let step = RedriveStep {
            job: job.job,
            cursor: sorted.cursor,
            picks: sorted.picks,
            skipped: sorted.skipped,
            is_last: found.is_empty(),
        };
        let step = Command::RedriveStep { queue, step };
        match accepted(self.reach.propose(self.set, step).await?) {
            // Deleted, and the job with it.
            Err(refused) if refused.code == ErrorCode::QueueNotFound => Ok(Duration::ZERO),
            Err(refused) => Err(refused),
            Ok(()) => Ok(pace(moved, job.order.rate)),
        }
    }

    /// Some ready messages behind the cursor; none only at the end.
    pub(super) async fn look(
        &self,
        queue: QueueId,
        cursor: MessageId,
        ends: [MessageId; 2],
    ) -> Result<Vec<Peeked>, Refused> {
        let ask = Peek {
            of: PeekOf::Ready,
            id: cursor,
            count_max: u16::try_from(BATCH_COUNT_MAX).unwrap_or(u16::MAX),
            len_max: LOOK_LEN,
        };
        let mut rows = Rows::new();
        for _ in 0..ROUND_COUNT_MAX {
            let looked = {
                let state = self.state.borrow();
                state.broker.look_by_id(queue, &ask, ends, &rows)
            };
            match looked {
                Ok(found) => return Ok(found),
                Err(PeekError::Need(need)) => rows.extend(self.read_rows(need).await?),
                Err(PeekError::QueueNotFound) => {
                    return Err(Refused::new(ErrorCode::QueueNotFound));
                }
                Err(PeekError::Damaged(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(set = %self.set, error, "a redrive found a damaged page");
                    return Err(Refused::new(ErrorCode::Internal));
                }
            }
        }
        Err(Refused::new(ErrorCode::QueueBusy))
    }

    async fn read_rows(&self, need: Need) -> Result<Rows, Refused> {
        let reader = self.state.borrow().reader();
        // A thread that panics takes the process along; one that never began has read nothing.
        let rows = tokio::task::spawn_blocking(move || reader.read_rows(&need.0)).await;
        rows.unwrap_or_else(|_| Ok(Rows::new())).map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(set = %self.set, error, "pages could not be read for a redrive");
            Refused::new(ErrorCode::Internal)
        })
    }

    /// Finds out which messages move, until there are `room` of them.
    pub(super) async fn sort(
        &self,
        queue: QueueId,
        order: &RedriveOrder,
        found: &[Peeked],
        room: usize,
    ) -> Result<Sorted, Refused> {
        let mut sorted = Sorted {
            cursor: END,
            picks: Vec::new(),
            skipped: 0,
        };
        let mut sources = Sources::default();
        for piece in found.chunks(READ_COUNT) {
            let ids: Vec<MessageId> = piece.iter().map(|message| message.id).collect();
            if let Some(target) = order.target.filter(|_| order.filter.is_empty()) {
                sorted.take(&ids, room, |_| Some(target));
            } else {
                let (messages, _) = self.read_found(queue, &ids).await?;
                let targets = self.targets(queue, order, &messages, &mut sources).await?;
                sorted.take(&ids, room, |place| targets[place]);
            }
            if sorted.picks.len() >= room {
                break;
            }
        }
        Ok(sorted)
    }

    /// Where each of the messages goes; none for those that stay.
    async fn targets(
        &self,
        queue: QueueId,
        order: &RedriveOrder,
        messages: &[Option<StoredMessage>],
        sources: &mut Sources,
    ) -> Result<Vec<Option<QueueId>>, Refused> {
        let mut targets = Vec::with_capacity(messages.len());
        for message in messages {
            let headers = message.as_ref().map(|message| {
                let headers_len = usize::from(message.record.headers_len);
                &message.content[..headers_len]
            });
            let passes = |headers: &&[u8]| order.filter.passes(headers);
            let target = match (headers.filter(passes), order.target) {
                (None, _) => None,
                (Some(_), Some(target)) => Some(target),
                (Some(headers), None) => match DeadLetter::of(headers) {
                    Some(story) => self.source(&story.source_queue, sources).await?,
                    None => None,
                },
            };
            targets.push(target.filter(|target| *target != queue));
        }
        Ok(targets)
    }

    /// The queue of a name; none when there is none.
    async fn source(&self, name: &str, known: &mut Sources) -> Result<Option<QueueId>, Refused> {
        if let Some(queue) = known.0.get(name) {
            return Ok(*queue);
        }
        let find = || self.reach.directory().find(name).map(|route| route.queue);
        let mut found = find();
        if found.is_none() {
            self.reach.confirm(CATALOG).await?;
            found = find();
        }
        known.0.insert(name.to_owned(), found);
        Ok(found)
    }
}

impl Sorted {
    /// Takes the messages in, as long as fewer than `room` move.
    fn take(&mut self, ids: &[MessageId], room: usize, target: impl Fn(usize) -> Option<QueueId>) {
        for (place, id) in ids.iter().enumerate() {
            if self.picks.len() >= room {
                return;
            }
            self.cursor = *id;
            match target(place) {
                Some(target) => self.picks.push((*id, target)),
                None => self.skipped += 1,
            }
        }
    }
}

/// The queues of names, as they were found during one look: at most as many as it has messages.
#[derive(Default)]
struct Sources(BTreeMap<String, Option<QueueId>>);

/// Most messages that a step of a job moves.
fn step_count_max(rate: u32) -> usize {
    match usize::try_from(rate / STEPS_PER_SECOND).unwrap_or(BATCH_COUNT_MAX) {
        _ if rate == 0 => BATCH_COUNT_MAX,
        count => count.clamp(1, BATCH_COUNT_MAX),
    }
}

/// How long a job with this rate takes for so many messages.
fn pace(moved: usize, rate: u32) -> Duration {
    let moved = u32::try_from(moved).unwrap_or(u32::MAX);
    let second = Duration::from_secs(1);
    match rate {
        0 => Duration::ZERO,
        rate => second * moved / rate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_pauses_make_up_the_rate() {
        for rate in [1, 7, 10, 55, 999, 2_560, 100_000] {
            let count = step_count_max(rate);
            assert!((1..=BATCH_COUNT_MAX).contains(&count), "{rate}");
            let steps_per_second = 1.0 / pace(count, rate).as_secs_f64();
            let rate_kept = steps_per_second * count as f64;
            assert!(
                (rate_kept / f64::from(rate) - 1.0).abs() < 0.01,
                "{rate}: {rate_kept}"
            );
        }
        assert_eq!((step_count_max(0), pace(256, 0)), (256, Duration::ZERO));
    }

    #[test]
    fn what_lies_behind_the_last_that_fits_is_looked_at_again() {
        let mut sorted = Sorted {
            cursor: END,
            picks: Vec::new(),
            skipped: 0,
        };
        let ids = [3, 4, 5, 6, 7].map(MessageId);
        let target = |place: usize| place.is_multiple_of(2).then_some(QueueId(9));
        sorted.take(&ids, 2, target);
        assert_eq!((sorted.cursor, sorted.skipped), (MessageId(5), 1));
        assert_eq!(
            sorted.picks,
            [(MessageId(3), QueueId(9)), (MessageId(5), QueueId(9))]
        );
    }
}
