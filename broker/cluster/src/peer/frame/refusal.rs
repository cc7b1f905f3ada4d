//! Why a node does not talk to another.
//!
//! Spec: spec/peer.md, "Refusals".

use std::fmt;

use bytes::{BufMut, Bytes};

use super::fields::{Fields, FrameError, put_text};
use super::header::{FrameKind, NODE, OutFrame};

/// The kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalReason {
    UnsupportedVersion,
    WrongCluster,
    WrongNode,
    UnknownNode,
    WrongIncarnation,
    WrongCertificate,
    DuplicateNode,
    OldFormat,
    /// Of a later release.
    Other(u16),
}

impl RefusalReason {
    pub(crate) const KNOWN: [RefusalReason; 8] = [
        RefusalReason::UnsupportedVersion,
        RefusalReason::WrongCluster,
        RefusalReason::WrongNode,
        RefusalReason::UnknownNode,
        RefusalReason::WrongIncarnation,
        RefusalReason::WrongCertificate,
        RefusalReason::DuplicateNode,
        RefusalReason::OldFormat,
    ];

    /// Its number on the wire.
    pub(crate) fn number(self) -> u16 {
        match self {
            RefusalReason::UnsupportedVersion => 1,
            RefusalReason::WrongCluster => 2,
            RefusalReason::WrongNode => 3,
            RefusalReason::UnknownNode => 4,
            RefusalReason::WrongIncarnation => 5,
            RefusalReason::WrongCertificate => 6,
            RefusalReason::DuplicateNode => 7,
            RefusalReason::OldFormat => 8,
            RefusalReason::Other(number) => number,
        }
    }

    fn decode(number: u16) -> Self {
        let known = Self::KNOWN.into_iter().find(|one| one.number() == number);
        known.unwrap_or(RefusalReason::Other(number))
    }
}

/// A refusal with a text for whoever looks after the refused node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct PeerRefusal {
    pub(crate) reason: RefusalReason,
    pub(crate) text: String,
}

impl fmt::Display for PeerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused ({}): {}", self.reason.number(), self.text)
    }
}

impl PeerRefusal {
    pub(crate) fn new(reason: RefusalReason, text: impl Into<String>) -> Self {
        let text = text.into();
        PeerRefusal { reason, text }
    }

    pub(crate) fn encode(&self) -> OutFrame {
        OutFrame::new(FrameKind::Refused, NODE, 0, |out| {
            out.put_u16_le(self.reason.number());
            put_text(out, &self.text);
        })
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields::new(payload);
        let reason = RefusalReason::decode(fields.u16("number of a refusal")?);
        let text = fields.text("text of a refusal")?;
        fields.end()?;
        Ok(PeerRefusal { reason, text })
    }
}
