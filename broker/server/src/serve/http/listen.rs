//! The address of the endpoint.

use std::io;
use std::net::TcpListener;

use anyhow::Context;

use crate::serve::config::HttpConfig;

/// Listens. `None`, with a warning, when nobody asked for this address and it is taken.
pub(in crate::serve) fn bind(config: &HttpConfig) -> anyhow::Result<Option<TcpListener>> {
    let address = config.listen;
    let listener = match TcpListener::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !config.is_named => {
            tracing::warn!(
                %address,
                "no health checks and metrics: the default address is in use; name one with --http"
            );
            return Ok(None);
        }
        bound => bound.with_context(|| format!("listening for HTTP on {address}"))?,
    };
    listener
        .set_nonblocking(true)
        .with_context(|| format!("listening for HTTP on {address}"))?;
    Ok(Some(listener))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_matters_only_when_it_was_asked_for() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = bind(&HttpConfig {
            listen: any,
            is_named: false,
        });
        let first = first.unwrap().unwrap();
        let mut config = HttpConfig {
            listen: first.local_addr().unwrap(),
            is_named: false,
        };
        assert!(bind(&config).unwrap().is_none());
        config.is_named = true;
        let error = bind(&config).unwrap_err();
        assert!(error.to_string().contains(&config.listen.to_string()));
    }
}
