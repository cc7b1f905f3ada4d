//! The entry: what one place in a set's log asks of the state machine, and when.
//!
//! Time comes in only here. Commands of one entry are carried out in order, at the entry's instant;
//! an entry without commands only moves time.
//!
//! The format begins with a version: an entry of a newer build is refused, never guessed at. An
//! entry is written in the lowest version that can carry it, so that what the cluster's slowest
//! node reads depends on the commands alone, which the leader chooses.
//! Spec: spec/state.md, "The entry", "Versions".

use bytes::Bytes;
use sampan_protocol::{Durability, Timestamp};

use crate::command::Command;
use crate::fields::{FieldError, Fields};
use crate::limits::ENTRY_COMMAND_COUNT_MAX;

/// The lowest format version that this release reads.
pub const FORMAT_VERSION_MIN: u16 = 1;
/// The highest format version that this release reads, and may write once the catalog allows it.
pub const FORMAT_VERSION_MAX: u16 = if cfg!(feature = "next-version") { 2 } else { 1 };
/// Version u8, durability u8, stamp u64, count u32.
const HEAD_LEN: usize = 14;
/// No command is shorter.
const COMMAND_LEN_MIN: usize = 3;

/// Commands and the instant at which they happen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// By the leader's clock, not before the entry in front of it.
    pub stamp: Timestamp,
    /// Carried out in this order.
    pub commands: Vec<Command>,
    /// When a replica's log confirms it: the state is the same whichever it is.
    pub durability: Durability,
}

/// Bytes that this release cannot take for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// They are no entry.
    #[error("damaged entry: command {command}")]
    Damaged {
        /// The 0-based place of the command where reading stopped.
        command: usize,
        /// What is wrong there.
        #[source]
        source: FieldError,
    },
    /// They may be an entry of a newer release.
    #[error("entry of format version {version}, this release reads up to {FORMAT_VERSION_MAX}")]
    Version {
        /// What the entry says.
        version: u16,
    },
}

impl Entry {
    /// The lowest format version that can carry the entry: the one in which it is encoded.
    pub fn version_needed(&self) -> u16 {
        let needed = self.commands.iter().map(Command::version_needed).max();
        needed.unwrap_or(FORMAT_VERSION_MIN)
    }

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
        self.encode_head(out);
        self.commands.iter().for_each(|command| command.encode(out));
    }

    /// The entry's bytes in pieces: batches of at least `shared_len_min` bytes are not copied.
    ///
    /// # Panics
    ///
    /// As [`Entry::encode`].
    pub fn encode_pieces(&self, shared_len_min: usize) -> Vec<Bytes> {
        let (mut pieces, mut copied) = (Vec::new(), Vec::new());
        self.encode_head(&mut copied);
        for command in &self.commands {
            match command.batch() {
                Some(batch) if batch.len() >= shared_len_min => {
                    command.encode_before_batch(&mut copied);
                    pieces.push(std::mem::take(&mut copied).into());
                    pieces.push(batch.clone());
                }
                _ => command.encode(&mut copied),
            }
        }
        if !copied.is_empty() {
            pieces.push(copied.into());
        }
        pieces
    }

    fn encode_head(&self, out: &mut Vec<u8>) {
        assert!(
            self.commands.len() <= ENTRY_COMMAND_COUNT_MAX,
            "the gatherer keeps the limit"
        );
        let count = u32::try_from(self.commands.len()).expect("the limit is below 2^32");
        let version = u8::try_from(self.version_needed()).expect("versions are below 256");
        out.push(version);
        out.push(self.durability.number());
        out.extend_from_slice(&self.stamp.0.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
    }

    /// Reads an entry. Batches and handles are parts of `bytes`, shared.
    ///
    /// # Errors
    ///
    /// The place and kind of the first thing that is wrong.
    pub fn decode(bytes: Bytes) -> Result<Self, EntryError> {
        let mut fields = Fields::new(&bytes);
        let damaged = |command| move |source| EntryError::Damaged { command, source };
        let version = fields.u8().map_err(damaged(0))?;
        check_version(version)?;
        let (durability, stamp, count) = decode_head(&mut fields).map_err(damaged(0))?;
        let mut commands = Vec::with_capacity(count);
        for command in 0..count {
            let decoded = Command::decode(&mut fields, &bytes, version.into());
            commands.push(decoded.map_err(damaged(command))?);
        }
        fields.end().map_err(damaged(count))?;
        Ok(Entry {
            stamp,
            commands,
            durability,
        })
    }
}

fn check_version(version: u8) -> Result<(), EntryError> {
    match u16::from(version) {
        FORMAT_VERSION_MIN..=FORMAT_VERSION_MAX => Ok(()),
        0 => Err(EntryError::Damaged {
            command: 0,
            source: FieldError::Version(0),
        }),
        version => Err(EntryError::Version { version }),
    }
}

/// What follows the version.
fn decode_head(fields: &mut Fields<'_>) -> Result<(Durability, Timestamp, usize), FieldError> {
    let durability = Durability::from_number(fields.u8()?).ok_or(FieldError::Range)?;
    let stamp = fields.timestamp()?;
    let count = fields.u32()? as usize;
    if count > ENTRY_COMMAND_COUNT_MAX {
        return Err(FieldError::Range);
    }
    if count * COMMAND_LEN_MIN > fields.remaining_len() {
        return Err(FieldError::Short);
    }
    Ok((durability, stamp, count))
}

#[cfg(test)]
mod tests {
    use sampan_protocol::{BatchBuilder, NewMessage, QueueId};

    use super::*;

    fn send_of(body_len: usize) -> Command {
        let mut builder = BatchBuilder::new();
        let message = NewMessage {
            body: vec![7; body_len].into(),
            ..NewMessage::default()
        };
        builder.push(message).unwrap();
        Command::Send {
            queue: QueueId(3),
            producer: None,
            batch: builder.finish(),
        }
    }

    #[test]
    fn pieces_are_the_encoded_entry_and_share_its_long_batches() {
        let delete = || Command::QueueDelete { queue: QueueId(1) };
        for commands in [
            vec![],
            vec![delete()],
            vec![send_of(10), send_of(5000), delete(), send_of(9000)],
            vec![send_of(5000), send_of(5000)],
        ] {
            let stamp = Timestamp(9);
            let entry = Entry {
                stamp,
                commands,
                ..Entry::default()
            };
            let mut encoded = Vec::new();
            entry.encode(&mut encoded);
            let pieces = entry.encode_pieces(4096);
            assert_eq!(pieces.concat(), encoded);
            for batch in entry.commands.iter().filter_map(Command::batch) {
                let is_shared = pieces.iter().any(|piece| piece.as_ptr() == batch.as_ptr());
                assert_eq!(is_shared, batch.len() >= 4096);
            }
        }
    }

    #[test]
    fn an_entry_keeps_its_durability_and_one_of_an_unknown_kind_is_refused() {
        for durability in [Durability::Sync, Durability::Async] {
            let entry = Entry {
                durability,
                ..Entry::default()
            };
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            assert_eq!(Entry::decode(bytes.into()), Ok(entry));
        }
        let mut bytes = Vec::new();
        Entry::default().encode(&mut bytes);
        bytes[1] = 2;
        let damaged = EntryError::Damaged {
            command: 0,
            source: FieldError::Range,
        };
        assert_eq!(Entry::decode(bytes.into()), Err(damaged));
    }
}
