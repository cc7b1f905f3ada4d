//! Durations as people write them: a whole number and a unit, `500ms 30s 2h 1m 4d`.
//!
//! A number without a unit is refused: other tools read it as seconds or as milliseconds, and a
//! guess would be wrong for half of the users.

use std::time::Duration;

/// Units by the milliseconds in one, the largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is no duration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error("expected a whole number with a unit, for example 500ms, 30s, 1m, 2h or 4d")]
    NoNumber,
    #[error("the unit is missing: write {0}ms, {0}s, {0}m, {0}h or {0}d")]
    NoUnit(u64),
    #[error("unknown unit {0:?}: the units are ms, s, m, h and d")]
    UnknownUnit(String),
    #[error("expected two durations, for example 1s..10m")]
    NoRange,
    #[error("too long")]
    TooLong,
}

/// Reads a duration.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits_len);
    if number.is_empty() {
        return Err(DurationError::NoNumber);
    }
    let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
    if unit.is_empty() {
        return Err(DurationError::NoUnit(number));
    }
    let (_, millis) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| DurationError::UnknownUnit(unit.to_owned()))?;
    number
        .checked_mul(*millis)
        .map(Duration::from_millis)
        .ok_or(DurationError::TooLong)
}

/// Reads two durations, `1s..10m`.
pub(crate) fn parse_range(text: &str) -> Result<(Duration, Duration), DurationError> {
    let (min, max) = text.split_once("..").ok_or(DurationError::NoRange)?;
    Ok((parse(min)?, parse(max)?))
}

/// Writes milliseconds in the largest unit that leaves no fraction.
pub(crate) fn format_ms(millis: u64) -> String {
    if millis == 0 {
        return "0s".to_owned();
    }
    let (unit, count) = UNITS
        .iter()
        .find(|(_, each)| millis.is_multiple_of(*each))
        .map_or(("ms", millis), |(unit, each)| (*unit, millis / each));
    format!("{count}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_understood() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("1m", 60_000),
            ("2h", 7_200_000),
            ("4d", 345_600_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        assert_eq!(parse(""), Err(DurationError::NoNumber));
        assert_eq!(parse("s"), Err(DurationError::NoNumber));
        assert_eq!(parse("-1s"), Err(DurationError::NoNumber));
        assert_eq!(parse("30"), Err(DurationError::NoUnit(30)));
        assert_eq!(parse("1.5s"), Err(DurationError::UnknownUnit(".5s".into())));
        assert_eq!(parse("1w"), Err(DurationError::UnknownUnit("w".into())));
        assert_eq!(
            parse("1h30m"),
            Err(DurationError::UnknownUnit("h30m".into()))
        );
        assert_eq!(parse("99999999999999999999s"), Err(DurationError::TooLong));
        assert_eq!(parse("18446744073709551615d"), Err(DurationError::TooLong));
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for (millis, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1500ms"),
            (30_000, "30s"),
            (90_000, "90s"),
            (345_600_000, "4d"),
        ] {
            assert_eq!(format_ms(millis), text);
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)));
        }
    }
}
