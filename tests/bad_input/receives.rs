//! Goal: a receive or a change of visibility out of its range is refused with the range in the
//! text, and changes nothing.

use sampan_protocol::limits::{
    BATCH_COUNT_MAX, RECEIVE_LEN_MAX, RECEIVE_WAIT_MAX_MS, VISIBILITY_TIMEOUT_MAX_MS,
    VISIBILITY_TIMEOUT_MIN_MS,
};
use sampan_protocol::{
    AttributeChanges, ChangeVisibility, ErrorCode, Handles, QueueCreate, ReceiptHandle, Receive,
    Reply, Request,
};

use crate::broker::{Broker, Setup};
use crate::wire::Wire;
use crate::wrong_frames::refusal;

fn good() -> Receive {
    Receive {
        queue: "orders".into(),
        count_max: 1,
        len_max: 0,
        wait_ms: Some(0),
        visibility_timeout_ms: None,
    }
}

fn change(timeout: u32) -> Request {
    Request::ChangeVisibility(ChangeVisibility {
        queue: "orders".into(),
        visibility_timeout_ms: timeout,
        handles: Handles::from_iter([ReceiptHandle(1)]),
    })
}

#[test]
fn what_is_out_of_its_range_is_refused_with_the_range() {
    let broker = Broker::start(Setup {
        without_tls: true,
        ..Setup::default()
    });
    let mut wire = Wire::open(&broker);
    let changes = AttributeChanges::default();
    wire.ask(&Request::QueueCreate(QueueCreate {
        name: "orders".into(),
        changes,
    }));
    let receive = Request::Receive;
    let visibility = |timeout| Receive {
        visibility_timeout_ms: Some(timeout),
        ..good()
    };
    let (count, wait) = (ErrorCode::ReceiveOutOfRange, ErrorCode::WaitOutOfRange);
    let hidden = ErrorCode::VisibilityTimeoutOutOfRange;
    let count_max = u16::try_from(BATCH_COUNT_MAX).unwrap();
    for (request, code, limit) in [
        (
            receive(Receive {
                count_max: 0,
                ..good()
            }),
            count,
            u32::from(count_max),
        ),
        (
            receive(Receive {
                count_max: count_max + 1,
                ..good()
            }),
            count,
            count_max.into(),
        ),
        (
            receive(Receive {
                len_max: RECEIVE_LEN_MAX + 1,
                ..good()
            }),
            count,
            RECEIVE_LEN_MAX,
        ),
        (
            receive(Receive {
                wait_ms: Some(RECEIVE_WAIT_MAX_MS + 1),
                ..good()
            }),
            wait,
            RECEIVE_WAIT_MAX_MS,
        ),
        (receive(visibility(0)), hidden, VISIBILITY_TIMEOUT_MIN_MS),
        (
            receive(visibility(VISIBILITY_TIMEOUT_MIN_MS - 1)),
            hidden,
            VISIBILITY_TIMEOUT_MIN_MS,
        ),
        (
            receive(visibility(VISIBILITY_TIMEOUT_MAX_MS + 1)),
            hidden,
            VISIBILITY_TIMEOUT_MAX_MS,
        ),
        (
            change(VISIBILITY_TIMEOUT_MIN_MS - 1),
            hidden,
            VISIBILITY_TIMEOUT_MIN_MS,
        ),
        (
            change(VISIBILITY_TIMEOUT_MAX_MS + 1),
            hidden,
            VISIBILITY_TIMEOUT_MAX_MS,
        ),
    ] {
        let error = refusal(wire.ask(&request));
        assert_eq!(error.code(), Some(code), "{request:?}: {}", error.text);
        let limit = limit.to_string();
        assert!(
            error.text.contains(&limit),
            "{limit} is not in {:?}",
            error.text
        );
    }
    let nothing = wire.ask(&receive(good()));
    assert!(matches!(nothing, Reply::Received(messages) if messages.is_empty()));
}
