//! The broker's rule for numbered sends, as a naive model: spec/semantics.md, "Producers". Sessions
//! are never forgotten here.

use std::collections::BTreeMap;

use sampan_protocol::{ErrorCode, ProducerSession, Send, Sent};

use super::NOW;

/// Replies that are kept for each session and queue.
const ANSWERS_KEPT: u64 = 1_024;
/// How far a new session's time may be off.
const LIFE_MS: u64 = 86_400_000;

/// See the head of the file.
#[derive(Default)]
pub struct Sessions(BTreeMap<(String, ProducerSession), Vec<Sent>>);

impl Sessions {
    /// What to do about a send: nothing as reply means that it is to be carried out.
    pub fn judge(&self, send: &Send) -> Result<Option<Sent>, ErrorCode> {
        let Some(producer) = send.producer else {
            return Ok(None);
        };
        let known = self.0.get(&(send.queue.to_string(), producer.session));
        if known.is_none() && producer.session.drawn_at().0.abs_diff(NOW.0) > LIFE_MS {
            return Err(ErrorCode::ProducerExpired);
        }
        let sent = known.map_or(&[][..], Vec::as_slice);
        let highest = sent.len() as u64;
        match producer.number {
            number if number == highest + 1 => Ok(None),
            number if number > highest => Err(ErrorCode::OutOfOrder),
            number if number + ANSWERS_KEPT <= highest => Err(ErrorCode::ProducerExpired),
            number => {
                let place = usize::try_from(number - 1).expect("below the count");
                Ok(Some(sent[place].clone()))
            }
        }
    }

    /// A send that was to be carried out was stored.
    pub fn note(&mut self, send: &Send, sent: Sent) {
        if let Some(producer) = send.producer {
            let key = (send.queue.to_string(), producer.session);
            self.0.entry(key).or_default().push(sent);
        }
    }

    /// The queue is deleted.
    pub fn forget(&mut self, queue: &str) {
        self.0.retain(|(name, _), _| name != queue);
    }
}
