//! Processor time of a broker's process.

use std::time::Duration;

use crate::broker::Broker;

/// Linux counts in hundredths of a second on every common machine.
const TICK: Duration = Duration::from_millis(10);

impl Broker {
    /// What it has used so far, in user and system mode.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = self.proc_file("stat");
        // The name, in parentheses, can hold anything; 11 fields later come the two times.
        let (_, fields) = stat.rsplit_once(')').expect("the name ends");
        let ticks = fields.split_whitespace().skip(11).take(2);
        TICK * ticks
            .map(|ticks| ticks.parse::<u32>().expect("a number"))
            .sum()
    }
}
