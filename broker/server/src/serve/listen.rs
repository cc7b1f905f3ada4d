//! The listeners: one per core on one address, so that the kernel spreads connections over cores.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;
/// A silent peer is asked whether it still lives after this time.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// One listener per core. With port 0 all get the port that the first one got.
pub(super) fn bind(address: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        // Sharing a port would let a second broker slip in between our cores.
        let probe = socket(address, false).with_context(|| format!("listening on {address}"))?;
        drop(probe);
    }
    let listening = || format!("listening on {address}");
    let first = socket(address, true).with_context(listening)?;
    let address = first.local_addr().with_context(listening)?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(socket(address, true).with_context(listening)?);
    }
    Ok(listeners)
}

fn socket(address: SocketAddr, is_shared: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_share_the_port_that_was_found() {
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert_ne!(address.port(), 0);
        assert!(
            listeners
                .iter()
                .all(|listener| listener.local_addr().unwrap() == address)
        );
    }

    #[test]
    fn a_port_in_use_is_refused_even_by_another_broker() {
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let error = bind(address, 2).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()));
    }
}
