//! A set's share of the node's log, as openraft wants to see it.
//!
//! The log itself knows nothing of Raft; this file knows nothing of files. An append returns at
//! once, and openraft is told from the log's thread when the sync is done; for lazy entries, when
//! they are written.
//!
//! Entries that the log no longer has in memory are read on a blocking thread, in pieces of
//! [`READ_LEN_MAX`], so that a restart never holds more than that of the log at a time.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures::Stream;
use futures::stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use sampan_protocol::{Durability, SetId};
use sampan_storage::log::{Log, LogEntry, Vote};
use tokio::sync::oneshot;

use super::payload::LogPayload;
use super::types::{
    LeaderId, Proposal, RaftEntry, RaftLogId, RaftPayload, RaftVote, SetConfig, from_stored,
    to_stored,
};
use crate::suspicion::{HardState, Voters};

/// Longest piece of the log that is read at one time.
const READ_LEN_MAX: usize = 2 * 1024 * 1024;

/// Reads and writes the entries of one set. Cloned for each reader.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: Log<LogPayload>,
    set: SetId,
    hard_state: HardState,
}

impl LogStore {
    pub(crate) fn new(log: Log<LogPayload>, set: SetId, hard_state: HardState) -> Self {
        LogStore {
            log,
            set,
            hard_state,
        }
    }

    /// Writes the voters down that one of `entries` brings, before that entry is in the log.
    async fn note_voters(&self, entries: &[RaftEntry]) -> io::Result<()> {
        let newest = entries.iter().rev().find_map(|entry| match &entry.payload {
            RaftPayload::Membership(members) => Some(Voters::of(Some(&entry.log_id), members)),
            RaftPayload::Blank | RaftPayload::Normal(_) => None,
        });
        let Some(newest) = newest else {
            return Ok(());
        };
        let (hard_state, set) = (self.hard_state.clone(), self.set);
        let noted = tokio::task::spawn_blocking(move || hard_state.note_voters(set, &newest));
        noted.await.map_err(io::Error::other)?
    }

    /// Writes a vote of a new term down, before it is in the log.
    async fn note_vote(&self, vote: &RaftVote) -> io::Result<()> {
        let (term, node) = (vote.leader_id.term, vote.leader_id.voted_for);
        let set = self.set;
        if self
            .hard_state
            .vote(set)
            .is_some_and(|(known, _)| known >= term)
        {
            return Ok(());
        }
        let hard_state = self.hard_state.clone();
        let noted = tokio::task::spawn_blocking(move || hard_state.note_vote(set, term, node));
        noted.await.map_err(io::Error::other)?
    }

    /// One piece of `from..until`: at least one entry, when there is one.
    async fn read_piece(&self, from: u64, until: u64) -> io::Result<Vec<RaftEntry>> {
        let set = self.set;
        let cached = self.log.read_cached(set, from, until, READ_LEN_MAX);
        let entries = match cached {
            Some(entries) => entries,
            None => {
                let log = self.log.clone();
                let read = move || log.read(set, from, until, READ_LEN_MAX);
                let joined = tokio::task::spawn_blocking(read).await;
                joined
                    .map_err(io::Error::other)?
                    .map_err(io::Error::other)?
            }
        };
        entries.into_iter().map(to_raft_entry).collect()
    }

    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(from) => from + 1,
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(until) => *until,
            Bound::Unbounded => u64::MAX,
        };
        let end = self
            .log
            .state(self.set)
            .last
            .map_or(0, |last| last.index + 1);
        (from, until.min(end))
    }
}

/// Whether an entry counts once it is written.
fn is_lazy(entry: &RaftEntry) -> bool {
    match &entry.payload {
        RaftPayload::Normal(Proposal(entry)) => entry.durability == Durability::Async,
        RaftPayload::Blank | RaftPayload::Membership(_) => false,
    }
}

fn to_raft_entry(entry: LogEntry<LogPayload>) -> io::Result<RaftEntry> {
    let payload = entry.payload.into_raft().map_err(io::Error::other)?;
    Ok(RaftEntry {
        log_id: from_stored(entry.id),
        payload,
    })
}

impl RaftLogReader<SetConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        let (mut from, until) = self.bounds(&range);
        let mut entries = Vec::new();
        while from < until {
            let piece = self.read_piece(from, until).await?;
            from += piece.len() as u64;
            entries.extend(piece);
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        let vote_of = |term, voted_for, committed| RaftVote {
            leader_id: LeaderId { term, voted_for },
            committed,
        };
        let logged = self.log.state(self.set).vote;
        let logged = logged.map(|vote| vote_of(vote.term, vote.node, vote.committed));
        let noted = self.hard_state.vote(self.set);
        let is_lost =
            |(term, _): &(u64, u64)| logged.is_none_or(|logged| logged.leader_id.term < *term);
        let lost = noted.filter(is_lost);
        Ok(lost
            .map(|(term, node)| vote_of(term, node, false))
            .or(logged))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        self.read_piece(start, end).await
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<RaftEntry, io::Error>>
    where
        RB: RangeBounds<u64> + Clone + Debug,
    {
        let (from, until) = self.bounds(&range);
        let pieces = stream::unfold((self.clone(), from), move |(store, from)| async move {
            if from >= until {
                return None;
            }
            match store.read_piece(from, until).await {
                Ok(entries) => {
                    let next = from + entries.len() as u64;
                    let entries: Vec<_> = entries.into_iter().map(Ok).collect();
                    Some((stream::iter(entries), (store, next)))
                }
                Err(error) => Some((stream::iter(vec![Err(error)]), (store, until))),
            }
        });
        Box::pin(futures::StreamExt::flatten(pieces))
    }
}

impl RaftLogStorage<SetConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<SetConfig>, io::Error> {
        let state = self.log.state(self.set);
        Ok(LogState {
            last_purged_log_id: state.purged.map(from_stored),
            last_log_id: state.last.or(state.purged).map(from_stored),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        self.note_vote(vote).await?;
        let leader = vote.leader_id();
        let vote = Vote {
            term: leader.term,
            node: leader.voted_for,
            committed: vote.is_committed(),
        };
        let (done, saved) = oneshot::channel();
        self.log.save_vote(self.set, vote, answer_to(done));
        wait_for(saved).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<SetConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry>,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        self.note_voters(&entries).await?;
        let is_lazy = entries.iter().all(is_lazy);
        let entries = entries
            .into_iter()
            .map(|entry| LogEntry {
                id: to_stored(&entry.log_id),
                payload: LogPayload::from_raft(entry.payload),
            })
            .collect();
        let done =
            move |result: Result<(), _>| callback.io_completed(result.map_err(io::Error::other));
        match is_lazy {
            true => self.log.append_lazily(self.set, entries, Box::new(done)),
            false => self.log.append(self.set, entries, Box::new(done)),
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<RaftLogId>) -> Result<(), io::Error> {
        let index = last_log_id.map(|id| id.index);
        let (done, truncated) = oneshot::channel();
        self.log.truncate_after(self.set, index, answer_to(done));
        wait_for(truncated).await
    }

    async fn purge(&mut self, log_id: RaftLogId) -> Result<(), io::Error> {
        let (done, purged) = oneshot::channel();
        self.log
            .purge(self.set, to_stored(&log_id), answer_to(done));
        wait_for(purged).await
    }
}

type LogResult = Result<(), sampan_storage::log::LogError>;

/// The log answers from its own thread; a receiver that is gone no longer wants to know.
fn answer_to(done: oneshot::Sender<LogResult>) -> sampan_storage::log::Done {
    Box::new(move |result| drop(done.send(result)))
}

async fn wait_for(receiver: oneshot::Receiver<LogResult>) -> io::Result<()> {
    let answer = receiver.await;
    answer
        .map_err(|_| io::Error::other("the log stopped"))?
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
