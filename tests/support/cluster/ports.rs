//! Ports that belong to a node for the whole test, also while its process is away.
//!
//! Each is bound by a socket that never listens: the node can bind it too, and nobody else can.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A port of 127.0.0.1, reserved until this is dropped.
pub(crate) struct Port {
    address: SocketAddr,
    _socket: Socket,
}

impl Port {
    /// Reserves a free port.
    pub(crate) fn reserve() -> Port {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket
            .set_reuse_address(true)
            .expect("a node may bind the port too");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        Port {
            address: address.as_socket().expect("an IP address"),
            _socket: socket,
        }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
