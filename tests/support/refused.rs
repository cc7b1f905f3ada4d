//! Starts that must be refused.

use crate::broker::Broker;
use crate::first_line::first_line;

/// How a refused start ended.
pub(crate) struct Refused {
    pub(crate) code: Option<i32>,
    /// What it said on stderr.
    pub(crate) said: String,
}

impl Broker {
    /// Starts the broker, which must end by itself before it is ready.
    pub(crate) fn start_refused(&mut self) -> Refused {
        let said_before = self.log().len();
        let stdout = self.spawn();
        let line = first_line(stdout);
        assert_eq!(line, "", "the broker started");
        let status = self.ended();
        let said = self.log()[said_before..].to_owned();
        assert!(!said.contains("panicked"), "{said}");
        Refused {
            code: status.code(),
            said,
        }
    }
}
