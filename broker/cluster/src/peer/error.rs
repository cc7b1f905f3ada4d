//! What can go wrong between two nodes, as those see it that asked for something.

use std::io;
use std::time::Duration;

use super::frame::{CallError, FrameError, PeerRefusal};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("the other end closed the connection")]
    Closed,
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    #[error("damaged or foreign bytes")]
    Frame(#[from] FrameError),
    #[error("unexpected {0}")]
    Unexpected(&'static str),
    #[error("the greeting took longer than {0:?}")]
    Slow(Duration),
    #[error(transparent)]
    Refused(PeerRefusal),
}

/// Why a call or an append stream to a peer gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("there is no connection to node {0}")]
    NotConnected(u64),
    #[error("no connection to {0}: {1}")]
    NotReached(String, String),
    #[error("the connection ended before the answer came")]
    Disconnected {
        /// Whether the request may have left this node.
        was_written: bool,
    },
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("request of {0} bytes is longer than a frame")]
    TooLong(usize),
    #[error("the other node answered with an error")]
    Failed(#[source] CallError),
}

impl PeerError {
    /// Whether the other node may have done what it was asked.
    pub(crate) fn may_be_applied(&self) -> bool {
        match self {
            PeerError::NotConnected(_) | PeerError::NotReached(..) | PeerError::TooLong(_) => false,
            PeerError::Disconnected { was_written } => *was_written,
            PeerError::TimedOut(_) | PeerError::Failed(_) => true,
        }
    }
}

/// An error with its causes, for a line of the log.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
