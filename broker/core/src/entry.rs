//! The entry: what one place in a set's log asks of the state machine, and when.
//!
//! Time comes in only here. Commands of one entry are carried out in order, at the entry's instant;
//! an entry without commands only moves time.
//!
//! The format begins with a version: an entry of a newer build is refused, never guessed at.
//! Spec: spec/state.md, "The entry".

use bytes::Bytes;
use sampan_protocol::Timestamp;

use crate::command::Command;
use crate::fields::{FieldError, Fields};
use crate::limits::ENTRY_COMMAND_COUNT_MAX;

const VERSION: u8 = 1;
/// Version u8, stamp u64, count u32.
const HEAD_LEN: usize = 13;
/// No command is shorter.
const COMMAND_LEN_MIN: usize = 3;

/// Commands and the instant at which they happen.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// By the leader's clock, not before the entry in front of it.
    pub stamp: Timestamp,
    /// Carried out in this order.
    pub commands: Vec<Command>,
}

/// Bytes that are not an entry of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged entry: command {command}")]
pub struct EntryError {
    /// The 0-based place of the command where reading stopped.
    pub command: usize,
    /// What is wrong there.
    #[source]
    pub source: FieldError,
}

impl Entry {
    /// Length of what [`Entry::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        HEAD_LEN
            + self
                .commands
                .iter()
                .map(Command::encoded_len)
                .sum::<usize>()
    }

    /// Appends the entry's bytes.
    ///
    /// # Panics
    ///
    /// With more than [`ENTRY_COMMAND_COUNT_MAX`] commands; whoever gathers them keeps the limit.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(
            self.commands.len() <= ENTRY_COMMAND_COUNT_MAX,
            "the gatherer keeps the limit"
        );
        let count = u32::try_from(self.commands.len()).expect("the limit is below 2^32");
        out.push(VERSION);
        out.extend_from_slice(&self.stamp.0.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        self.commands.iter().for_each(|command| command.encode(out));
    }

    /// Reads an entry. Batches and handles are parts of `bytes`, shared.
    ///
    /// # Errors
    ///
    /// The place and kind of the first thing that is wrong.
    pub fn decode(bytes: Bytes) -> Result<Self, EntryError> {
        let mut fields = Fields::new(&bytes);
        let (stamp, count) =
            decode_head(&mut fields).map_err(|source| EntryError { command: 0, source })?;
        let mut commands = Vec::with_capacity(count);
        for command in 0..count {
            let decoded = Command::decode(&mut fields, &bytes);
            commands.push(decoded.map_err(|source| EntryError { command, source })?);
        }
        fields.end().map_err(|source| EntryError {
            command: count,
            source,
        })?;
        Ok(Entry { stamp, commands })
    }
}

fn decode_head(fields: &mut Fields<'_>) -> Result<(Timestamp, usize), FieldError> {
    fields.version(VERSION)?;
    let stamp = fields.timestamp()?;
    let count = fields.u32()? as usize;
    if count > ENTRY_COMMAND_COUNT_MAX {
        return Err(FieldError::Range);
    }
    if count * COMMAND_LEN_MIN > fields.remaining_len() {
        return Err(FieldError::Short);
    }
    Ok((stamp, count))
}
