use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::node::{CLUSTER, PATIENCE, TestNode, run, until};
use crate::peer::frame::{Frame, FrameDecoder, FrameHeader, FrameKind, Hello, NODE, OutFrame};
use crate::peer::{AppendHead, WireVote};

fn hello(node: u64) -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        cluster: CLUSTER,
        node,
        incarnation: 1,
        target: 0,
        format_version_max: 1,
        wall_ms: 5,
        release: "stranger".to_owned(),
    }
}

/// Reads until the other end closes; the time is a bound for a failure.
async fn until_closed(stream: &mut TcpStream) {
    let reading = async {
        let mut bytes = [0; 4096];
        loop {
            match stream.read(&mut bytes).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("it stays open");
}

async fn frame(stream: &mut TcpStream) -> Frame {
    let mut decoder = FrameDecoder::greeting();
    let mut buffer = BytesMut::new();
    loop {
        if let Some(frame) = decoder.decode(&mut buffer).unwrap() {
            return frame;
        }
        // One byte at a time, so that nothing behind the frame is taken.
        buffer.extend_from_slice(&[stream.read_u8().await.unwrap()]);
    }
}

async fn greeted(node: &TestNode) -> TcpStream {
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    let bytes = hello(9).encode(FrameKind::Hello).to_bytes();
    stream.write_all(&bytes).await.unwrap();
    assert_eq!(frame(&mut stream).await.header.kind, FrameKind::Welcome);
    stream
}

/// Frames that a peer in its right mind would not send.
fn nonsense() -> Vec<Vec<u8>> {
    let empty = |kind, id| OutFrame::new(kind, NODE, id, |_| {}).to_bytes().to_vec();
    let vote = WireVote {
        term: 1,
        node: 9,
        is_committed: true,
    };
    let append = AppendHead {
        vote,
        prev: None,
        commit: None,
    };
    let opened = append.encode(1, (0, 7), vec![]).to_bytes();
    let too_long = FrameHeader {
        payload_len: u32::MAX,
        kind: FrameKind::Call,
        flags: 0,
        set: NODE,
        id: 1,
        head_len: u32::MAX,
        head_crc: 0,
    };
    vec![
        b"GET / HTTP/1.1\r\nHost: somewhere.example\r\n\r\n".to_vec(),
        vec![0; 100],
        vec![255; 100],
        too_long.encode().to_vec(),
        empty(FrameKind::Call, 1),
        empty(FrameKind::CallReply, 1),
        empty(FrameKind::Appended, 1),
        empty(FrameKind::AppendEnd, 1),
        hello(9).encode(FrameKind::Hello).to_bytes().to_vec(),
        append.encode(0, (0, 7), vec![]).to_bytes().to_vec(),
        append.encode(1, (NODE, 7), vec![]).to_bytes().to_vec(),
        [&opened[..], &opened[..]].concat(),
    ]
}

#[test]
fn garbage_closes_its_own_connection_only() {
    run(async {
        let (one, two) = (TestNode::start(1), TestNode::start(2));
        two.knows(&[&one]);
        two.is_connected_to(1).await;
        for (index, bytes) in nonsense().into_iter().enumerate() {
            // What is a hello is fine as the first frame.
            if index != 8 {
                let mut stream = TcpStream::connect(&one.address).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                until_closed(&mut stream).await;
            }
            let mut stream = greeted(&one).await;
            stream.write_all(&bytes).await.unwrap();
            until_closed(&mut stream).await;
            two.echoes(1).await;
        }
    });
}

#[test]
fn a_version_that_nobody_speaks_is_refused_with_a_reason() {
    run(async {
        let one = TestNode::start(1);
        let mut stream = TcpStream::connect(&one.address).await.unwrap();
        let mut hello = hello(9);
        (hello.version_min, hello.version_max) = (8, 9);
        let bytes = hello.encode(FrameKind::Hello).to_bytes();
        stream.write_all(&bytes).await.unwrap();
        let refused = frame(&mut stream).await;
        assert_eq!(refused.header.kind, FrameKind::Refused);
        let text = String::from_utf8_lossy(&refused.payload).into_owned();
        assert!(text.contains("versions 8 to 9"), "{text}");
        until_closed(&mut stream).await;
    });
}

#[test]
fn a_peer_that_falls_silent_is_dropped_by_both_ends() {
    run(async {
        let one = TestNode::start(1);
        let mut stream = greeted(&one).await;
        until_closed(&mut stream).await;
        // The other way round: it accepts, greets, and says no more.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        one.peers.set_members([(9, address)].into());
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(frame(&mut stream).await.header.kind, FrameKind::Hello);
        let welcome = hello(9).encode(FrameKind::Welcome).to_bytes();
        stream.write_all(&welcome).await.unwrap();
        one.is_connected_to(9).await;
        until(|| !one.peers.is_connected(9)).await;
    });
}
