//! Why a command stops, what is said about it, and the exit code.
//!
//! Codes: 1 the broker refused (and whatever else goes wrong with a broker that answers), 2 wrong
//! usage, 3 no connection. Scripts branch on them, so no other code is used. A reader that closes
//! our standard output, like `head`, has what it wants: that ends with 0 and without a word.
//! Spec: spec/errors.md for the numbers.

use std::io;

use sampan_client::{Applied, Error};

use super::env_file::EnvFileError;

/// Why a command stops.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}", client_text(.0))]
    Client(#[from] Error),
    #[error(transparent)]
    EnvFile(#[from] EnvFileError),
    #[error("{0}")]
    Usage(String),
    #[error("cannot write: {0}")]
    Output(io::Error),
    #[error("cannot read standard input: {0}")]
    Input(io::Error),
    #[error("cannot {what}: {source}")]
    System {
        what: &'static str,
        source: io::Error,
    },
    /// The broker of the demo did not do what it should.
    #[error("{0}")]
    Broker(String),
    #[error("interrupted")]
    Interrupted,
    /// The details have been printed.
    #[error("{0}")]
    Partial(String),
}

impl Failure {
    /// See the head of the file.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Client(error) => client_code(error),
            Failure::EnvFile(_) | Failure::Usage(_) => 2,
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Failure::Output(_)
            | Failure::Input(_)
            | Failure::System { .. }
            | Failure::Broker(_)
            | Failure::Interrupted
            | Failure::Partial(_) => 1,
        }
    }
}

fn client_code(error: &Error) -> u8 {
    match error {
        Error::Configuration { .. } => 2,
        Error::Disconnected { .. } | Error::TimedOut { .. } | Error::Closed { .. } => 3,
        // Refused, Corrupt, and whatever the SDK learns to say later: the broker was there.
        _ => 1,
    }
}

/// The text of an error of the SDK; a refusal with its number, for scripts to look for.
pub(crate) fn client_text(error: &Error) -> String {
    let text = match error {
        Error::Refused { number, text, .. } => format!("error {number}: {text}"),
        other => other.to_string(),
    };
    match error.applied() {
        Applied::Unknown => format!("{text} (it is not known whether the request was carried out)"),
        Applied::No | Applied::Yes => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(applied: Applied) -> Error {
        Error::Refused {
            number: 201,
            text: "queue not found".into(),
            applied,
            retry_after: std::time::Duration::ZERO,
        }
    }

    #[test]
    fn a_refusal_exits_with_1_and_shows_number_and_text() {
        let failure = Failure::from(refused(Applied::No));
        assert_eq!(failure.exit_code(), 1);
        assert_eq!(failure.to_string(), "error 201: queue not found");
    }

    #[test]
    fn an_unknown_outcome_is_said() {
        assert!(
            Failure::from(refused(Applied::Unknown))
                .to_string()
                .contains("not known")
        );
    }

    #[test]
    fn wrong_usage_exits_with_2_and_no_connection_with_3() {
        let configuration = Error::Configuration {
            text: "no key".into(),
        };
        assert_eq!(Failure::from(configuration).exit_code(), 2);
        assert_eq!(Failure::Usage("x".into()).exit_code(), 2);
        let applied = Applied::No;
        for error in [
            Error::Disconnected {
                text: "refused".into(),
                applied,
            },
            Error::TimedOut { applied },
            Error::Closed { applied },
        ] {
            assert_eq!(Failure::from(error).exit_code(), 3);
        }
    }

    #[test]
    fn a_reader_that_has_enough_is_no_failure() {
        assert_eq!(
            Failure::Output(io::ErrorKind::BrokenPipe.into()).exit_code(),
            0
        );
        assert_eq!(
            Failure::Output(io::ErrorKind::StorageFull.into()).exit_code(),
            1
        );
    }
}
