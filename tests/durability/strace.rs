//! What strace says about a process: system calls on files and sockets, in their order.
//!
//! A call that others interrupt comes as two lines, "unfinished" and "resumed". Its beginning
//! counts where it was made, its end where it returned; that is what "synced before the reply was
//! written" means.

use std::collections::BTreeMap;
use std::process::Command;

/// Bytes of each buffer that strace shows: more than a page of the log.
const SHOWN_LEN: u32 = 8_192;

/// The begin or the end of one call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) call: String,
    /// What the file descriptor stands for: a path, or `TCP:[here->there]`.
    pub(super) target: String,
    pub(super) edge: Edge,
    /// The call as it was written down, from its first argument.
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    Begin,
    /// It returned, and did not fail.
    Done,
}

/// The command that runs a broker under strace, which writes to `output`.
///
/// # Panics
///
/// When strace is not there: a test that leaves out what it should see would prove nothing.
pub(super) fn command(output: &str) -> Vec<String> {
    let found = Command::new("strace")
        .arg("-V")
        .output()
        .is_ok_and(|said| said.status.success());
    assert!(
        found,
        "this test needs strace: install the Debian package `strace`"
    );
    let calls = "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fdatasync,fsync";
    // `-D`: the process that we start is the broker, strace its grandchild.
    let words = [
        "strace",
        "-D",
        "-f",
        "-yy",
        "-s",
        &SHOWN_LEN.to_string(),
        "-e",
        calls,
        "-o",
        output,
    ];
    words.map(str::to_owned).to_vec()
}

/// Every call of a trace.
pub(super) fn events(trace: &str) -> Vec<Event> {
    let mut open: BTreeMap<(&str, &str), (&str, &str)> = BTreeMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((process, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((call, rest)) = resumed.split_once(' ') else {
                continue;
            };
            if let Some((target, text)) = open.remove(&(process, call))
                && succeeded(rest)
            {
                events.push(event(call, target, text, Edge::Done));
            }
        } else if let Some((call, text)) = rest.split_once('(') {
            let Some(target) = target(text) else { continue };
            events.push(event(call, target, text, Edge::Begin));
            if text.ends_with("<unfinished ...>") {
                open.insert((process, call), (target, text));
            } else if succeeded(text) {
                events.push(event(call, target, text, Edge::Done));
            }
        }
    }
    events
}

fn event(call: &str, target: &str, text: &str, edge: Edge) -> Event {
    Event {
        call: call.to_owned(),
        target: target.to_owned(),
        edge,
        text: text.to_owned(),
    }
}

/// `PATH` of `9<PATH>, ...`.
fn target(text: &str) -> Option<&str> {
    let (number, rest) = text.split_once('<')?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // `->` inside a socket's name ends nothing.
    let end = rest
        .match_indices('>')
        .find(|(at, _)| !rest[..*at].ends_with('-'))?
        .0;
    Some(&rest[..end])
}

fn succeeded(text: &str) -> bool {
    text.rsplit_once(" = ")
        .is_some_and(|(_, result)| !result.starts_with(['-', '?']))
}

#[test]
fn calls_in_one_line_and_in_two_are_understood() {
    let trace = "\
10 fdatasync(9</d/log/00000001.log>) = 0
11 fdatasync(9</d/log/00000001.log> <unfinished ...>
12 write(7<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"a > b\", 5) = 5
11 <... fdatasync resumed>)          = 0
12 write(7<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"x\", 1) = -1 EAGAIN (Resource unavailable)
10 +++ exited with 0 +++
";
    let seen: Vec<_> = events(trace)
        .into_iter()
        .map(|event| (event.call, event.target.chars().next(), event.edge))
        .collect();
    let sync = |edge| ("fdatasync".to_owned(), Some('/'), edge);
    let write = |edge| ("write".to_owned(), Some('T'), edge);
    assert_eq!(
        seen,
        [
            sync(Edge::Begin),
            sync(Edge::Done),
            sync(Edge::Begin),
            write(Edge::Begin),
            write(Edge::Done),
            sync(Edge::Done),
            write(Edge::Begin),
        ]
    );
}
