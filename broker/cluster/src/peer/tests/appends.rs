use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use sampan_protocol::SetId;
use tokio::time::{sleep, timeout};

use super::node::{PATIENCE, TestNode, run, until};
use crate::peer::limits::{APPENDS_WAITING_LEN_MAX, BULK_LEN_MAX};
use crate::peer::{
    APPENDS_UNANSWERED_MAX, AppendChannel, AppendHead, Appended, CallError, EntryHead, EntryPieces,
    IncomingAppends, PeerError, WireLogId, WireVote,
};

const VOTE: WireVote = WireVote {
    term: 1,
    node: 1,
    is_committed: true,
};

fn id(index: u64) -> WireLogId {
    WireLogId { term: 1, index }
}

fn head_before(index: u64) -> AppendHead {
    AppendHead {
        vote: VOTE,
        prev: index.checked_sub(1).map(id),
        commit: None,
    }
}

fn entry(index: u64, len: usize) -> EntryPieces {
    let payload = Bytes::from(vec![index as u8; len]);
    let head = EntryHead {
        id: id(index),
        len: len as u32,
        crc32c: crc32c::crc32c(&payload),
    };
    let pieces = vec![payload];
    EntryPieces { head, pieces }
}

async fn pair() -> (TestNode, TestNode) {
    let (one, two) = (TestNode::start(1), TestNode::start(2));
    one.knows(&[&two]);
    one.is_connected_to(2).await;
    (one, two)
}

async fn send(channel: &mut AppendChannel, index: u64, len: usize, is_last: bool) {
    let entries = vec![entry(index, len)];
    let unsent = channel.send(&head_before(index), entries, is_last).unwrap();
    if let Some(unsent) = unsent {
        channel.wait_for_room(unsent).await.unwrap();
    }
}

async fn answer(channel: &mut AppendChannel) -> Result<Appended, PeerError> {
    let answered = poll_fn(|context| channel.poll_answer(context));
    timeout(PATIENCE, answered).await.expect("no answer")
}

async fn stream_of(node: &TestNode) -> (u64, SetId, IncomingAppends) {
    let mut stream = None;
    until(|| {
        stream = node.world.streams.lock().unwrap().pop();
        stream.is_some()
    })
    .await;
    stream.unwrap()
}

/// Answers each request with its last entry, as they come, until the stream ends.
async fn answer_all(stream: IncomingAppends) -> u64 {
    let (mut answers, mut rest) = (stream.answers, stream.rest);
    let mut next = Some(stream.first);
    let mut expected = 0;
    while let Some(request) = next {
        let (last, payload) = request.bytes.entries.last().unwrap().clone();
        assert_eq!(last.index, expected, "in order");
        assert!(payload.iter().all(|byte| *byte == expected as u8));
        expected += 1;
        assert!(answers.send(Appended::Matching(Some(last))).await);
        next = match &mut rest {
            Some(rest) => rest.recv().await,
            None => None,
        };
    }
    answers.finish();
    expected
}

#[test]
fn ten_thousand_entries_arrive_in_order_and_so_do_their_answers() {
    run(async {
        let (one, two) = pair().await;
        let mut channel = one.peers.link(2).open_append(SetId(5)).unwrap();
        let serving = tokio::task::spawn_local(async move {
            let (from, set, stream) = stream_of(&two).await;
            assert_eq!((from, set), (1, SetId(5)));
            let count = answer_all(stream).await;
            (count, two)
        });
        let (mut sent, mut answered) = (0, 0);
        while answered < 10_000 {
            while sent < 10_000 && sent - answered < APPENDS_UNANSWERED_MAX as u64 {
                send(
                    &mut channel,
                    sent,
                    100 + (sent % 50) as usize * 100,
                    sent == 9_999,
                )
                .await;
                sent += 1;
            }
            let appended = answer(&mut channel).await.unwrap();
            assert_eq!(appended, Appended::Matching(Some(id(answered))));
            answered += 1;
        }
        assert_eq!(serving.await.unwrap().0, 10_000);
    });
}

#[test]
fn a_heartbeat_is_a_stream_of_one_frame() {
    run(async {
        let (one, two) = pair().await;
        let mut channel = one.peers.link(2).open_append(SetId(5)).unwrap();
        let unsent = channel.send(&head_before(8), vec![], true).unwrap();
        assert!(unsent.is_none());
        let (.., stream) = stream_of(&two).await;
        assert!(stream.rest.is_none());
        assert_eq!(stream.first.bytes.head, head_before(8));
        let mut answers = stream.answers;
        assert!(answers.send(Appended::Matching(Some(id(7)))).await);
        answers.finish();
        assert_eq!(
            answer(&mut channel).await,
            Ok(Appended::Matching(Some(id(7))))
        );
    });
}

#[test]
fn a_refused_or_dropped_stream_tells_its_leader_why() {
    run(async {
        let (one, two) = pair().await;
        let mut channel = one.peers.link(2).open_append(SetId(404)).unwrap();
        send(&mut channel, 0, 10, false).await;
        let error = CallError::new(CallError::UNKNOWN_SET, "no such set");
        assert_eq!(answer(&mut channel).await, Err(PeerError::Failed(error)));
        let mut channel = one.peers.link(2).open_append(SetId(5)).unwrap();
        send(&mut channel, 0, 10, false).await;
        drop(stream_of(&two).await);
        let Err(PeerError::Failed(error)) = answer(&mut channel).await else {
            panic!("no error");
        };
        assert_eq!(error.number, CallError::NOT_ANSWERED);
        // What is still sent on it does no harm.
        send(&mut channel, 1, 10, false).await;
        drop(channel);
        one.echoes(2).await;
    });
}

#[test]
fn the_follower_sees_the_end_of_a_stream_that_its_leader_drops() {
    run(async {
        let (one, two) = pair().await;
        let mut channel = one.peers.link(2).open_append(SetId(5)).unwrap();
        send(&mut channel, 0, 10, false).await;
        let (.., mut stream) = stream_of(&two).await;
        drop(channel);
        let rest = stream.rest.as_mut().unwrap();
        let ended = timeout(PATIENCE, rest.recv()).await.unwrap();
        assert!(ended.is_none());
    });
}

#[test]
fn a_broken_connection_ends_a_stream_with_an_error() {
    run(async {
        let (one, two) = pair().await;
        let mut channel = one.peers.link(2).open_append(SetId(5)).unwrap();
        send(&mut channel, 0, 10, false).await;
        let (.., stream) = stream_of(&two).await;
        two.peers.stop();
        let broken = answer(&mut channel).await;
        assert_eq!(broken, Err(PeerError::Disconnected { was_written: true }));
        drop(stream);
        assert!(channel.send(&head_before(1), vec![], false).is_err());
    });
}

/// Entries stop when the follower's bound is full and the leader's too; once they are taken, all go
/// through. Heartbeats and calls are held up as well, but nothing grows.
#[test]
fn entries_that_a_set_does_not_take_are_bounded_at_both_ends() {
    run(async {
        let (one, two) = pair().await;
        const LEN: usize = 1 << 20;
        let total = 3 * (APPENDS_WAITING_LEN_MAX + BULK_LEN_MAX) / LEN;
        let link = one.peers.link(2);
        let sent = std::rc::Rc::new(std::cell::Cell::new(0));
        let channels = (0..total).map(|number| {
            let mut channel = link.open_append(SetId(number as u32)).unwrap();
            let sent = sent.clone();
            tokio::task::spawn_local(async move {
                send(&mut channel, 0, LEN, false).await;
                sent.set(sent.get() + 1);
                answer(&mut channel).await.unwrap()
            })
        });
        let channels: Vec<_> = channels.collect();
        let taken = || two.world.streams.lock().unwrap().len();
        until(|| taken() * LEN > APPENDS_WAITING_LEN_MAX - 2 * LEN).await;
        // Long enough for what is possible to happen; what must not happen would fail below.
        sleep(Duration::from_secs(3)).await;
        assert!(
            taken() * LEN <= APPENDS_WAITING_LEN_MAX,
            "{} taken",
            taken()
        );
        assert!(sent.get() < total, "the leader took everything at once");
        let mut served = 0;
        while served < total {
            let (.., stream) = stream_of(&two).await;
            let mut answers = stream.answers;
            drop(stream.first);
            assert!(answers.send(Appended::Matching(Some(id(0)))).await);
            answers.finish();
            served += 1;
        }
        for channel in channels {
            assert_eq!(channel.await.unwrap(), Appended::Matching(Some(id(0))));
        }
    });
}
