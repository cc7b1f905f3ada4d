//! A client of a few lines, which sees every frame.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use sampan_protocol::limits::FRAME_LEN_MAX;
use sampan_protocol::{Authenticate, Frame, FrameDecoder, Hello, HelloReply, Reply, Request, sign};

use crate::broker::Broker;

/// A broker that says nothing for this long has failed; only a bound for broken ones.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// A connection without TLS.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
    decoder: FrameDecoder,
    pub(crate) next_id: u64,
}

impl Wire {
    /// Connects, and says nothing.
    pub(crate) fn connect(broker: &Broker) -> Wire {
        assert!(broker.setup.without_tls, "this client speaks no TLS");
        Wire::over(TcpStream::connect(broker.address).expect("the broker listens"))
    }

    /// Takes over a connected socket.
    pub(crate) fn over(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("a TCP socket");
        stream
            .set_read_timeout(Some(SILENCE_MAX))
            .expect("a TCP socket");
        let decoder = FrameDecoder::new(FRAME_LEN_MAX);
        Wire {
            stream,
            buffer: BytesMut::new(),
            decoder,
            next_id: 1,
        }
    }

    /// Connects, says hello and authenticates.
    pub(crate) fn open(broker: &Broker) -> Wire {
        let mut wire = Wire::connect(broker);
        wire.authenticate(broker);
        wire
    }

    /// Says hello and authenticates.
    pub(crate) fn authenticate(&mut self, broker: &Broker) {
        let nonce = self.hello().nonce;
        let env = broker.env();
        let proof = proof(&nonce, &env["SAMPAN_SECRET_ID"], &env["SAMPAN_SECRET_KEY"]);
        assert!(matches!(self.ask(&proof), Reply::Authenticated(_)));
    }

    /// Says hello as it should be said.
    pub(crate) fn hello(&mut self) -> HelloReply {
        match self.ask(&Request::Hello(Hello {
            version_min: 1,
            version_max: 1,
        })) {
            Reply::Hello(hello) => hello,
            other => panic!("not a hello: {other:?}"),
        }
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .expect("the broker takes bytes");
    }

    /// Writes a request and returns its id.
    pub(crate) fn request(&mut self, request: &Request) -> u64 {
        let mut bytes = BytesMut::new();
        request.encode(self.next_id, &mut bytes);
        self.write(&bytes);
        self.next_id += 1;
        self.next_id - 1
    }

    /// The next frame; `None` once the broker has closed the connection.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        loop {
            let decoded = self
                .decoder
                .decode(&mut self.buffer)
                .expect("the broker's own frames");
            if decoded.is_some() {
                return decoded;
            }
            let mut bytes = [0; 64 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(len) => self.buffer.extend_from_slice(&bytes[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the broker said nothing: {error}"),
            }
        }
    }

    /// The next reply and the id of its request; `None` once the connection is closed.
    pub(crate) fn next_reply(&mut self) -> Option<(u64, Reply)> {
        let frame = self.next_frame()?;
        let reply = Reply::decode(frame.header.kind, frame.payload).expect("the broker's own");
        Some((frame.header.request_id, reply))
    }

    /// The reply to the request `id`, which must come next.
    pub(crate) fn reply_to(&mut self, id: u64) -> Reply {
        let (answered, reply) = self.next_reply().expect("the connection stays open");
        assert_eq!(answered, id, "{reply:?}");
        reply
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        let id = self.request(request);
        self.reply_to(id)
    }
}

/// A request that proves who is there.
pub(crate) fn proof(nonce: &[u8; 32], secret_id: &str, secret_key: &str) -> Request {
    let signature = sign(secret_key.as_bytes(), nonce, secret_id);
    Request::Authenticate(Authenticate {
        secret_id: secret_id.into(),
        signature,
    })
}
