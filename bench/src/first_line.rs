//! The first line of a child's output, which says how it is reached or what came out.

use std::io::{self, BufRead, BufReader};
use std::process::ChildStdout;

use tokio::sync::oneshot;

/// Reads one line on a thread, and then whatever follows, so that the child never blocks on us.
pub(crate) fn read(stdout: ChildStdout) -> io::Result<oneshot::Receiver<io::Result<String>>> {
    let (sender, line) = oneshot::channel();
    std::thread::Builder::new()
        .name("child's output".to_owned())
        .spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut first = String::new();
            let read = stdout.read_line(&mut first).map(|_| first);
            // Whoever waited may be gone by now.
            drop(sender.send(read));
            io::copy(&mut stdout, &mut io::sink()).unwrap_or(0);
        })?;
    Ok(line)
}
