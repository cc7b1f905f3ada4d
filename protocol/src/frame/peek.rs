//! Peek: a look at messages that changes nothing. Its reply is in `peeked`.
//!
//! Spec: spec/wire.md, "Peek".

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{BATCH_COUNT_MAX, RECEIVE_LEN_MAX};
use crate::reader::Reader;
use crate::{DecodeError, ErrorCode, MessageId, Name, OutOfRange};

/// Which messages are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeekOf {
    /// Those that can be received, in the order of receiving.
    #[default]
    Ready,
    /// Those that wait for their delay or rest, in the order of their ids.
    Delayed,
    /// Those that were received and neither deleted nor given back, in the order of their ids.
    InFlight,
    /// One message, whatever its state.
    Message,
}

impl PeekOf {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            PeekOf::Ready => 0,
            PeekOf::Delayed => 1,
            PeekOf::InFlight => 2,
            PeekOf::Message => 3,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        use PeekOf::{Delayed, InFlight, Message, Ready};
        [Ready, Delayed, InFlight, Message]
            .into_iter()
            .find(|of| of.number() == number)
    }
}

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek {
    /// The queue.
    pub queue: Name,
    /// Which messages.
    pub of: PeekOf,
    /// The last message of the page before; 0: from the head. Of [`PeekOf::Message`], the message.
    pub id: MessageId,
    /// How many messages at most: 1 to 256.
    pub count_max: u16,
    /// How many bytes at most, bodies and headers; 0 for the default. One message always comes.
    pub len_max: u32,
}

impl Peek {
    /// Passes when every field is in its range.
    ///
    /// # Errors
    ///
    /// The first that is not, with its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let (code, count) = (ErrorCode::ReceiveOutOfRange, usize::from(self.count_max));
        OutOfRange::check(code, "count_max", count, 1, BATCH_COUNT_MAX)?;
        OutOfRange::check(code, "len_max", self.len_max, 0, RECEIVE_LEN_MAX)
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let count_max = reader.take_u16("count_max")?;
        let at = reader.at();
        let of = PeekOf::from_number(reader.take_u8("which messages")?);
        let of = of.ok_or(DecodeError::Invalid {
            what: "which messages",
            at,
            code: ErrorCode::MalformedFrame,
        })?;
        reader.take_zeros::<1>("reserved")?;
        let len_max = reader.take_u32("len_max")?;
        let id = reader.take_message_id()?;
        let queue = reader.take_name("queue name")?;
        reader.finish()?;
        let peek = Peek {
            queue,
            of,
            id,
            count_max,
            len_max,
        };
        peek.check()?;
        Ok(peek)
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(self.count_max);
        out.put_u8(self.of.number());
        out.put_u8(0);
        out.put_u32_le(self.len_max);
        out.put_u64_le(self.id.0);
        self.queue.encode(out);
    }
}
