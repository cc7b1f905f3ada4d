//! Sizes in bytes as people write them: `512`, `64KiB`, `1MiB`, `10GiB`.
//!
//! Only units of 1,024 exist here. `1KB` is refused, not rounded: half of the users mean 1,000.

use sampan_protocol::limits::BODY_LEN_MAX;

/// Shortest body of a demo message: its number and its checksum.
pub(crate) const NUMBERED_BODY_LEN_MIN: u32 = 16;

/// Units by the bytes in one, the largest first.
const UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Why a text is no size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SizeError {
    #[error("expected a whole number of bytes, for example 512, 64KiB or 1MiB")]
    NoNumber,
    #[error("unknown unit {0:?}: the units are B, KiB, MiB, GiB and TiB, or none for bytes")]
    UnknownUnit(String),
    #[error("too large: at most 4294967295 bytes")]
    TooLarge,
    #[error("too large: at most 18446744073709551615 bytes")]
    MuchTooLarge,
    #[error("a body here has {NUMBERED_BODY_LEN_MIN} to {BODY_LEN_MAX} bytes")]
    BodyOutOfRange,
}

/// Reads a size below 4 GiB.
pub(crate) fn parse(text: &str) -> Result<u32, SizeError> {
    let len = match parse_long(text) {
        Err(SizeError::MuchTooLarge) => u64::MAX,
        len => len?,
    };
    len.try_into().map_err(|_| SizeError::TooLarge)
}

/// Reads a size of any length.
pub(crate) fn parse_long(text: &str) -> Result<u64, SizeError> {
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits_len);
    if number.is_empty() {
        return Err(SizeError::NoNumber);
    }
    let number: u64 = number.parse().map_err(|_| SizeError::MuchTooLarge)?;
    let each = match unit {
        "" => 1,
        _ => UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, each)| *each)
            .ok_or_else(|| SizeError::UnknownUnit(unit.to_owned()))?,
    };
    number.checked_mul(each).ok_or(SizeError::MuchTooLarge)
}

/// Reads the length of a body that carries its number and checksum.
pub(crate) fn parse_body(text: &str) -> Result<u32, SizeError> {
    let len = parse(text)?;
    let fits =
        len >= NUMBERED_BODY_LEN_MIN && usize::try_from(len).is_ok_and(|len| len <= BODY_LEN_MAX);
    if fits {
        Ok(len)
    } else {
        Err(SizeError::BodyOutOfRange)
    }
}

/// Writes a size in the largest unit that leaves no fraction.
pub(crate) fn format(len: impl Into<u64>) -> String {
    let len: u64 = len.into();
    let (unit, each) = UNITS
        .iter()
        .find(|(_, each)| len != 0 && len.is_multiple_of(*each))
        .unwrap_or(&UNITS[UNITS.len() - 1]);
    format!("{}{unit}", len / each)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_every_unit_are_understood() {
        for (text, len) in [
            ("0", 0),
            ("512", 512),
            ("7B", 7),
            ("64KiB", 65_536),
            ("1MiB", 1 << 20),
            ("3GiB", 3 << 30),
        ] {
            assert_eq!(parse(text), Ok(len), "{text}");
        }
    }

    #[test]
    fn long_sizes_reach_beyond_four_gibibytes() {
        assert_eq!(parse_long("4GiB"), Ok(1 << 32));
        assert_eq!(parse_long("1024TiB"), Ok(1 << 50));
        let too_large = [
            parse_long("16777216TiB"),
            parse_long("18446744073709551616"),
        ];
        assert_eq!(too_large, [const { Err(SizeError::MuchTooLarge) }; 2]);
        assert_eq!(parse("16777216TiB"), Err(SizeError::TooLarge));
        assert_eq!(format(1_u64 << 50), "1024TiB");
    }

    #[test]
    fn each_mistake_is_named() {
        assert_eq!(parse(""), Err(SizeError::NoNumber));
        assert_eq!(parse("MiB"), Err(SizeError::NoNumber));
        assert_eq!(parse("-1"), Err(SizeError::NoNumber));
        assert_eq!(parse("1KB"), Err(SizeError::UnknownUnit("KB".into())));
        assert_eq!(parse("1mib"), Err(SizeError::UnknownUnit("mib".into())));
        assert_eq!(parse("1.5MiB"), Err(SizeError::UnknownUnit(".5MiB".into())));
        assert_eq!(parse("4GiB"), Err(SizeError::TooLarge));
        assert_eq!(parse("4294967296"), Err(SizeError::TooLarge));
    }

    #[test]
    fn a_numbered_body_has_room_for_its_number_and_fits_a_message() {
        assert_eq!(parse_body("16"), Ok(16));
        assert_eq!(parse_body("1MiB"), Ok(1 << 20));
        assert_eq!(parse_body("15"), Err(SizeError::BodyOutOfRange));
        assert_eq!(parse_body("1048577"), Err(SizeError::BodyOutOfRange));
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for (len, text) in [
            (0, "0B"),
            (1, "1B"),
            (1_000, "1000B"),
            (65_536, "64KiB"),
            (1 << 20, "1MiB"),
        ] {
            assert_eq!(format(len), text, "{len}");
            assert_eq!(parse(text), Ok(len));
        }
    }
}
