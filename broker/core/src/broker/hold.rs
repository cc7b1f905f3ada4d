//! Settlements that are held while a backup is taken.
//!
//! A backup writes the sets down one after the other. If a message were taken by a queue of one
//! set after that set was written down, and left its own before the other was, the backup would
//! have it in neither. So for that while no message leaves its own queue: it may be written down
//! in both, and after a restore the queue that has it knows the letter by its number.
//!
//! The hold ends by itself, so that a backup which dies does not stop dead letters for good; who
//! holds is told at the end whether it held all the time. Spec: spec/semantics.md, "Backups".

use sampan_protocol::{ErrorCode, Timestamp};

use super::Broker;
use crate::reply::{Refusal, Reply};

/// Who holds the settlements of a set, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Never 0.
    pub(crate) token: u64,
    pub(crate) until: Timestamp,
}

impl Broker {
    /// Holds settlements for a while, or lets them go on.
    pub(super) fn hold_settlements(&mut self, token: u64, for_ms: u32) -> Result<Reply, Refusal> {
        let holder = self.settlements_held_by();
        if for_ms == 0 {
            if holder != Some(token) {
                let text = "the settlements were not held all the time".to_owned();
                return Err(Refusal::with_text(ErrorCode::ClusterRefused, text));
            }
            self.hold = None;
            return Ok(Reply::Done);
        }
        if holder.is_some_and(|holder| holder != token) {
            let text = "another backup is being taken".to_owned();
            return Err(Refusal::with_text(ErrorCode::ClusterRefused, text));
        }
        let until = self.now.after_ms(for_ms.into());
        self.hold = Some(Hold { token, until });
        Ok(Reply::Done)
    }

    /// The token of whoever holds the settlements of this set.
    pub fn settlements_held_by(&self) -> Option<u64> {
        let held = self.hold.filter(|hold| self.now < hold.until);
        held.map(|hold| hold.token)
    }

    /// Passes when messages may leave for good.
    pub(super) fn check_settlements(&self) -> Result<(), Refusal> {
        if self.settlements_held_by().is_none() {
            return Ok(());
        }
        let text = "a backup is being taken".to_owned();
        Err(Refusal::with_text(ErrorCode::QueueBusy, text))
    }
}
