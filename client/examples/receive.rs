//! Receives messages from a queue, prints and deletes them, until stopped with Ctrl-C.
//!
//! Reads SAMPAN_SERVER, SAMPAN_CA, SAMPAN_SECRET_ID and SAMPAN_SECRET_KEY.
//! Usage: `cargo run --example receive -- QUEUE`

use futures::StreamExt;
use sampan_client::Client;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).ok_or("usage: receive QUEUE")?;
    let client = Client::from_env().await?;
    let mut deliveries = client.queue(name).deliveries(100);
    loop {
        let delivery = tokio::select! {
            delivery = deliveries.next() => delivery,
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                break;
            }
        };
        match delivery {
            Some(Ok(delivery)) => {
                println!(
                    "{}: {}",
                    delivery.id,
                    String::from_utf8_lossy(&delivery.body)
                );
                delivery.delete().await?;
            }
            Some(Err(error)) if error.retry() => println!("still trying: {error}"),
            Some(Err(error)) => return Err(error.into()),
            None => break,
        }
    }
    // What was prefetched and not printed goes back to the queue before the connection closes.
    drop(deliveries);
    client.close().await;
    Ok(())
}
