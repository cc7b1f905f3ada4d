//! Goal: whoever does not speak the protocol is told so where that is possible, is cut off, and
//! harms nobody else. Method: each kind of nonsense on a connection of its own, while another
//! connection goes on.

use std::net::{Shutdown, TcpStream};

use bytes::BytesMut;
use sampan_protocol::limits::{AUTHENTICATION_FAILURES_MAX, FRAME_LEN_MAX};
use sampan_protocol::{ErrorCode, Hello, Reply, Request, kind};

use crate::broker::{Broker, Setup};
use crate::first_line::START_MAX;
use crate::waiting::within;
use crate::wire::{Wire, proof};
use crate::wrong_frames::{frame_bytes, refusal};

fn broker() -> Broker {
    Broker::start(Setup {
        without_tls: true,
        ..Setup::default()
    })
}

/// The code of the refusal that comes before the connection is closed.
fn refused_and_closed(mut wire: Wire) -> ErrorCode {
    let (_, reply) = wire.next_reply().expect("an error frame comes first");
    let code = refusal(reply).code().expect("a code of this version");
    assert!(wire.next_frame().is_none(), "the connection stays open");
    code
}

/// What the broker's log says of connections that it closed.
fn closed_count(broker: &Broker) -> usize {
    broker
        .log()
        .lines()
        .filter(|line| line.contains("connection closed by the broker"))
        .count()
}

/// The log line of a connection comes a moment after its end, by another way.
fn wait_until_closed(broker: &Broker, count: usize, what: &str) {
    within(START_MAX, what, || {
        (closed_count(broker) >= count).then_some(())
    });
    assert_eq!(
        closed_count(broker),
        count,
        "logged once: {what}\n{}",
        broker.log()
    );
}

#[test]
fn whoever_does_not_speak_the_protocol_is_told_and_cut_off_and_others_go_on() {
    let broker = broker();
    let mut other = Wire::open(&broker);
    let mut wrong_magic = BytesMut::new();
    Request::Hello(Hello {
        version_min: 1,
        version_max: 1,
    })
    .encode(1, &mut wrong_magic);
    let magic_at = wrong_magic
        .windows(4)
        .position(|four| four == b"SMPN")
        .unwrap();
    wrong_magic[magic_at + 3] = b'X';
    let mut wrong_version = BytesMut::new();
    Request::Hello(Hello {
        version_min: 2,
        version_max: 9,
    })
    .encode(1, &mut wrong_version);
    let mut no_hello = BytesMut::new();
    Request::Ping.encode(1, &mut no_hello);
    let inputs: [(&str, &[u8], ErrorCode); 5] = [
        ("garbage", &[0xff; 64], ErrorCode::MalformedFrame),
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            ErrorCode::MalformedFrame,
        ),
        ("wrong magic", &wrong_magic, ErrorCode::UnsupportedVersion),
        (
            "wrong version",
            &wrong_version,
            ErrorCode::UnsupportedVersion,
        ),
        ("no hello", &no_hello, ErrorCode::UnsupportedVersion),
    ];
    for (number, (what, bytes, code)) in inputs.into_iter().enumerate() {
        let mut wire = Wire::connect(&broker);
        wire.write(bytes);
        assert_eq!(refused_and_closed(wire), code, "{what}");
        assert!(
            matches!(other.ask(&Request::Ping), Reply::Pong),
            "after {what}"
        );
        wait_until_closed(&broker, number + 1, what);
    }
    // A second line for one of them would have come by now: each was waited for.
    assert_eq!(closed_count(&broker), 5, "logged once\n{}", broker.log());
}

#[test]
fn a_frame_over_the_limit_is_refused_before_its_payload_is_sent() {
    let broker = broker();
    let mut other = Wire::open(&broker);
    for len in [FRAME_LEN_MAX as u32 + 1, u32::MAX] {
        let mut wire = Wire::open(&broker);
        wire.write(&frame_bytes(len, kind::SEND, 9, b""));
        let (_, reply) = wire.next_reply().expect("an error frame comes first");
        let error = refusal(reply);
        assert_eq!(error.code(), Some(ErrorCode::FrameTooLarge));
        assert!(
            error.text.contains(&FRAME_LEN_MAX.to_string()),
            "{}",
            error.text
        );
        assert!(wire.next_frame().is_none(), "the connection stays open");
        assert!(matches!(other.ask(&Request::Ping), Reply::Pong));
    }
}

#[test]
fn a_truncated_frame_ends_its_own_connection_only() {
    let broker = broker();
    let mut other = Wire::open(&broker);
    let mut whole = BytesMut::new();
    Request::QueueShow {
        name: "orders".into(),
    }
    .encode(7, &mut whole);
    for len in [1, 15, 16, whole.len() - 1] {
        let mut wire = Wire::open(&broker);
        wire.write(&whole[..len]);
        wire.stream.shutdown(Shutdown::Write).unwrap();
        // An error frame may come first.
        while wire.next_frame().is_some() {}
        assert!(
            matches!(other.ask(&Request::Ping), Reply::Pong),
            "after {len} bytes"
        );
    }
    assert!(!broker.log().contains("panicked"));
}

#[test]
fn a_payload_that_does_not_fit_its_kind_refuses_that_request_only() {
    let broker = broker();
    let mut wire = Wire::open(&broker);
    for (kind, payload, code) in [
        (kind::QUEUE_SHOW, &b"\xffx"[..], ErrorCode::MalformedFrame),
        (kind::QUEUE_SHOW, &b""[..], ErrorCode::MalformedFrame),
        (kind::PING, &b"surplus"[..], ErrorCode::MalformedFrame),
        (
            kind::QUEUE_SHOW,
            &b"\x02\xff\xff"[..],
            ErrorCode::MalformedFrame,
        ),
        (0x7f, &b""[..], ErrorCode::UnknownKind),
        (kind::PING | 0x80, &b""[..], ErrorCode::UnknownKind),
    ] {
        let id = wire.frame(kind, payload);
        let error = refusal(wire.reply_to(id));
        assert_eq!(error.code(), Some(code), "kind {kind:#x}: {}", error.text);
        assert!(
            matches!(wire.ask(&Request::Ping), Reply::Pong),
            "the connection goes on"
        );
    }
}

#[test]
fn requests_before_authentication_are_refused_and_closed_after_three() {
    let broker = broker();
    let mut wire = Wire::connect(&broker);
    wire.hello();
    for _ in 0..AUTHENTICATION_FAILURES_MAX {
        let error = refusal(wire.ask(&Request::QueueShow {
            name: "orders".into(),
        }));
        assert_eq!(error.code(), Some(ErrorCode::NotAuthenticated));
    }
    assert!(wire.next_frame().is_none(), "the connection stays open");
}

#[test]
fn a_wrong_signature_and_an_unknown_secret_id_get_the_same_answer_and_are_closed_after_three() {
    let broker = broker();
    let env = broker.env();
    let (id, key) = (&env["SAMPAN_SECRET_ID"], &env["SAMPAN_SECRET_KEY"]);
    let mut answers = Vec::new();
    for (id, key) in [
        (id.as_str(), "wrong"),
        ("AKIDunknown", key.as_str()),
        ("", ""),
    ] {
        let mut wire = Wire::connect(&broker);
        let nonce = wire.hello().nonce;
        for _ in 0..AUTHENTICATION_FAILURES_MAX {
            let error = refusal(wire.ask(&proof(&nonce, id, key)));
            assert_eq!(error.code(), Some(ErrorCode::AuthenticationFailed));
            answers.push(error);
        }
        assert!(wire.next_frame().is_none(), "the connection stays open");
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert!(
        !broker.log().contains(key.as_str()),
        "the key is in the log"
    );
}

#[test]
fn a_signature_is_of_no_use_on_another_connection() {
    let broker = broker();
    let env = broker.env();
    let nonce = Wire::connect(&broker).hello().nonce;
    let proof = proof(&nonce, &env["SAMPAN_SECRET_ID"], &env["SAMPAN_SECRET_KEY"]);
    let mut wire = Wire::connect(&broker);
    assert_ne!(wire.hello().nonce, nonce);
    let error = refusal(wire.ask(&proof));
    assert_eq!(error.code(), Some(ErrorCode::AuthenticationFailed));
    // One failure does not close the connection.
    wire.frame(kind::PING, b"");
    assert!(wire.next_frame().is_some());
}

#[test]
fn garbage_where_tls_should_be_harms_nobody() {
    let broker = Broker::start(Setup::default());
    for bytes in [&[0xff; 64][..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"] {
        let mut wire = Wire::over(TcpStream::connect(broker.address).unwrap());
        wire.write(bytes);
        wire.stream.shutdown(Shutdown::Write).unwrap();
        // An alert, as TLS calls it, may come first; then the connection is closed.
        std::io::copy(&mut &wire.stream, &mut std::io::sink()).unwrap_or(0);
        broker.cli(&["queue", "list"]).expect(0);
    }
    assert!(!broker.log().contains("panicked"));
}
