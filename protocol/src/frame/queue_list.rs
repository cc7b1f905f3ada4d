//! Queue list: the names of queues, page by page.
//!
//! Spec: spec/wire.md, "Queue list".

use bytes::{BufMut, Bytes, BytesMut};

use crate::lengths::to_usize;
use crate::limits::QUEUE_LIST_COUNT_MAX;
use crate::name::put_name;
use crate::reader::Reader;
use crate::{DecodeError, ErrorCode, Name, OutOfRange};

/// Which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueList {
    /// What the names begin with, without regard to letter case; empty for all.
    pub prefix: Name,
    /// The last name of the page before, empty for the first page.
    pub after: Name,
    /// How many at most: 1 to [`QUEUE_LIST_COUNT_MAX`].
    pub count_max: u32,
}

impl QueueList {
    /// Passes when the page has a size that a page may have.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::ReceiveOutOfRange`], with the range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let count = to_usize(self.count_max);
        let code = ErrorCode::ReceiveOutOfRange;
        OutOfRange::check(code, "count_max", count, 1, QUEUE_LIST_COUNT_MAX)
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let count_max = reader.take_u32("count_max")?;
        let prefix = reader.take_name("prefix")?;
        let after = reader.take_name("after")?;
        reader.finish()?;
        let list = QueueList {
            prefix,
            after,
            count_max,
        };
        list.check()?;
        Ok(list)
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.count_max);
        self.prefix.encode(out);
        self.after.encode(out);
    }
}

/// One page of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueListPage {
    /// In the order of the listing, at most [`QUEUE_LIST_COUNT_MAX`].
    pub names: Vec<String>,
    /// Whether there are names after these.
    pub more: bool,
}

impl QueueListPage {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let invalid = |what, at| DecodeError::Invalid {
            what,
            at,
            code: ErrorCode::MalformedFrame,
        };
        let mut reader = Reader::new(payload);
        let count = usize::from(reader.take_u16("name count")?);
        if count > QUEUE_LIST_COUNT_MAX {
            return Err(invalid("name count", 0));
        }
        let more = match reader.take_u8("more")? {
            0 => false,
            1 => true,
            _ => return Err(invalid("more", 2)),
        };
        reader.take_zeros::<1>("reserved")?;
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(reader.take_name("queue name")?.as_str().to_owned());
        }
        reader.finish()?;
        Ok(QueueListPage { names, more })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let count = u16::try_from(self.names.len()).expect("a page has at most 1,000 names");
        out.put_u16_le(count);
        out.put_u8(self.more.into());
        out.put_u8(0);
        for name in &self.names {
            put_name(name, out);
        }
    }
}
