//! Authenticate: who the client is, proven by a signature of the hello reply's nonce; and what the
//! broker answers.
//!
//! Spec: spec/wire.md, "Authenticate".

use bytes::{BufMut, Bytes, BytesMut};

use crate::reader::Reader;
use crate::{DecodeError, Name, Timestamp};

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticate {
    /// Which secret key signed.
    pub secret_id: Name,
    /// See [`crate::sign`].
    pub signature: [u8; 32],
}

impl Authenticate {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let signature = reader.take_array("signature")?;
        let secret_id = reader.take_name("secret id")?;
        reader.finish()?;
        Ok(Authenticate {
            secret_id,
            signature,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.signature);
        self.secret_id.encode(out);
    }
}

/// The signature was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// What the broker's clock says: the beginning of the sessions that the client draws.
    pub now: Timestamp,
}

impl Authenticated {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let now = Timestamp(reader.take_u64("now")?);
        reader.finish()?;
        Ok(Authenticated { now })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.now.0);
    }
}
