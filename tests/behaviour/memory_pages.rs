//! Goal: no message waits while the kernel clears a huge page. Method: the kernel is asked.

use crate::broker::{Broker, Setup};

#[test]
fn a_broker_gets_no_huge_pages() {
    let broker = Broker::start(Setup::default());
    let status = broker.proc_file("status");
    let enabled = status.lines().find(|line| line.starts_with("THP_enabled:"));
    assert_eq!(enabled, Some("THP_enabled:\t0"), "{status}");
}
