//! The README's first command does what it says.

use std::process::{Command, Stdio};

#[test]
fn the_demo_loses_nothing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sampan"));
    command
        .args(["demo", "--messages", "20000"])
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{said}");
    for line in [
        "sent 20000 messages of 1024 bytes over TLS",
        "received 20000",
        "lost 0",
    ] {
        assert!(
            text.lines().any(|printed| printed == line),
            "{line:?} is not in\n{text}"
        );
    }
    println!("{text}");
}
