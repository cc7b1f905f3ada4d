//! The headers of a message: named values that travel beside its body.
//!
//! The broker checks their layout when a message is sent and never looks into them again. A name
//! may come twice; the order is kept.
//!
//! Spec: spec/wire.md, "Headers".

use bytes::{BufMut, Bytes, BytesMut};

use crate::ErrorCode;
use crate::limits::HEADERS_LEN_MAX;

/// Lays out headers: `(name, value)`, in order.
///
/// # Errors
///
/// [`ErrorCode::HeadersOutOfRange`] for a name that is empty or longer than 255 bytes, or when all
/// together are longer than [`HEADERS_LEN_MAX`].
pub fn encode<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Bytes, ErrorCode> {
    encode_within(headers, HEADERS_LEN_MAX)
}

/// The same with another limit of all together.
pub(crate) fn encode_within<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    len_max: usize,
) -> Result<Bytes, ErrorCode> {
    let mut out = BytesMut::new();
    for (name, value) in headers {
        let name_len = u8::try_from(name.len()).map_err(|_| ErrorCode::HeadersOutOfRange)?;
        let value_len = u16::try_from(value.len()).map_err(|_| ErrorCode::HeadersOutOfRange)?;
        if name_len == 0 || out.len() + 3 + name.len() + value.len() > len_max {
            return Err(ErrorCode::HeadersOutOfRange);
        }
        out.put_u8(name_len);
        out.put_slice(name.as_bytes());
        out.put_u16_le(value_len);
        out.put_slice(value);
    }
    Ok(out.freeze())
}

/// The headers of a received message, in order. Ends early where the bytes stop being headers, so
/// [`check`] bytes of unknown origin first.
pub fn decode(headers: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let mut left = headers;
    std::iter::from_fn(move || take(&mut left))
}

/// Passes when `headers` are laid out right and within their limit; empty is right too.
///
/// # Errors
///
/// [`ErrorCode::HeadersOutOfRange`].
pub fn check(headers: &[u8]) -> Result<(), ErrorCode> {
    let mut left = headers;
    while take(&mut left).is_some() {}
    if left.is_empty() && headers.len() <= HEADERS_LEN_MAX {
        Ok(())
    } else {
        Err(ErrorCode::HeadersOutOfRange)
    }
}

/// Takes one header off `left`, or leaves `left` as it is.
fn take<'a>(left: &mut &'a [u8]) -> Option<(&'a str, &'a [u8])> {
    let (&name_len, rest) = left.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
    let (value_len, rest) = rest.split_first_chunk()?;
    let value_len = usize::from(u16::from_le_bytes(*value_len));
    let (value, rest) = rest.split_at_checked(value_len)?;
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty())?;
    *left = rest;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_come_out_as_they_went_in(
            headers in prop::collection::vec((".{1,20}", prop::collection::vec(any::<u8>(), 0..40)), 0..9),
        ) {
            let encoded = encode(headers.iter().map(|(name, value)| (name.as_str(), &value[..])));
            let encoded = encoded.expect("they are short");
            prop_assert_eq!(check(&encoded), Ok(()));
            let decoded: Vec<_> =
                decode(&encoded).map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            prop_assert_eq!(decoded, headers);
        }

        #[test]
        fn bytes_of_any_kind_are_judged_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let lens = decode(&bytes).map(|(name, value)| 3 + name.len() + value.len());
            let whole: usize = lens.sum();
            prop_assert_eq!(check(&bytes).is_ok(), whole == bytes.len());
        }
    }

    #[test]
    fn limits_of_names_and_of_the_whole_are_kept() {
        let long = "n".repeat(256);
        assert_eq!(encode([("", &b"v"[..])]), Err(ErrorCode::HeadersOutOfRange));
        assert_eq!(
            encode([(&long[..], &b"v"[..])]),
            Err(ErrorCode::HeadersOutOfRange)
        );
        let value = vec![0; HEADERS_LEN_MAX - 4];
        let whole = encode([("n", &value[..])]).expect("it just fits");
        assert_eq!(whole.len(), HEADERS_LEN_MAX);
        assert_eq!(
            encode([("n", &value[..]), ("m", &b""[..])]),
            Err(ErrorCode::HeadersOutOfRange)
        );
        assert_eq!(
            check(&vec![0; HEADERS_LEN_MAX + 1]),
            Err(ErrorCode::HeadersOutOfRange)
        );
    }

    #[test]
    fn half_a_header_is_refused() {
        let whole = encode([("trace", &b"abc"[..])]).expect("it is short");
        for len in 1..whole.len() {
            assert_eq!(
                check(&whole[..len]),
                Err(ErrorCode::HeadersOutOfRange),
                "{len} bytes"
            );
        }
    }
}
