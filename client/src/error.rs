//! The one error of the SDK, and what a caller needs to know of it: may I try again, and did
//! anything happen?
//!
//! A request whose outcome is not known is never reported as refused: what may have been carried
//! out says [`Applied::Unknown`], even where a repeat was refused.
//! Spec: spec/errors.md.

use std::sync::Arc;
use std::time::Duration;

use sampan_protocol::{Applied, ErrorCode, ErrorReply, MessageId};

/// Why a call failed.
///
/// Cloning is cheap: one failed frame can carry 256 messages, each with a future of its own.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker refused the request, or the SDK did before sending it because it passes a limit
    /// of the protocol.
    #[error("refused ({number}): {text}")]
    Refused {
        /// The number of `spec/errors.md`.
        number: u16,
        /// What the broker says about it, with the limit when one was passed.
        text: Arc<str>,
        /// Whether the request changed anything.
        applied: Applied,
        /// How long the broker asks to wait before the next attempt; zero when it does not say.
        retry_after: Duration,
    },
    /// There is no connection, or it broke before the reply came.
    #[error("disconnected: {text}")]
    Disconnected {
        /// What broke it.
        text: Arc<str>,
        /// `No` when the request was never written whole to a connection, else `Unknown`.
        applied: Applied,
    },
    /// The reply did not come within the request timeout.
    #[error("no reply in time")]
    TimedOut {
        /// `No` when the request was never written whole to a connection, or was refused each time;
        /// else `Unknown`.
        applied: Applied,
    },
    /// A received body does not have the checksum that its sender gave it.
    ///
    /// The message is not handed out and stays hidden until its visibility timeout ends.
    #[error("body of message {id} does not match its checksum")]
    Corrupt {
        /// The message.
        id: MessageId,
    },
    /// The client was built with something that can't work.
    #[error("configuration: {text}")]
    Configuration {
        /// What is wrong, and with what.
        text: Arc<str>,
    },
    /// The client was closed, or its runtime stopped.
    #[error("client is closed")]
    Closed {
        /// `No` when the request was never written whole to a connection, else `Unknown`.
        applied: Applied,
    },
}

impl Error {
    /// Whether the same call can succeed later without a change.
    ///
    /// It says nothing about the first attempt: look at [`Error::applied`] before calling again. To
    /// the broker another call is another message, so it may be stored twice.
    pub fn retry(&self) -> bool {
        match self {
            Error::Refused { .. } => self.code().is_some_and(ErrorCode::retry),
            Error::Disconnected { .. } | Error::TimedOut { .. } | Error::Corrupt { .. } => true,
            Error::Configuration { .. } | Error::Closed { .. } => false,
        }
    }

    /// Whether the failed call changed anything at the broker.
    pub fn applied(&self) -> Applied {
        match self {
            Error::Refused { applied, .. }
            | Error::Disconnected { applied, .. }
            | Error::TimedOut { applied }
            | Error::Closed { applied } => *applied,
            Error::Corrupt { .. } => Applied::Yes,
            Error::Configuration { .. } => Applied::No,
        }
    }

    /// The code of a refusal that this version knows.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Refused { number, .. } => ErrorCode::from_number(*number),
            _ => None,
        }
    }

    /// A refusal with the code's own text.
    pub(crate) fn refused(code: ErrorCode) -> Self {
        Error::refused_with(code, code.text())
    }

    pub(crate) fn refused_with(code: ErrorCode, text: &str) -> Self {
        Error::Refused {
            number: code.number(),
            text: text.into(),
            applied: code.applied(),
            retry_after: Duration::ZERO,
        }
    }

    pub(crate) fn from_reply(reply: &ErrorReply) -> Self {
        Error::Refused {
            number: reply.number,
            text: reply.text.as_str().into(),
            applied: reply.applied,
            retry_after: Duration::from_millis(reply.retry_after_ms.into()),
        }
    }

    pub(crate) fn configuration(text: impl AsRef<str>) -> Self {
        Error::Configuration {
            text: text.as_ref().into(),
        }
    }

    pub(crate) fn disconnected(text: impl AsRef<str>, applied: Applied) -> Self {
        Error::Disconnected {
            text: text.as_ref().into(),
            applied,
        }
    }

    /// The same error, with what is known of the request's effect replaced.
    pub(crate) fn with_applied(mut self, known: Applied) -> Self {
        match &mut self {
            Error::Refused { applied, .. }
            | Error::Disconnected { applied, .. }
            | Error::TimedOut { applied }
            | Error::Closed { applied } => *applied = known,
            Error::Corrupt { .. } | Error::Configuration { .. } => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_its_code_and_whether_to_retry() {
        let error = Error::refused(ErrorCode::StorageFull);
        assert_eq!(error.code(), Some(ErrorCode::StorageFull));
        assert!(error.retry());
        assert_eq!(error.applied(), Applied::No);
        assert!(!Error::refused(ErrorCode::QueueNotFound).retry());
        assert_eq!(
            error.with_applied(Applied::Unknown).applied(),
            Applied::Unknown
        );
    }

    #[test]
    fn a_number_of_a_later_version_is_a_refusal_without_a_code() {
        let error = Error::Refused {
            number: 9_999,
            text: "new".into(),
            applied: Applied::No,
            retry_after: Duration::ZERO,
        };
        assert_eq!(error.code(), None);
        assert!(!error.retry());
        assert_eq!(error.to_string(), "refused (9999): new");
    }
}
