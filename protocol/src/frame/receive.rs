//! Receive: a request for messages of one queue. Its reply is in `received`.
//!
//! Ranges are checked while decoding, and by [`Receive::check`] before a client sends.
//!
//! Spec: spec/wire.md, "Receive".

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{
    BATCH_COUNT_MAX, RECEIVE_LEN_DEFAULT, RECEIVE_LEN_MAX, RECEIVE_WAIT_MAX_MS,
    VISIBILITY_TIMEOUT_MAX_MS, VISIBILITY_TIMEOUT_MIN_MS,
};
use crate::reader::Reader;
use crate::{DecodeError, ErrorCode, Name, OutOfRange};

/// Stands for "as the queue says".
const NONE: u32 = u32::MAX;

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receive {
    /// The queue.
    pub queue: Name,
    /// How many messages at most: 1 to 256.
    pub count_max: u16,
    /// How many bytes at most, bodies and headers; 0 for the default. One message always comes.
    pub len_max: u32,
    /// How long to wait for a message. `None`: as the queue says.
    pub wait_ms: Option<u32>,
    /// How long the messages are hidden from others. `None`: as the queue says.
    pub visibility_timeout_ms: Option<u32>,
}

impl Receive {
    /// How many bytes the reply may have at most.
    pub fn reply_len_max(&self) -> u32 {
        if self.len_max == 0 {
            RECEIVE_LEN_DEFAULT
        } else {
            self.len_max
        }
    }

    /// Passes when every field is in its range.
    ///
    /// # Errors
    ///
    /// The first that is not, with its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        use ErrorCode::{ReceiveOutOfRange, VisibilityTimeoutOutOfRange, WaitOutOfRange};
        let count = usize::from(self.count_max);
        OutOfRange::check(ReceiveOutOfRange, "count_max", count, 1, BATCH_COUNT_MAX)?;
        OutOfRange::check(
            ReceiveOutOfRange,
            "len_max",
            self.len_max,
            0,
            RECEIVE_LEN_MAX,
        )?;
        let wait = self.wait_ms.unwrap_or(0);
        OutOfRange::check(WaitOutOfRange, "wait_ms", wait, 0, RECEIVE_WAIT_MAX_MS)?;
        let (min, max) = (VISIBILITY_TIMEOUT_MIN_MS, VISIBILITY_TIMEOUT_MAX_MS);
        let timeout = self.visibility_timeout_ms.unwrap_or(min);
        let code = VisibilityTimeoutOutOfRange;
        OutOfRange::check(code, "visibility_timeout_ms", timeout, min, max)
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let optional = |value: u32| Some(value).filter(|value| *value != NONE);
        let mut reader = Reader::new(payload);
        let count_max = reader.take_u16("count_max")?;
        reader.take_zeros::<2>("reserved")?;
        let len_max = reader.take_u32("len_max")?;
        let wait_ms = optional(reader.take_u32("wait_ms")?);
        let visibility_timeout_ms = optional(reader.take_u32("visibility_timeout_ms")?);
        let queue = reader.take_name("queue name")?;
        reader.finish()?;
        let receive = Receive {
            queue,
            count_max,
            len_max,
            wait_ms,
            visibility_timeout_ms,
        };
        receive.check()?;
        Ok(receive)
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(self.count_max);
        out.put_u16_le(0);
        out.put_u32_le(self.len_max);
        out.put_u32_le(self.wait_ms.unwrap_or(NONE));
        out.put_u32_le(self.visibility_timeout_ms.unwrap_or(NONE));
        self.queue.encode(out);
    }
}
