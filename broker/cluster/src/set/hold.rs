//! A pause before leadership is handed over: nothing is proposed, and what is on its way comes
//! back.
//!
//! So nobody's request is cut off in the middle by a planned hand-over: what was not proposed is
//! refused as such, and goes to the next leader.

use tokio::sync::oneshot;

/// A pause that lasts longer was for nothing: the set goes on.
const HOLD_MAX_MS: u64 = 1_000;

/// The pause of one set, if there is one.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// On the monotonic clock.
    until_ms: u64,
    /// Told once nothing is on its way.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Hold {
    /// Pauses from now on.
    pub(super) fn begin(&mut self, now_ms: u64, idle: oneshot::Sender<()>) {
        self.until_ms = now_ms + HOLD_MAX_MS;
        self.waiting.push(idle);
    }

    /// Whether nothing may be proposed now.
    pub(super) fn is_on(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms
    }

    /// Nothing is on its way any more.
    pub(super) fn on_idle(&mut self) {
        for waiting in self.waiting.drain(..) {
            // Whoever asked may have given up.
            waiting.send(()).ok();
        }
    }

    /// Leadership is gone: whoever leads next has no pause.
    pub(super) fn end(&mut self) {
        self.until_ms = 0;
        self.on_idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_by_itself() {
        let mut hold = Hold::default();
        let (idle, mut told) = oneshot::channel();
        assert!(!hold.is_on(5));
        hold.begin(5, idle);
        assert!(hold.is_on(5) && hold.is_on(5 + HOLD_MAX_MS - 1));
        assert!(told.try_recv().is_err());
        hold.on_idle();
        assert_eq!(told.try_recv(), Ok(()));
        assert!(!hold.is_on(5 + HOLD_MAX_MS));
    }
}
