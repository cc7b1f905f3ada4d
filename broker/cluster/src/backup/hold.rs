//! Keeps messages from leaving their queues for good while the sets are written down one after the
//! other, so that one that moves meanwhile is in at least one of them.
//!
//! Spec: spec/semantics.md, "Backups".

use sampan_core::{Command, HOLD_MAX_MS, Reply};
use sampan_protocol::SetId;

use crate::reach::Reach;
use crate::set::Refused;

/// The settlements of all sets, held under one token.
pub(super) struct Hold<'a> {
    reach: &'a Reach,
    sets: &'a [SetId],
    token: u64,
}

impl<'a> Hold<'a> {
    /// `token` is drawn anew for each backup.
    pub(super) fn new(reach: &'a Reach, sets: &'a [SetId], token: u64) -> Self {
        Hold {
            reach,
            sets,
            token: token.max(1),
        }
    }

    /// Every set holds from now on, until it is released, at most [`HOLD_MAX_MS`].
    pub(super) async fn begin(&self) -> Result<(), Refused> {
        for set in self.sets {
            self.propose(*set, HOLD_MAX_MS).await?;
        }
        Ok(())
    }

    /// Lets all of them go on.
    ///
    /// # Errors
    ///
    /// One of them had not held all the time, or could not be asked.
    pub(super) async fn release(&self) -> Result<(), Refused> {
        let mut released = Ok(());
        for set in self.sets {
            released = released.and(self.propose(*set, 0).await);
        }
        released
    }

    async fn propose(&self, set: SetId, for_ms: u32) -> Result<(), Refused> {
        let token = self.token;
        let hold = Command::HoldSettlements { token, for_ms };
        match self.reach.propose(set, hold).await? {
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Ok(()),
        }
    }
}
