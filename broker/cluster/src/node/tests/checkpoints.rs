//! Goal: a node's figures say when a checkpoint began and ended. Method: a cluster of one set that
//! is asked for one.

use sampan_protocol::QueueAttributes;

use super::*;
use crate::status::SetMetrics;

async fn figures(node: &Node) -> SetMetrics {
    let figures = within(node.metrics()).await;
    figures.sets.first().cloned().expect("there is one set")
}

#[test]
fn figures_say_when_a_checkpoint_began_and_that_it_ended() {
    run(async {
        let disk = SimulatedDisk::new();
        let founding = Founding::New { set_count: Some(1) };
        let (node, parts) = Node::open(options(&disk, None, Some(founding))).unwrap();
        for part in parts {
            within(part.start()).await.unwrap();
        }
        let command = sampan_core::Command::QueueCreate {
            queue: QueueId(1),
            name: "q1".to_owned(),
            attributes: QueueAttributes::default(),
            secret: 5,
        };
        within(node.sets()[0].propose(command)).await.unwrap();
        let (done, answer) = oneshot::channel();
        let asked = SetRequest::Checkpoint(done);
        node.sets()[0].request(asked).await.unwrap();
        within(answer).await.unwrap().unwrap();
        // The answer comes before the figures are written down.
        within(async {
            loop {
                let after = figures(&node).await;
                let is_over = after.checkpoint_ended_ms >= after.checkpoint_begun_ms;
                if after.checkpoint_begun_ms > 0 && is_over {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    });
}
