//! Which messages a redrive moves: the filters, and how they judge a message.
//!
//! A filter looks at the headers alone, at those that the broker gave a message that a queue gave
//! up among them. A message without such a story passes only filters that do not ask for it.
//!
//! Spec: spec/semantics.md, "Redrive".

use bytes::Bytes;

use crate::limits::{HEADERS_LEN_MAX, QUEUE_NAME_LEN_MAX};
use crate::{DeadLetter, DeathReason, ErrorCode, Name, OutOfRange, Timestamp, headers};

/// What a message must be like to be moved; what is empty asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedriveFilter {
    /// Given up then or later; 0: at any time.
    pub since: Timestamp,
    /// Given up for this.
    pub reason: Option<DeathReason>,
    /// Given up by the queue of this name, letter case aside; empty: by any.
    pub source_queue: String,
    /// The name of a header that it has; empty: none is asked for.
    pub header_name: String,
    /// The value of that header.
    pub header_value: Bytes,
}

impl RedriveFilter {
    /// Whether every message passes.
    pub fn is_empty(&self) -> bool {
        *self == RedriveFilter::default()
    }

    /// Whether a message with these headers passes.
    pub fn passes(&self, of_message: &[u8]) -> bool {
        self.passes_header(of_message) && self.passes_story(of_message)
    }

    fn passes_header(&self, of_message: &[u8]) -> bool {
        let wanted = (self.header_name.as_str(), &self.header_value[..]);
        self.header_name.is_empty() || headers::decode(of_message).any(|header| header == wanted)
    }

    fn passes_story(&self, of_message: &[u8]) -> bool {
        let asks_nothing =
            self.since.0 == 0 && self.reason.is_none() && self.source_queue.is_empty();
        if asks_nothing {
            return true;
        }
        DeadLetter::of(of_message).is_some_and(|story| {
            let by_source = self.source_queue.is_empty()
                || self.source_queue.eq_ignore_ascii_case(&story.source_queue);
            let by_reason = self.reason.is_none_or(|reason| reason == story.reason);
            by_source && by_reason && story.dead_at >= self.since
        })
    }

    /// Passes when every part is in its range.
    ///
    /// # Errors
    ///
    /// The first that is not, with its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let code = ErrorCode::HeadersOutOfRange;
        let (name_len, value_len) = (self.header_name.len(), self.header_value.len());
        let value_len_max = match name_len {
            0 => 0,
            _ => HEADERS_LEN_MAX,
        };
        OutOfRange::check(code, "header name", name_len, 0, Name::LEN_MAX)?;
        OutOfRange::check(code, "header value", value_len, 0, value_len_max)?;
        let (code, len) = (ErrorCode::InvalidQueueName, self.source_queue.len());
        OutOfRange::check(code, "source queue", len, 0, QUEUE_NAME_LEN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MessageId;

    fn story() -> Bytes {
        let own = headers::encode([("tenant", &b"acme"[..])]).unwrap();
        let story = DeadLetter {
            source_queue: "Orders".to_owned(),
            source_id: MessageId(7),
            receive_count: 3,
            reason: DeathReason::Age,
            dead_at: Timestamp(1_000),
        };
        story.stamp(&own).unwrap()
    }

    #[test]
    fn a_message_passes_when_every_part_of_the_filter_fits() {
        let none = RedriveFilter::default();
        let fits = RedriveFilter {
            since: Timestamp(1_000),
            reason: Some(DeathReason::Age),
            source_queue: "orders".to_owned(),
            header_name: "tenant".to_owned(),
            header_value: Bytes::from_static(b"acme"),
        };
        assert!(none.is_empty() && none.passes(&story()) && none.passes(b""));
        assert!(fits.passes(&story()) && !fits.passes(b"") && !fits.is_empty());
        let with = |change: fn(&mut RedriveFilter)| {
            let mut filter = fits.clone();
            change(&mut filter);
            filter
        };
        for filter in [
            with(|it| it.since = Timestamp(1_001)),
            with(|it| it.reason = Some(DeathReason::ReceiveCount)),
            with(|it| it.source_queue = "order".to_owned()),
            with(|it| it.header_name = "Tenant".to_owned()),
            with(|it| it.header_value = Bytes::from_static(b"acm")),
        ] {
            assert!(!filter.passes(&story()), "{filter:?}");
        }
    }

    #[test]
    fn a_value_needs_a_name_and_both_have_a_length() {
        let mut filter = RedriveFilter {
            header_value: Bytes::from_static(b"x"),
            ..RedriveFilter::default()
        };
        assert!(filter.check().is_err());
        filter.header_name = "n".to_owned();
        assert!(filter.check().is_ok());
        filter.header_value = vec![0; HEADERS_LEN_MAX + 1].into();
        assert!(filter.check().is_err());
    }
}
