//! One attempt to get an authenticated connection: TCP, TLS, hello, authenticate.
//!
//! Spec: spec/wire.md, "Hello" and "Authenticate".

use std::io;

use bytes::BytesMut;
use sampan_protocol::limits::FRAME_LEN_MAX;
use sampan_protocol::{
    Applied, Authenticate, FrameDecoder, Hello, HelloReply, Name, PROTOCOL_VERSION, Reply, Request,
    Timestamp, sign,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::address::Address;
use crate::config::Config;
use crate::error::Error;
use crate::producer::Clock;
use crate::tls::Tls;

/// Either kind of connection.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    /// When this is dropped, nothing that was written may still go out: what waits in the kernel is
    /// thrown away, and the broker hears of a reset. For a connection that was given up: the kernel
    /// would go on sending for minutes what is long repeated elsewhere.
    fn give_up(&self) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn give_up(&self) -> io::Result<()> {
        self.set_zero_linger()
    }
}

impl Socket for TlsStream<TcpStream> {
    fn give_up(&self) -> io::Result<()> {
        self.get_ref().0.give_up()
    }
}

/// Stands where a connection was.
impl Socket for tokio::io::Empty {
    fn give_up(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An authenticated connection on which nothing is under way.
pub(crate) struct Dialed {
    pub(crate) socket: Box<dyn Socket>,
    pub(crate) decoder: FrameDecoder,
    /// What was read beyond the last reply; normally nothing.
    pub(crate) buffer: BytesMut,
    pub(crate) hello: HelloReply,
    /// The broker's.
    pub(crate) clock: Clock,
}

/// Connects and authenticates within the connect timeout.
pub(crate) async fn dial(config: &Config, address: &Address) -> Result<Dialed, Error> {
    match tokio::time::timeout(config.connect_timeout, dial_patiently(config, address)).await {
        Ok(dialed) => dialed,
        Err(_) => Err(Error::TimedOut {
            applied: Applied::No,
        }),
    }
}

async fn dial_patiently(config: &Config, address: &Address) -> Result<Dialed, Error> {
    let failed = |error: io::Error| {
        let text = format!("{address}: {error}");
        Error::disconnected(text, Applied::No)
    };
    let stream = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let socket: Box<dyn Socket> = match config.tls.as_ref().filter(|_| address.tls) {
        None => Box::new(stream),
        Some(tls) => {
            let connector = tokio_rustls::TlsConnector::from(tls.config.clone());
            Box::new(
                connector
                    .connect(Tls::name(&address.host)?, stream)
                    .await
                    .map_err(failed)?,
            )
        }
    };
    let mut handshake = Handshake {
        socket,
        decoder: FrameDecoder::new(FRAME_LEN_MAX),
        buffer: BytesMut::new(),
    };
    let hello = handshake.hello().await?;
    let told = handshake.authenticate(config, &hello).await?;
    let clock = Clock {
        told,
        at: Instant::now(),
    };
    let Handshake {
        socket,
        decoder,
        buffer,
    } = handshake;
    Ok(Dialed {
        socket,
        decoder,
        buffer,
        hello,
        clock,
    })
}

struct Handshake {
    socket: Box<dyn Socket>,
    decoder: FrameDecoder,
    buffer: BytesMut,
}

impl Handshake {
    async fn hello(&mut self) -> Result<HelloReply, Error> {
        let hello = Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
        };
        match self.exchange(Request::Hello(hello)).await? {
            Reply::Hello(hello) if hello.version == PROTOCOL_VERSION => Ok(hello),
            Reply::Error(error) => Err(Error::from_reply(&error)),
            _ => Err(unexpected()),
        }
    }

    /// Returns what the broker's clock says.
    async fn authenticate(
        &mut self,
        config: &Config,
        hello: &HelloReply,
    ) -> Result<Timestamp, Error> {
        let signature = sign(
            config.secret_key.as_bytes(),
            &hello.nonce,
            &config.secret_id,
        );
        let secret_id = Name::from(config.secret_id.as_str());
        let request = Request::Authenticate(Authenticate {
            secret_id,
            signature,
        });
        match self.exchange(request).await? {
            Reply::Authenticated(authenticated) => Ok(authenticated.now),
            Reply::Error(error) => Err(Error::from_reply(&error)),
            _ => Err(unexpected()),
        }
    }

    /// Sends one request and reads its reply; nothing else is under way.
    async fn exchange(&mut self, request: Request) -> Result<Reply, Error> {
        let failed = |error: io::Error| Error::disconnected(error.to_string(), Applied::No);
        let mut out = BytesMut::new();
        request.encode(0, &mut out);
        self.socket.write_all(&out).await.map_err(failed)?;
        self.socket.flush().await.map_err(failed)?;
        loop {
            let frame = self
                .decoder
                .decode(&mut self.buffer)
                .map_err(|error| Error::disconnected(error.to_string(), Applied::No))?;
            if let Some(frame) = frame {
                return Reply::decode(frame.header.kind, frame.payload)
                    .map_err(|error| Error::disconnected(error.to_string(), Applied::No));
            }
            if self
                .socket
                .read_buf(&mut self.buffer)
                .await
                .map_err(failed)?
                == 0
            {
                let text = "the broker closed the connection during the handshake";
                return Err(Error::disconnected(text, Applied::No));
            }
        }
    }
}

fn unexpected() -> Error {
    Error::disconnected(
        "the broker answered the handshake with something else",
        Applied::No,
    )
}
