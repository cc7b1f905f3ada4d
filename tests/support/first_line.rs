//! What a started process says first.

use std::io::{self, BufRead, BufReader};
use std::process::ChildStdout;
use std::sync::mpsc;
use std::time::Duration;

/// A process that has said nothing by then has failed; only a bound for broken ones.
pub(crate) const START_MAX: Duration = Duration::from_secs(120);

/// The first line of `stdout`, without its end; empty when there is none. Whatever follows is read
/// and dropped, so that the process never waits for us.
pub(crate) fn first_line(stdout: ChildStdout) -> String {
    let (sender, line) = mpsc::channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut first = String::new();
        let read = stdout.read_line(&mut first).map(|_| first);
        // Whoever waited may have given up.
        drop(sender.send(read));
        io::copy(&mut stdout, &mut io::sink())
    });
    let line = line
        .recv_timeout(START_MAX)
        .expect("the process says something within its bound");
    line.expect("stdout can be read").trim_end().to_owned()
}
