//! Sends messages to a queue, many at once, and says when all of them are on disk.
//!
//! Reads SAMPAN_SERVER, SAMPAN_CA, SAMPAN_SECRET_ID and SAMPAN_SECRET_KEY.
//! Usage: `cargo run --example send -- QUEUE [COUNT]`

use std::time::Instant;

use sampan_client::{Client, ErrorCode, QueueOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("usage: send QUEUE [COUNT]")?;
    let count: usize = arguments.next().map_or(Ok(1_000), |count| count.parse())?;

    let client = Client::from_env().await?;
    match client.create_queue(&name, QueueOptions::new()).await {
        Ok(_) => println!("created {name}"),
        Err(error) if error.code() == Some(ErrorCode::QueueAlreadyExists) => {}
        Err(error) => return Err(error.into()),
    }
    let queue = client.queue(&name);

    let started_at = Instant::now();
    // Each call puts its message on the way; the futures only say when it is durable.
    let mut sending = std::collections::VecDeque::new();
    for number in 0..count {
        sending.push_back(queue.send(format!("message {number}")));
        if sending.len() == 1_024
            && let Some(oldest) = sending.pop_front()
        {
            oldest.await?;
        }
    }
    for send in sending {
        send.await?;
    }
    println!("{count} messages on disk after {:?}", started_at.elapsed());
    client.close().await;
    Ok(())
}
