//! Addresses on the command line and in the configuration file.
//!
//! Where to listen is an IP address, whose port has a default; where to find a node may be a host
//! name too, and always has a port, for nobody else could fill it in.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

/// Longest host name, as DNS has it.
const HOST_LEN_MAX: usize = 253;

/// An IP address to listen on, with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ListenAddress {
    ip: IpAddr,
    port: Option<u16>,
}

/// Why an address was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("expected IP or IP:PORT, not {0:?}")]
    Listen(String),
    #[error("expected HOST:PORT with a port from 1 to 65535, not {0:?}")]
    HostPort(String),
}

impl ListenAddress {
    /// The address, with `port` when it names none.
    pub(crate) fn with_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(ListenAddress {
                ip: address.ip(),
                port: Some(address.port()),
            });
        }
        let ip = text
            .parse()
            .map_err(|_| AddressError::Listen(text.to_owned()))?;
        Ok(ListenAddress { ip, port: None })
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(self.ip, port)),
            None => write!(f, "{}", self.ip),
        }
    }
}

/// Checks that `text` is `HOST:PORT`, and gives it back.
pub(crate) fn parse(text: &str) -> Result<String, AddressError> {
    let wrong = || AddressError::HostPort(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()),
        None => is_name(host),
    };
    if is_port && is_host {
        Ok(text.to_owned())
    } else {
        Err(wrong())
    }
}

fn is_name(host: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=HOST_LEN_MAX).contains(&host.len()) && host.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_listening_address_has_a_default() {
        let address = |text: &str| text.parse::<ListenAddress>().unwrap().with_port(7413);
        assert_eq!(address("10.0.0.1").to_string(), "10.0.0.1:7413");
        assert_eq!(address("10.0.0.1:0").to_string(), "10.0.0.1:0");
        assert_eq!(address("::1").to_string(), "[::1]:7413");
        assert_eq!(address("[::1]:80").to_string(), "[::1]:80");
        assert!("host:80".parse::<ListenAddress>().is_err());
    }

    #[test]
    fn a_node_is_found_by_host_and_port() {
        for good in ["a:1", "node-1.example.com:7413", "10.0.0.1:80", "[::1]:80"] {
            assert_eq!(parse(good).as_deref(), Ok(good));
        }
        for bad in [
            "", "a", "a:", ":1", "a:0", "a:65536", "::1", "[a]:1", "a b:1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
