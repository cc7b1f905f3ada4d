//! Redrive: messages of a queue go back to where they came from, or all to one queue; how far that
//! is, and its end before its time.
//!
//! Spec: spec/wire.md, "Redrive".

use bytes::{BufMut, Bytes, BytesMut};

use crate::name::put_name;
use crate::reader::Reader;
use crate::{DeathReason, DecodeError, ErrorCode, Name, RedriveFilter, Timestamp};

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// The queue whose messages move.
    pub queue: Name,
    /// The queue that gets them all; empty: each goes to the queue that it came from.
    pub to: Name,
    /// Which messages move.
    pub filter: RedriveFilter,
    /// At most so many messages a second; 0: as fast as it goes.
    pub rate: u32,
    /// Only count them.
    pub is_dry_run: bool,
}

impl Redrive {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let since = reader.take_timestamp("since")?;
        let rate = reader.take_u32("rate")?;
        let reason = match reader.take_u8("reason")? {
            0 => None,
            number => Some(DeathReason::from_number(number).ok_or(malformed("reason", 12))?),
        };
        let is_dry_run = match reader.take_u8("dry run")? {
            0 => false,
            1 => true,
            _ => return Err(malformed("dry run", 13)),
        };
        let value_len = reader.take_u16("length of header value")?;
        let queue = reader.take_name("queue name")?;
        let to = reader.take_name("target queue")?;
        let source_queue = reader.take_name("source queue")?.as_str().to_owned();
        let header_name = reader.take_name("header name")?.as_str().to_owned();
        let header_value = reader.take(usize::from(value_len), "header value")?;
        reader.finish()?;
        let filter = RedriveFilter {
            since,
            reason,
            source_queue,
            header_name,
            header_value,
        };
        filter.check()?;
        Ok(Redrive {
            queue,
            to,
            filter,
            rate,
            is_dry_run,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let RedriveFilter {
            since,
            reason,
            source_queue,
            header_name,
            header_value,
        } = &self.filter;
        let value_len = u16::try_from(header_value.len()).unwrap_or(u16::MAX);
        out.put_u64_le(since.0);
        out.put_u32_le(self.rate);
        out.put_u8(reason.map_or(0, DeathReason::number));
        out.put_u8(u8::from(self.is_dry_run));
        out.put_u16_le(value_len);
        self.queue.encode(out);
        self.to.encode(out);
        put_name(source_queue, out);
        put_name(header_name, out);
        out.put_slice(&header_value[..usize::from(value_len)]);
    }
}

fn malformed(what: &'static str, at: usize) -> DecodeError {
    DecodeError::Invalid {
        what,
        at,
        code: ErrorCode::MalformedFrame,
    }
}

/// The answer to a redrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedriveBegun {
    /// The number of the job among those of its queue; 0 for a dry run.
    pub job: u64,
    /// How many messages it would move, for a dry run; else 0.
    pub count: u64,
}

impl RedriveBegun {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let job = reader.take_u64("job")?;
        let count = reader.take_u64("count")?;
        reader.finish()?;
        Ok(RedriveBegun { job, count })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.job);
        out.put_u64_le(self.count);
    }
}

/// Whether a redrive goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedriveState {
    /// It goes on.
    Running,
    /// It looked at every message that was there when it began.
    Done,
    /// Somebody ended it.
    Cancelled,
}

impl RedriveState {
    /// The number on the wire and in state rows.
    pub const fn number(self) -> u8 {
        match self {
            RedriveState::Running => 0,
            RedriveState::Done => 1,
            RedriveState::Cancelled => 2,
        }
    }

    /// The state of a number, when there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        use RedriveState::{Cancelled, Done, Running};
        [Running, Done, Cancelled]
            .into_iter()
            .find(|state| state.number() == number)
    }
}

/// How far the newest redrive of a queue is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedriveStatus {
    /// The number of the job among those of its queue.
    pub job: u64,
    /// Whether it goes on.
    pub state: RedriveState,
    /// At most so many messages a second; 0: as fast as it goes.
    pub rate: u32,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Messages that it looked at.
    pub looked: u64,
    /// Messages that it sent on their way.
    pub moved: u64,
    /// Messages that stay: filters keep them, or the queue that they came from is not there.
    pub skipped: u64,
    /// Messages of the queue that are on their way now.
    pub moving: u64,
    /// The queue that gets them all; empty: each goes to the queue that it came from.
    pub to: String,
}

impl RedriveStatus {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let job = reader.take_u64("job")?;
        let begun_at = reader.take_timestamp("begun_at")?;
        let ended_at = Some(reader.take_timestamp("ended_at")?).filter(|at| at.0 != 0);
        let looked = reader.take_u64("looked count")?;
        let moved = reader.take_u64("moved count")?;
        let skipped = reader.take_u64("skipped count")?;
        let moving = reader.take_u64("moving count")?;
        let rate = reader.take_u32("rate")?;
        let at = reader.at();
        let state = RedriveState::from_number(reader.take_u8("state")?);
        let state = state.ok_or(malformed("state", at))?;
        reader.take_zeros::<3>("reserved")?;
        let to = reader.take_name("target queue")?.as_str().to_owned();
        reader.finish()?;
        Ok(RedriveStatus {
            job,
            state,
            rate,
            begun_at,
            ended_at,
            looked,
            moved,
            skipped,
            moving,
            to,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.job);
        out.put_u64_le(self.begun_at.0);
        out.put_u64_le(self.ended_at.map_or(0, |at| at.0));
        for count in [self.looked, self.moved, self.skipped, self.moving] {
            out.put_u64_le(count);
        }
        out.put_u32_le(self.rate);
        out.put_u8(self.state.number());
        out.put_slice(&[0; 3]);
        put_name(&self.to, out);
    }
}
