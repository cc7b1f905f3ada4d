//! Hello and welcome: who is at this end of the connection. Both have the same content.
//!
//! Spec: spec/peer.md, "Greeting".

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::{Fields, FrameError, put_text};
use super::header::{FrameKind, NODE, OutFrame};

/// The protocol's version that this release speaks, the only one so far.
pub(crate) const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"SMPNPEER";

/// What a node says of itself before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Versions of this protocol that it speaks.
    pub(crate) version_min: u16,
    pub(crate) version_max: u16,
    /// 0: it belongs to no cluster yet.
    pub(crate) cluster: u128,
    pub(crate) node: u64,
    /// Proves that it still has the data folder it had.
    pub(crate) incarnation: u128,
    /// Whom it wants to reach; 0: whoever is there.
    pub(crate) target: u64,
    /// The highest format of entries and snapshots that it reads.
    pub(crate) format_version_max: u16,
    pub(crate) wall_ms: u64,
    pub(crate) release: String,
}

impl Hello {
    /// As the first frame of whoever connects, or as the answer to it.
    pub(crate) fn encode(&self, kind: FrameKind) -> OutFrame {
        OutFrame::new(kind, NODE, 0, |out| self.put(out))
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_slice(MAGIC);
        out.put_u16_le(self.version_min);
        out.put_u16_le(self.version_max);
        out.put_u128_le(self.cluster);
        out.put_u64_le(self.node);
        out.put_u128_le(self.incarnation);
        out.put_u64_le(self.target);
        out.put_u16_le(self.format_version_max);
        out.put_u64_le(self.wall_ms);
        put_text(out, &self.release);
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields::new(payload);
        if fields.take(MAGIC.len(), "magic")? != MAGIC[..] {
            return Err(FrameError::Magic);
        }
        let hello = Hello {
            version_min: fields.u16("lowest version")?,
            version_max: fields.u16("highest version")?,
            cluster: fields.u128("cluster")?,
            node: fields.u64("node")?,
            incarnation: fields.u128("incarnation")?,
            target: fields.u64("target")?,
            format_version_max: fields.u16("format version")?,
            wall_ms: fields.u64("wall clock")?,
            release: fields.text("release")?,
        };
        fields.end()?;
        if hello.version_min > hello.version_max {
            return Err(FrameError::Range("range of versions"));
        }
        Ok(hello)
    }
}

/// The highest version that both ranges hold.
pub(crate) fn agree(mine: (u16, u16), theirs: (u16, u16)) -> Option<u16> {
    let highest = mine.1.min(theirs.1);
    (highest >= mine.0.max(theirs.0)).then_some(highest)
}
