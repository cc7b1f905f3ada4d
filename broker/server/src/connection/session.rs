//! The conversation of one connection, frame by frame: who is there, and what may be asked.
//!
//! A machine without I/O: frames and the nonce come in, steps come out. It neither reads the
//! socket nor knows the sets.
//!
//! ```text
//!   greeting ──hello──> challenged ──authenticate──> open
//!       │                   │ wrong, up to 3 times      │
//!       └──anything else────┴──────> closed <───────────┘ a frame that cannot be read
//! ```
//!
//! Invariants: nothing but hello, authenticate and ping is let through before the account is
//! known. The work for an unknown SecretId is the work for a known one, so that the time taken
//! tells nothing. Spec: spec/wire.md, "Opening a connection".

use sampan_protocol::limits::{
    AUTHENTICATION_FAILURES_MAX, BATCH_COUNT_MAX, BATCH_LEN_MAX, BODY_LEN_MAX, FRAME_LEN_MAX,
    HEADERS_LEN_MAX, KEY_LEN_MAX, REQUESTS_IN_FLIGHT_MAX,
};
use sampan_protocol::{
    Authenticate, Authenticated, DecodeError, ErrorCode, ErrorReply, Frame, Hello, HelloReply,
    Reply, Request, Timestamp, verify_signature,
};

use crate::accounts::Accounts;

/// The one protocol version so far.
const PROTOCOL_VERSION: u16 = 1;

/// What a frame leads to.
#[derive(Debug)]
pub(crate) enum Step {
    /// Answer at once.
    Answer(Reply),
    /// Answer, then close the connection.
    Close(ErrorReply),
    /// Ask the broker.
    Ask(Request),
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Challenged,
    Open,
}

/// See the module's documentation.
pub(crate) struct Session<'a> {
    accounts: &'a Accounts,
    nonce: [u8; 32],
    now: Timestamp,
    state: State,
    failure_count: u32,
}

impl<'a> Session<'a> {
    /// `nonce` must be drawn at random for each connection; `now` is what the client is told of the
    /// time.
    pub(crate) fn new(accounts: &'a Accounts, nonce: [u8; 32], now: Timestamp) -> Self {
        Session {
            accounts,
            nonce,
            now,
            state: State::Greeting,
            failure_count: 0,
        }
    }

    /// Whether the client has proved who it is.
    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Takes the next frame.
    pub(crate) fn on_frame(&mut self, frame: Frame) -> Step {
        match Request::decode(frame.header.kind, frame.payload) {
            Ok(request) => self.on_request(request),
            Err(error) if self.is_open() && !error.fatal() => {
                Step::Answer(Reply::Error(misfit(&error)))
            }
            Err(error) => Step::Close(misfit(&error)),
        }
    }

    fn on_request(&mut self, request: Request) -> Step {
        match (&self.state, request) {
            (State::Greeting, Request::Hello(hello)) => self.on_hello(hello),
            (State::Greeting, _) => Step::Close(refusal(
                ErrorCode::UnsupportedVersion,
                "the first frame must be hello",
            )),
            (_, Request::Hello(_)) => {
                Step::Close(refusal(ErrorCode::MalformedFrame, "hello was said already"))
            }
            (_, Request::Ping) => Step::Answer(Reply::Pong),
            (State::Challenged, Request::Authenticate(proof)) => self.on_authenticate(&proof),
            (State::Challenged, _) => self.fail(ErrorCode::NotAuthenticated),
            (State::Open, Request::Authenticate(_)) => Step::Answer(Reply::Error(refusal(
                ErrorCode::MalformedFrame,
                "authenticated already",
            ))),
            (State::Open, request) => Step::Ask(request),
        }
    }

    fn on_hello(&mut self, hello: Hello) -> Step {
        if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
            let text = format!("this broker speaks version {PROTOCOL_VERSION}");
            return Step::Close(refusal(ErrorCode::UnsupportedVersion, &text));
        }
        self.state = State::Challenged;
        Step::Answer(Reply::Hello(HelloReply {
            version: PROTOCOL_VERSION,
            nonce: self.nonce,
            frame_len_max: u32::try_from(FRAME_LEN_MAX).expect("the limit fits the header's field"),
            requests_in_flight_max: u32::try_from(REQUESTS_IN_FLIGHT_MAX)
                .expect("the limit is a few thousand"),
        }))
    }

    fn on_authenticate(&mut self, proof: &Authenticate) -> Step {
        let secret_id = proof.secret_id.as_str();
        let (key, is_known) = self.accounts.key_or_decoy(secret_id);
        let is_right = verify_signature(key, &self.nonce, secret_id, &proof.signature);
        if is_known & is_right {
            self.state = State::Open;
            return Step::Answer(Reply::Authenticated(Authenticated { now: self.now }));
        }
        self.fail(ErrorCode::AuthenticationFailed)
    }

    fn fail(&mut self, code: ErrorCode) -> Step {
        self.failure_count += 1;
        let reply = ErrorReply::new(code, code.text());
        if self.failure_count < AUTHENTICATION_FAILURES_MAX {
            Step::Answer(Reply::Error(reply))
        } else {
            Step::Close(reply)
        }
    }
}

/// A refusal of a frame that could not be read; names the limit when one was passed.
fn misfit(error: &DecodeError) -> ErrorReply {
    let code = error.code();
    let text = match code {
        ErrorCode::BatchOutOfRange => format!(
            "{error}: 1 to {BATCH_COUNT_MAX} messages or handles, of {BATCH_LEN_MAX} bytes at most"
        ),
        ErrorCode::MessageTooLarge => format!("{error}: a body has at most {BODY_LEN_MAX} bytes"),
        ErrorCode::BodyEmpty => format!("{error}: a body has at least 1 byte"),
        ErrorCode::HeadersOutOfRange => {
            format!(
                "{error}: headers have at most {HEADERS_LEN_MAX} bytes, a key has {KEY_LEN_MAX}"
            )
        }
        _ => error.to_string(),
    };
    refusal(code, &text)
}

/// An error reply whose text names the code and what exactly was wrong.
fn refusal(code: ErrorCode, detail: &str) -> ErrorReply {
    ErrorReply::new(code, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use sampan_protocol::{FrameDecoder, sign};

    const NONCE: [u8; 32] = [7; 32];
    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn accounts() -> Accounts {
        Accounts::new(vec![("AKIDone".to_owned(), "key".to_owned())], [1; 32]).unwrap()
    }

    fn frame(request: &Request) -> Frame {
        let mut bytes = BytesMut::new();
        request.encode(1, &mut bytes);
        FrameDecoder::new(FRAME_LEN_MAX)
            .decode(&mut bytes)
            .unwrap()
            .unwrap()
    }

    fn hello() -> Request {
        Request::Hello(Hello {
            version_min: 1,
            version_max: 9,
        })
    }

    fn proof(secret_id: &str, key: &str) -> Request {
        let signature = sign(key.as_bytes(), &NONCE, secret_id);
        Request::Authenticate(Authenticate {
            secret_id: secret_id.into(),
            signature,
        })
    }

    fn code(step: Step) -> (ErrorCode, bool) {
        match step {
            Step::Answer(Reply::Error(error)) => (error.code().unwrap(), false),
            Step::Close(error) => (error.code().unwrap(), true),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn the_right_signature_opens_the_session() {
        let accounts = accounts();
        let mut session = Session::new(&accounts, NONCE, NOW);
        assert!(matches!(
            session.on_frame(frame(&hello())),
            Step::Answer(Reply::Hello(_))
        ));
        let step = session.on_frame(frame(&proof("AKIDone", "key")));
        let said = Reply::Authenticated(Authenticated { now: NOW });
        assert!(matches!(step, Step::Answer(reply) if reply == said));
        assert!(session.is_open());
        let show = Request::QueueShow { name: "q".into() };
        assert!(matches!(
            session.on_frame(frame(&show)),
            Step::Ask(Request::QueueShow { .. })
        ));
    }

    #[test]
    fn a_wrong_key_and_an_unknown_id_are_refused_alike_and_closed_after_three() {
        let accounts = accounts();
        for wrong in [proof("AKIDone", "yek"), proof("AKIDtwo", "key")] {
            let mut session = Session::new(&accounts, NONCE, NOW);
            session.on_frame(frame(&hello()));
            for attempt in 1..=3 {
                let (code, closed) = code(session.on_frame(frame(&wrong)));
                assert_eq!(code, ErrorCode::AuthenticationFailed);
                assert_eq!(closed, attempt == 3);
            }
        }
    }

    #[test]
    fn the_decoy_key_of_an_unknown_id_does_not_open_the_session() {
        let accounts = accounts();
        let decoy = accounts.key_or_decoy("AKIDtwo").0.to_vec();
        let signature = sign(&decoy, &NONCE, "AKIDtwo");
        let mut session = Session::new(&accounts, NONCE, NOW);
        session.on_frame(frame(&hello()));
        let proof = Authenticate {
            secret_id: "AKIDtwo".into(),
            signature,
        };
        let (code, _) = code(session.on_frame(frame(&Request::Authenticate(proof))));
        assert_eq!(code, ErrorCode::AuthenticationFailed);
    }

    #[test]
    fn requests_before_authentication_are_refused_and_closed_after_three() {
        let accounts = accounts();
        let mut session = Session::new(&accounts, NONCE, NOW);
        session.on_frame(frame(&hello()));
        let show = frame(&Request::QueueShow { name: "q".into() });
        for attempt in 1..=3 {
            let (code, closed) = code(session.on_frame(show.clone()));
            assert_eq!((code, closed), (ErrorCode::NotAuthenticated, attempt == 3));
        }
    }

    #[test]
    fn a_first_frame_other_than_hello_closes_the_connection() {
        let accounts = accounts();
        let mut session = Session::new(&accounts, NONCE, NOW);
        let (code, closed) = code(session.on_frame(frame(&Request::Ping)));
        assert_eq!((code, closed), (ErrorCode::UnsupportedVersion, true));
    }

    #[test]
    fn versions_without_ours_close_the_connection() {
        let accounts = accounts();
        let mut session = Session::new(&accounts, NONCE, NOW);
        let hello = Request::Hello(Hello {
            version_min: 2,
            version_max: 9,
        });
        let (code, closed) = code(session.on_frame(frame(&hello)));
        assert_eq!((code, closed), (ErrorCode::UnsupportedVersion, true));
    }
}
