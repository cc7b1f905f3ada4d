//! Lines of standard input, read on a thread of their own and handed over through a bounded
//! channel.
//!
//! Reading blocks, and the runtime has one thread, which must go on confirming sends meanwhile.
//!
//! Invariants: at most `LINES_WAITING_MAX` lines wait in the channel, and no line is longer than a
//! body may be: reading stops there, so input without line ends can't fill the memory.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use sampan_protocol::limits::BODY_LEN_MAX;
use tokio::sync::mpsc;

use super::failure::Failure;

/// Most lines that were read and not yet taken.
const LINES_WAITING_MAX: usize = 64;

/// Lines to come.
pub(crate) struct StdinLines {
    lines: mpsc::Receiver<Result<Bytes, Failure>>,
}

impl StdinLines {
    /// Starts the reading thread.
    pub(crate) fn start() -> Result<Self, Failure> {
        let (sender, lines) = mpsc::channel(LINES_WAITING_MAX);
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                read_lines(&mut io::stdin().lock(), |line| {
                    sender.blocking_send(line).is_ok()
                })
            })
            .map_err(|source| Failure::System {
                what: "start a thread",
                source,
            })?;
        Ok(StdinLines { lines })
    }

    /// The next line that is not empty; `None` at the end. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        self.lines.recv().await
    }
}

/// All of standard input as one body.
pub(crate) fn read_whole() -> Result<Bytes, Failure> {
    read_body(io::stdin().lock())
}

fn read_body(input: impl Read) -> Result<Bytes, Failure> {
    let limit = u64::try_from(BODY_LEN_MAX).unwrap_or(u64::MAX);
    let mut body = Vec::new();
    input
        .take(limit + 1)
        .read_to_end(&mut body)
        .map_err(Failure::Input)?;
    match body.len() {
        0 => Err(Failure::Usage(
            "standard input is empty, and a body has at least 1 byte".to_owned(),
        )),
        len if len > BODY_LEN_MAX => Err(Failure::Usage(format!(
            "standard input is longer than a body may be ({BODY_LEN_MAX} bytes)"
        ))),
        _ => Ok(Bytes::from(body)),
    }
}

/// Gives each line to `take` until there is none, one is too long, or `take` wants no more.
fn read_lines(input: &mut impl BufRead, mut take: impl FnMut(Result<Bytes, Failure>) -> bool) {
    let mut number = 0_u64;
    loop {
        number += 1;
        let wanted = match read_line(input, number) {
            Ok(None) => return,
            Ok(Some(line)) if line.is_empty() => true,
            Ok(Some(line)) => take(Ok(line)),
            Err(failure) => {
                take(Err(failure));
                return;
            }
        };
        if !wanted {
            return;
        }
    }
}

/// A line without its end (`\n` or `\r\n`).
fn read_line(input: &mut impl BufRead, number: u64) -> Result<Option<Bytes>, Failure> {
    // Room for the longest body and its line end.
    let limit = u64::try_from(BODY_LEN_MAX).unwrap_or(u64::MAX) + 2;
    let mut line = Vec::new();
    input
        .take(limit)
        .read_until(b'\n', &mut line)
        .map_err(Failure::Input)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    if line.len() > BODY_LEN_MAX {
        let text = format!("line {number} is longer than a body may be ({BODY_LEN_MAX} bytes)");
        return Err(Failure::Usage(text));
    }
    Ok(Some(Bytes::from(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8]) -> (Vec<Bytes>, Option<String>) {
        let (mut lines, mut failure) = (Vec::new(), None);
        read_lines(&mut input, |line| {
            match line {
                Ok(line) => lines.push(line),
                Err(error) => failure = Some(error.to_string()),
            }
            true
        });
        (lines, failure)
    }

    #[test]
    fn both_line_ends_and_a_last_line_without_one_are_understood() {
        let (lines, failure) = lines(b"one\r\ntwo\n\n\r\n \nlast");
        assert_eq!(lines, ["one", "two", " ", "last"]);
        assert_eq!(failure, None);
    }

    #[test]
    fn bytes_that_are_not_text_pass() {
        assert_eq!(lines(b"\xff\x00\n").0, [&b"\xff\x00"[..]]);
    }

    #[test]
    fn a_line_over_the_limit_stops_with_its_number() {
        let mut input = b"a\n".to_vec();
        input.extend(vec![b'x'; BODY_LEN_MAX]);
        input.extend(b"\nb\n");
        assert_eq!(lines(&input).0.len(), 3);
        input.insert(2, b'x');
        let (lines, failure) = lines(&input);
        assert_eq!(lines, ["a"]);
        assert!(failure.expect("too long").contains("line 2"));
    }

    #[test]
    fn reading_stops_when_nobody_wants_more() {
        let mut taken = 0;
        read_lines(&mut &b"a\nb\nc\n"[..], |_| {
            taken += 1;
            taken < 2
        });
        assert_eq!(taken, 2);
    }

    #[test]
    fn a_body_from_the_input_is_not_empty_and_not_too_long() {
        assert!(read_body(&b""[..]).is_err());
        assert_eq!(read_body(&b"a\nb\n"[..]).expect("good"), "a\nb\n");
        assert!(read_body(&vec![b'x'; BODY_LEN_MAX + 1][..]).is_err());
    }
}
