//! What came out of `wakeup`.

use serde::Serialize;

use super::Row;
use crate::body_len::BodyLen;
use crate::meter::Quantiles;

/// See the head of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Wakeup {
    pub(crate) body_bytes: BodyLen,
    pub(crate) consumers: u32,
    pub(crate) messages: u64,
    /// From send to receive.
    pub(crate) received_us: Option<Quantiles>,
    /// From send to confirmation.
    pub(crate) confirmed_us: Option<Quantiles>,
    /// The first p50 as a multiple of the second.
    pub(crate) ratio: Option<f64>,
}

impl Wakeup {
    pub(super) fn rows(&self) -> Vec<Row> {
        let load = format!(
            "one at a time, consumers {}, body {}",
            self.consumers, self.body_bytes
        );
        let mut rows = vec![("load", load), ("messages", self.messages.to_string())];
        let times = [
            ("received", self.received_us),
            ("confirmed", self.confirmed_us),
        ];
        for (name, quantiles) in times {
            rows.extend(quantiles.map(|quantiles| (name, quantiles.to_string())));
        }
        rows.extend(
            self.ratio
                .map(|ratio| ("ratio of p50", format!("{ratio:.2}"))),
        );
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::tests::{QUANTILES, further_keys, report, table};
    use super::*;

    #[test]
    fn both_times_and_their_ratio_are_told() {
        let wakeup = Wakeup {
            body_bytes: BodyLen::fixed(1_024),
            consumers: 4,
            messages: 2_000,
            received_us: Some(QUANTILES),
            confirmed_us: Some(QUANTILES),
            ratio: Some(1.1),
        };
        let report = report("wakeup", Outcome::Wakeup(wakeup));
        let keys = [
            "body_bytes",
            "confirmed_us",
            "consumers",
            "messages",
            "ratio",
            "received_us",
        ];
        assert_eq!(further_keys(&report), keys);
        assert!(table(&report).contains("ratio of p50   1.10"));
    }
}
