//! Admin: what operators ask of a cluster, as a verb and JSON.
//!
//! The texts are carried, not understood: what verbs there are may differ from release to release,
//! and a binary layout for each would bind the protocol to all of them. JSON costs nothing here,
//! for nobody administers a cluster thousands of times a second.
//!
//! Invariants: both texts are UTF-8 within their limits.
//! Spec: spec/wire.md, "Admin"; spec/admin.md.

use bytes::{BufMut, Bytes, BytesMut};

use crate::lengths::to_usize;
use crate::limits::{ADMIN_LEN_MAX, ADMIN_REPLY_LEN_MAX};
use crate::name::cut;
use crate::reader::Reader;
use crate::{DecodeError, ErrorCode, Name};

/// Asks one thing of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminRequest {
    /// What to do, for example `cluster.status`.
    pub verb: Name,
    /// With what: a JSON object, at most [`ADMIN_LEN_MAX`] bytes; a longer text is cut, and is no
    /// JSON then.
    pub json: String,
}

impl AdminRequest {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let verb = reader.take_name("verb")?;
        let json = take_text(&mut reader, ADMIN_LEN_MAX)?;
        reader.finish()?;
        Ok(AdminRequest { verb, json })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        self.verb.encode(out);
        put_text(&self.json, ADMIN_LEN_MAX, out);
    }
}

/// What came of an [`AdminRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminReply {
    /// A JSON value, at most [`ADMIN_REPLY_LEN_MAX`] bytes; a longer text is cut, and is no JSON
    /// then.
    pub json: String,
}

impl AdminReply {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let json = take_text(&mut reader, ADMIN_REPLY_LEN_MAX)?;
        reader.finish()?;
        Ok(AdminReply { json })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_text(&self.json, ADMIN_REPLY_LEN_MAX, out);
    }
}

fn take_text(reader: &mut Reader, len_max: usize) -> Result<String, DecodeError> {
    let invalid = |what, at| DecodeError::Invalid {
        what,
        at,
        code: ErrorCode::MalformedFrame,
    };
    let at = reader.at();
    let len = to_usize(reader.take_u32("length of JSON")?);
    if len > len_max {
        return Err(invalid("length of JSON", at));
    }
    let at = reader.at();
    let bytes = reader.take(len, "JSON")?;
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("JSON", at))?;
    Ok(text.to_owned())
}

fn put_text(text: &str, len_max: usize, out: &mut BytesMut) {
    let text = cut(text, len_max);
    out.put_u32_le(u32::try_from(text.len()).expect("it was cut to its limit, 4 MiB at most"));
    out.put_slice(text.as_bytes());
}
