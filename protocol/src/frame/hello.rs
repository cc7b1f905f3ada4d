//! Hello: the first frame of a connection, and what the broker answers.
//!
//! The layout of the request is the same in every version, so that a broker understands the hello
//! of clients that are newer than itself.
//!
//! Spec: spec/wire.md, "Hello".

use bytes::{BufMut, Bytes, BytesMut};

use crate::DecodeError;
use crate::reader::Reader;

/// The version that this crate speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// The first bytes of a hello.
const MAGIC: [u8; 4] = *b"SMPN";

/// The versions that the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The lowest.
    pub version_min: u16,
    /// The highest.
    pub version_max: u16,
}

impl Hello {
    /// The version to speak, when there is one in common.
    pub fn agreed_version(&self) -> Option<u16> {
        let common = self.version_min..=self.version_max;
        common
            .contains(&PROTOCOL_VERSION)
            .then_some(PROTOCOL_VERSION)
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        match reader.take_array("magic") {
            Ok(MAGIC) => {}
            _ => return Err(DecodeError::WrongMagic),
        }
        let min = reader.take_u16("version_min")?;
        let max = reader.take_u16("version_max")?;
        if min > max {
            return Err(DecodeError::VersionsReversed { min, max });
        }
        reader.finish()?;
        Ok(Hello {
            version_min: min,
            version_max: max,
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&MAGIC);
        out.put_u16_le(self.version_min);
        out.put_u16_le(self.version_max);
    }
}

/// A client that speaks this version only.
impl Default for Hello {
    fn default() -> Self {
        Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
        }
    }
}

/// What holds for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloReply {
    /// The version that both speak from now on.
    pub version: u16,
    /// The challenge: what the client signs, new for each connection.
    pub nonce: [u8; 32],
    /// The longest payload that the broker accepts.
    pub frame_len_max: u32,
    /// How many requests may be unanswered at one time.
    pub requests_in_flight_max: u32,
}

impl HelloReply {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let version = reader.take_u16("version")?;
        reader.take_zeros::<2>("reserved")?;
        let reply = HelloReply {
            version,
            nonce: reader.take_array("nonce")?,
            frame_len_max: reader.take_u32("frame_len_max")?,
            requests_in_flight_max: reader.take_u32("requests_in_flight_max")?,
        };
        reader.finish()?;
        Ok(reply)
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(self.version);
        out.put_u16_le(0);
        out.put_slice(&self.nonce);
        out.put_u32_le(self.frame_len_max);
        out.put_u32_le(self.requests_in_flight_max);
    }
}
