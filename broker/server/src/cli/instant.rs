//! Instants as people write them: RFC 3339, or seconds since 1970 as `date +%s` prints them; what
//! is past also as `-1h`.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::duration;

/// Why a text is no instant.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time like 2026-03-14T09:00:00Z, or seconds since 1970")]
pub(crate) struct InstantError;

/// Reads an instant.
pub(crate) fn parse(text: &str) -> Result<SystemTime, InstantError> {
    let since_1970 = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let instant = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InstantError)?;
            let nanos = u64::try_from(instant.unix_timestamp_nanos()).map_err(|_| InstantError)?;
            Duration::from_nanos(nanos)
        }
    };
    let instant = SystemTime::UNIX_EPOCH.checked_add(since_1970);
    instant.ok_or(InstantError)
}

/// Why a text is no instant of the past.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time like 2026-03-14T09:00:00Z, seconds since 1970, or how long ago, like -1h")]
pub(crate) struct PastError;

/// Reads an instant, or how long ago it was by this machine's clock.
pub(crate) fn parse_past(text: &str) -> Result<SystemTime, PastError> {
    let Some(ago) = text.strip_prefix('-') else {
        return parse(text).map_err(|_| PastError);
    };
    let ago = duration::parse(ago).map_err(|_| PastError)?;
    let instant = SystemTime::now().checked_sub(ago);
    instant.ok_or(PastError)
}

/// How long it is until then by this machine's clock; zero for what is past.
pub(crate) fn until(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::now()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        let instant = parse(text).ok()?;
        let since = instant.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    }

    #[test]
    fn instants_are_rfc_3339_or_seconds_since_1970() {
        for text in [
            "1700000000",
            "2023-11-14T22:13:20Z",
            "2023-11-14T23:13:20+01:00",
        ] {
            assert_eq!(seconds(text), Some(1_700_000_000), "{text}");
        }
        for text in [
            "",
            "noon",
            "-5",
            "2023-11-14",
            "99999999999999999999",
            "1969-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), Err(InstantError), "{text}");
        }
    }

    #[test]
    fn what_is_past_may_be_told_by_how_long_ago_it_was() {
        let before = SystemTime::now();
        let hour_ago = parse_past("-1h").expect("an hour ago") + Duration::from_secs(3_600);
        assert!((before..=SystemTime::now()).contains(&hour_ago));
        assert_eq!(
            parse_past("1700000000"),
            parse("1700000000").map_err(|_| PastError)
        );
        for text in ["", "-", "-1", "1h", "--1h", "-99999999999999999d"] {
            assert_eq!(parse_past(text), Err(PastError), "{text}");
        }
    }

    #[test]
    fn what_is_past_is_now() {
        assert_eq!(until(SystemTime::UNIX_EPOCH), Duration::ZERO);
    }
}
