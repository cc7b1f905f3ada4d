//! Addresses of brokers: `sampan+tls://HOST[:PORT]` and `sampan+tcp://HOST[:PORT]`, one or several
//! with commas between them.

use std::fmt;

use crate::error::Error;

/// Port of an address that names none.
const PORT_DEFAULT: u16 = 7411;

/// Where the broker is, and whether the way there is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) tls: bool,
    /// A name or an IP address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Addresses with commas between them. One without a scheme has that of the one before.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, Error> {
        let mut addresses: Vec<Address> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let address = match addresses.last() {
                Some(before) if !part.contains("://") => before.sibling(part).ok_or_else(|| {
                    Error::configuration(format!("server address {part:?}: not HOST:PORT"))
                })?,
                _ => Address::parse(part)?,
            };
            addresses.push(address);
        }
        Ok(addresses)
    }

    /// The same kind of server at another `HOST[:PORT]`.
    pub(crate) fn sibling(&self, host_port: &str) -> Option<Self> {
        let scheme = if self.tls { "sampan+tls" } else { "sampan+tcp" };
        Address::parse(&format!("{scheme}://{host_port}")).ok()
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::configuration(format!("server address {text:?}: {what}"));
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("expected sampan+tls://HOST:PORT or sampan+tcp://HOST:PORT"))?;
        let tls = match scheme {
            "sampan+tls" => true,
            "sampan+tcp" => false,
            _ => return Err(wrong("the scheme must be sampan+tls or sampan+tcp")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(rest).ok_or_else(|| wrong("not HOST:PORT"))?;
        if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
            return Err(wrong("not HOST:PORT"));
        }
        let port = match port {
            None => PORT_DEFAULT,
            Some(port) => port
                .parse()
                .map_err(|_| wrong("the port must be 0 to 65535"))?,
        };
        Ok(Address {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Host and port of `HOST`, `HOST:PORT`, `[V6]` and `[V6]:PORT`.
fn split_port(rest: &str) -> Option<(&str, Option<&str>)> {
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']')?;
        return match after {
            "" => Some((host, None)),
            _ => Some((host, Some(after.strip_prefix(':')?))),
        };
    }
    match rest.split_once(':') {
        None => Some((rest, None)),
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (bool, String, u16) {
        let address = Address::parse(text).expect("a good address");
        (address.tls, address.host, address.port)
    }

    #[test]
    fn both_schemes_and_all_forms_of_hosts_are_understood() {
        assert_eq!(
            parsed("sampan+tls://a.example:1"),
            (true, "a.example".into(), 1)
        );
        assert_eq!(
            parsed("sampan+tcp://127.0.0.1"),
            (false, "127.0.0.1".into(), 7411)
        );
        assert_eq!(parsed("sampan+tls://[::1]:9/"), (true, "::1".into(), 9));
        assert_eq!(parsed("sampan+tls://[::1]"), (true, "::1".into(), 7411));
    }

    #[test]
    fn a_list_takes_the_scheme_of_the_address_before() {
        let list =
            Address::parse_list("sampan+tcp://a:1, b:2,sampan+tls://[::1]:3,c").expect("good");
        let list: Vec<_> = list.iter().map(|a| (a.tls, a.to_string())).collect();
        let expected = [
            (false, "a:1"),
            (false, "b:2"),
            (true, "[::1]:3"),
            (true, "c:7411"),
        ];
        assert_eq!(list, expected.map(|(tls, text)| (tls, text.to_owned())));
        for text in [
            "a:1,sampan+tcp://b:2",
            "sampan+tcp://a:1,",
            "sampan+tcp://a:1,b:x",
        ] {
            assert!(Address::parse_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_address_in_the_text() {
        for text in [
            "localhost:7411",
            "http://a",
            "sampan+tls://",
            "sampan+tcp://a:b",
            "sampan+tcp://::1",
            "sampan+tcp://a:70000",
            "sampan+tcp://[::1",
            "sampan+tcp://u@a",
        ] {
            let error = Address::parse(text).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
