//! A peer that follows a script: it speaks frames over real sockets and has no queue at all.
//!
//! Tests say what it answers, frame by frame, so every order and every failure can be had without
//! waiting for it. Nothing here has a time limit: a test that would hang is a test that fails.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test target uses its own part"
)]

pub mod cluster;
pub mod sessions;

use bytes::{Bytes, BytesMut};
use sampan_client::{Client, ClientBuilder};
use sampan_protocol::limits::FRAME_LEN_MAX;
use sampan_protocol::{
    Applied, Authenticated, Durability, ErrorCode, ErrorReply, Frame, FrameDecoder, FrameHeader,
    HelloReply, MessageId, ReceiptHandle, ReceivedMessage, Reply, Request, RouteReply, Sent, SetId,
    Timestamp, checksum, verify_signature,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

pub const SECRET_ID: &str = "AKIDtest";
pub const SECRET_KEY: &str = "the key of the test";
const NONCE: [u8; 32] = [7; 32];
/// What the peer's clock says: it stands still.
pub const NOW: Timestamp = Timestamp(1_767_225_600_000);

/// What a connection is made of.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A listener that does not accept by itself.
pub struct Peer {
    listener: TcpListener,
    pub requests_in_flight_max: u32,
}

impl Peer {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Peer {
            listener,
            requests_in_flight_max: 4_096,
        }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("it is bound").port()
    }

    /// A builder for a client of this peer.
    pub fn client(&self) -> ClientBuilder {
        Client::builder()
            .server(format!("sampan+tcp://127.0.0.1:{}", self.port()))
            .secret_id(SECRET_ID)
            .secret_key(SECRET_KEY)
    }

    /// Takes one TCP connection and says nothing.
    pub async fn accept_silently(&self) -> tokio::net::TcpStream {
        self.listener.accept().await.expect("a connection").0
    }

    /// Takes one connection and goes through the handshake.
    pub async fn accept(&self) -> Connection {
        let stream = self.accept_silently().await;
        let mut connection = Connection::new(Box::new(stream));
        connection.shake_hands(self.requests_in_flight_max).await;
        connection
    }

    /// A connected client and the peer's end of its connection.
    pub async fn connect(&self, builder: ClientBuilder) -> (Client, Connection) {
        let (client, connection) = tokio::join!(builder.connect(), self.accept());
        (client.expect("the peer accepts everybody"), connection)
    }
}

/// A request as it came.
#[derive(Debug)]
pub struct Asked {
    pub id: u64,
    pub request: Request,
}

/// The peer's end of one connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    decoder: FrameDecoder,
    buffer: BytesMut,
}

impl Connection {
    pub fn new(stream: Box<dyn Stream>) -> Self {
        let decoder = FrameDecoder::new(FRAME_LEN_MAX);
        Connection {
            stream,
            decoder,
            buffer: BytesMut::new(),
        }
    }

    /// The socket, for tests of how it ends.
    pub fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    /// Answers hello and checks the signature.
    pub async fn shake_hands(&mut self, requests_in_flight_max: u32) {
        let hello = self.next().await;
        assert!(matches!(hello.request, Request::Hello(_)), "{hello:?}");
        let reply = HelloReply {
            version: 1,
            nonce: NONCE,
            frame_len_max: u32::try_from(FRAME_LEN_MAX).expect("about 4 MiB"),
            requests_in_flight_max,
        };
        self.reply(hello.id, Reply::Hello(reply)).await;
        let asked = self.next().await;
        let Request::Authenticate(authenticate) = &asked.request else {
            panic!("{asked:?}")
        };
        assert_eq!(authenticate.secret_id.as_str(), SECRET_ID);
        assert!(verify_signature(
            SECRET_KEY.as_bytes(),
            &NONCE,
            SECRET_ID,
            &authenticate.signature
        ));
        let authenticated = Authenticated { now: NOW };
        self.reply(asked.id, Reply::Authenticated(authenticated))
            .await;
    }

    /// The next request; waits for it.
    pub async fn next(&mut self) -> Asked {
        self.next_or_end()
            .await
            .expect("the client closed the connection")
    }

    /// The next request, or nothing when the client closed the connection.
    ///
    /// The question for the catalog's leader, which follows every handshake, is answered here: this
    /// peer knows nothing of a cluster.
    pub async fn next_or_end(&mut self) -> Option<Asked> {
        loop {
            let asked = self.next_of_any().await?;
            if !matches!(&asked.request, Request::Route(route) if route.queue.is_empty()) {
                return Some(asked);
            }
            let route = RouteReply {
                set: SetId(0),
                leader: None,
                term: 0,
                nodes: Vec::new(),
            };
            self.reply_if_there(asked.id, Reply::Route(route)).await;
        }
    }

    /// The next request, whatever it is.
    pub async fn next_of_any(&mut self) -> Option<Asked> {
        let frame = self.next_frame().await?;
        let request = Request::decode(frame.header.kind, frame.payload);
        Some(Asked {
            id: frame.header.request_id,
            request: request.expect("a good request"),
        })
    }

    /// The next frame as it came.
    pub async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer).expect("a good frame") {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// The next request, which must be a send; answers nothing.
    pub async fn next_send(&mut self) -> (u64, sampan_protocol::Send) {
        let asked = self.next().await;
        match asked.request {
            Request::Send(send) => (asked.id, send),
            other => panic!("expected a send, got {other:?}"),
        }
    }

    pub async fn next_receive(&mut self) -> (u64, sampan_protocol::Receive) {
        let asked = self.next().await;
        match asked.request {
            Request::Receive(receive) => (asked.id, receive),
            other => panic!("expected a receive, got {other:?}"),
        }
    }

    pub async fn next_delete(&mut self) -> (u64, Vec<u64>) {
        let asked = self.next().await;
        match asked.request {
            Request::Delete(delete) => (asked.id, delete.handles.iter().map(|h| h.0).collect()),
            other => panic!("expected a delete, got {other:?}"),
        }
    }

    /// Handles and visibility timeout of the next request, which must change visibility.
    pub async fn next_change(&mut self) -> (u64, Vec<u64>, u32) {
        let asked = self.next().await;
        match asked.request {
            Request::ChangeVisibility(change) => {
                let handles = change.handles.iter().map(|handle| handle.0).collect();
                (asked.id, handles, change.visibility_timeout_ms)
            }
            other => panic!("expected a change of visibility, got {other:?}"),
        }
    }

    pub async fn reply(&mut self, id: u64, reply: Reply) {
        self.write(id, reply, 0).await;
    }

    /// Answers a client that may be gone meanwhile.
    pub async fn reply_if_there(&mut self, id: u64, reply: Reply) {
        let mut out = BytesMut::new();
        reply.encode(id, 0, &mut out);
        self.write_bytes(&out).await.unwrap_or_default();
    }

    /// Writes bytes as they are.
    pub async fn write_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// A part of a reply that another part follows.
    pub async fn reply_more(&mut self, id: u64, reply: Reply) {
        self.write(id, reply, FrameHeader::MORE).await;
    }

    async fn write(&mut self, id: u64, reply: Reply, flags: u8) {
        let mut out = BytesMut::new();
        reply.encode(id, flags, &mut out);
        self.stream
            .write_all(&out)
            .await
            .expect("the client is there");
        self.stream.flush().await.expect("the client is there");
    }

    /// Answers a send with ids from `first` on.
    pub async fn sent(&mut self, id: u64, first: u64, count: usize) {
        let runs = vec![(MessageId(first), u32::try_from(count).expect("at most 256"))];
        let sent = Sent { runs }.acknowledged(Durability::Sync);
        self.reply(id, Reply::Sent(sent)).await;
    }

    pub async fn refuse(&mut self, id: u64, code: ErrorCode) {
        self.reply(id, Reply::Error(ErrorReply::new(code, code.text())))
            .await;
    }

    pub async fn refuse_with(&mut self, id: u64, code: ErrorCode, applied: Applied) {
        let mut error = ErrorReply::new(code, code.text());
        error.applied = applied;
        self.reply(id, Reply::Error(error)).await;
    }

    /// Reads until the client closes, and fails when a request comes.
    pub async fn expect_end(mut self) {
        let asked = self.next_or_end().await;
        assert!(asked.is_none(), "{asked:?}");
    }
}

/// A received message with a body and numbers made from `number`.
pub fn message(number: u64) -> ReceivedMessage {
    let body = Bytes::from(format!("body {number}"));
    ReceivedMessage {
        id: MessageId(number),
        handle: ReceiptHandle(1_000 + number),
        sent_at: Timestamp(1),
        first_received_at: Timestamp(2),
        visible_at: Timestamp(30_002),
        receive_count: 1,
        headers: Bytes::new(),
        group_key: Bytes::new(),
        dedup_key: Bytes::new(),
        body_crc32c: checksum(&body),
        body,
    }
}

pub fn messages(numbers: std::ops::Range<u64>) -> Reply {
    Reply::Received(numbers.map(message).collect())
}

/// The bodies of a send, as text.
pub fn bodies(send: &sampan_protocol::Send) -> Vec<String> {
    let body = |index| {
        String::from_utf8_lossy(&send.batch.body(index).expect("below the count")).into_owned()
    };
    (0..send.batch.count()).map(body).collect()
}
