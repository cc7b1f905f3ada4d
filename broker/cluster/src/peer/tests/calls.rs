use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use sampan_protocol::SetId;

use super::node::{DROP, ECHO, HOLD, PATIENCE, TestNode, WHO, run, until};
use crate::peer::limits::CALLS_WAITING_MAX;
use crate::peer::{CallError, PEER_PAYLOAD_LEN_MAX, PeerError};

async fn pair() -> (TestNode, TestNode) {
    let (one, two) = (TestNode::start(1), TestNode::start(2));
    one.knows(&[&two]);
    one.is_connected_to(2).await;
    (one, two)
}

#[test]
fn many_calls_at_once_get_their_own_answers() {
    run(async {
        let (one, _two) = pair().await;
        let link = one.peers.link(2);
        let calls = (0..5000u32).map(|number| {
            let link = link.clone();
            async move {
                let len = if number % 100 == 0 { 100_000 } else { 4 };
                let payload = number.to_le_bytes().repeat(len / 4);
                let called = link.call(Some(SetId(3)), ECHO, payload.clone().into(), PATIENCE);
                assert_eq!(called.await.unwrap(), payload);
            }
        });
        join_all(calls).await;
        let asked = link.call(Some(SetId(3)), WHO, Bytes::new(), PATIENCE).await;
        assert_eq!(asked.unwrap(), Bytes::from_static(b"1 true Some(SetId(3))"));
    });
}

#[test]
fn errors_and_dropped_duties_are_answers_too() {
    run(async {
        let (one, _two) = pair().await;
        let link = one.peers.link(2);
        let failed = link.call(None, 1000, Bytes::new(), PATIENCE).await;
        let error = CallError::new(99, "method 1000");
        assert_eq!(failed, Err(PeerError::Failed(error)));
        let dropped = link.call(None, DROP, Bytes::new(), PATIENCE).await;
        let number = match dropped {
            Err(PeerError::Failed(error)) => error.number,
            other => panic!("{other:?}"),
        };
        assert_eq!(number, CallError::NOT_ANSWERED);
        let long = Bytes::from(vec![0; PEER_PAYLOAD_LEN_MAX]);
        let refused = link.call(None, ECHO, long, PATIENCE).await;
        assert_eq!(refused, Err(PeerError::TooLong(PEER_PAYLOAD_LEN_MAX)));
    });
}

#[test]
fn a_broken_connection_ends_its_calls_as_perhaps_done() {
    run(async {
        let (one, two) = pair().await;
        let link = one.peers.link(2);
        let calls: Vec<_> = (0..10)
            .map(|_| {
                let link = link.clone();
                tokio::task::spawn_local(async move {
                    link.call(None, HOLD, Bytes::new(), PATIENCE).await
                })
            })
            .collect();
        until(|| two.world.held.lock().unwrap().len() == 10).await;
        two.peers.stop();
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(error, PeerError::Disconnected { was_written: true });
            assert!(error.may_be_applied());
        }
    });
}

#[test]
fn calls_that_lost_patience_make_room_for_others() {
    run(async {
        let (one, two) = pair().await;
        let link = one.peers.link(2);
        for _ in 0..3 {
            let calls = (0..CALLS_WAITING_MAX).map(|_| {
                let time_max = Duration::from_millis(300);
                link.call(None, HOLD, Bytes::new(), time_max)
            });
            for result in join_all(calls).await {
                assert!(matches!(
                    result,
                    Err(PeerError::TimedOut(_) | PeerError::Failed(_))
                ));
            }
        }
        two.world.held.lock().unwrap().clear();
        one.echoes(2).await;
    });
}
