//! What came out of `latency` and `single`.

use serde::Serialize;

use super::Row;
use crate::body_len::BodyLen;
use crate::meter::Quantiles;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) body_bytes: BodyLen,
    pub(crate) connections: u32,
    /// Messages a second; `None`: one at a time.
    pub(crate) rate: Option<u32>,
    /// Confirmed sends.
    pub(crate) messages: u64,
    /// With a rate, from when a send was due; otherwise from when it began.
    pub(crate) send_us: Option<Quantiles>,
    /// Sends that failed.
    pub(crate) client_errors: u64,
    /// One message at a time, median; `None` when it was not asked for.
    pub(crate) ceiling_p50_us: Option<u64>,
    /// With a rate the p99, otherwise the p50, as a multiple of that.
    pub(crate) ceiling_ratio: Option<f64>,
}

impl Latency {
    pub(super) fn rows(&self) -> Vec<Row> {
        let rate = match self.rate {
            Some(rate) => format!("{rate} msg/s"),
            None => "one at a time".to_owned(),
        };
        let load = format!(
            "{rate}, connections {}, body {}",
            self.connections, self.body_bytes
        );
        let mut rows = vec![("load", load), ("messages", self.messages.to_string())];
        rows.extend(self.send_us.map(|send| ("send", send.to_string())));
        if let Some((ceiling, ratio)) = self.ceiling_p50_us.zip(self.ceiling_ratio) {
            let what = if self.rate.is_some() { "p99" } else { "p50" };
            let text = format!("{what} is {ratio:.2} times its p50 of {ceiling} us");
            rows.push(("of the ceiling", text));
        }
        rows.push(("errors", self.client_errors.to_string()));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::tests::{QUANTILES, further_keys, report, table};
    use super::*;

    fn example(rate: Option<u32>, ceiling: Option<u64>) -> Outcome {
        Outcome::Latency(Latency {
            body_bytes: BodyLen::fixed(1_024),
            connections: 4,
            rate,
            messages: 20_000,
            send_us: Some(QUANTILES),
            client_errors: 0,
            ceiling_p50_us: ceiling,
            ceiling_ratio: ceiling.map(|_| 2.5),
        })
    }

    #[test]
    fn the_json_object_has_exactly_the_documented_keys() {
        let keys = [
            "body_bytes",
            "ceiling_p50_us",
            "ceiling_ratio",
            "client_errors",
            "connections",
            "messages",
            "rate",
            "send_us",
        ];
        assert_eq!(
            further_keys(&report("latency", example(Some(2), None))),
            keys
        );
    }

    #[test]
    fn the_table_says_what_was_compared() {
        let text = table(&report("latency", example(Some(2_000), Some(300))));
        assert!(text.contains("load           2000 msg/s"), "{text}");
        assert!(
            text.contains("p99 is 2.50 times its p50 of 300 us"),
            "{text}"
        );
        let text = table(&report("single", example(None, Some(300))));
        assert!(
            text.contains("one at a time") && text.contains("p50 is"),
            "{text}"
        );
        let text = table(&report("single", example(None, None)));
        assert!(!text.contains("ceiling"), "{text}");
    }
}
