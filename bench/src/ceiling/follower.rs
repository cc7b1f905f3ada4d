//! A follower: takes batches from the server, syncs each, and says so.
//!
//! A batch: u64 number, u32 length, and so many bytes. The answer: the number.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use super::log::Log;
use super::part::say;

/// Length of what stands before a batch.
const HEAD_LEN: usize = 12;

/// Serves one server until that goes.
pub(super) fn run(log: &Path) -> anyhow::Result<()> {
    let mut log = Log::create(log)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(&listener.local_addr()?.to_string())?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut batch = Vec::new();
    loop {
        let number = match read_batch(&mut stream, &mut batch) {
            Ok(number) => number,
            // The server is gone.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        log.append(&mut batch)?;
        stream.write_all(&number.to_le_bytes())?;
    }
}

fn read_batch(stream: &mut TcpStream, batch: &mut Vec<u8>) -> io::Result<u64> {
    let mut head = [0; HEAD_LEN];
    stream.read_exact(&mut head)?;
    let (number, len) = decode(head);
    batch.resize(len, 0);
    stream.read_exact(batch)?;
    Ok(number)
}

/// What stands before a batch.
pub(super) fn encode(number: u64, len: usize) -> [u8; HEAD_LEN] {
    let len = u32::try_from(len).expect("a batch is shorter than 4 GiB");
    let mut head = [0; HEAD_LEN];
    head[..8].copy_from_slice(&number.to_le_bytes());
    head[8..].copy_from_slice(&len.to_le_bytes());
    head
}

fn decode(head: [u8; HEAD_LEN]) -> (u64, usize) {
    let [n0, n1, n2, n3, n4, n5, n6, n7, l0, l1, l2, l3] = head;
    let number = u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    (
        number,
        usize::try_from(len).expect("a usize has 32 bits at least"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_batch_comes_back_as_it_was() {
        assert_eq!(decode(encode(1 << 40, 4_000_000)), (1 << 40, 4_000_000));
    }
}
