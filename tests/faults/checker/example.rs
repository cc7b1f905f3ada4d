//! Histories made by hand: a good one, and the means to break it.

use super::super::history::{Event, Kind, Outcome};
use super::{Case, Cut, Groups, Past, Still, Violation, check};

pub(super) const SECOND: u64 = 1_000_000;
/// The visibility timeout of every receive here.
pub(super) const VISIBILITY_MS: u32 = 5_000;
/// The set's time when the history begins.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// A case that owns what it is made of.
pub(super) struct Example {
    pub(super) events: Vec<Event>,
    pub(super) notes: Vec<String>,
    pub(super) disturbed: Vec<(u64, u64)>,
    pub(super) allowed: Vec<u16>,
    pub(super) still: Option<Still>,
    pub(super) left: Vec<u64>,
    pub(super) past: Past,
    pub(super) moves: Vec<(u16, u16)>,
    pub(super) groups: Option<Groups>,
    pub(super) lazy: Option<u16>,
    pub(super) cut: Option<Cut>,
}

impl Example {
    /// Ten messages, each sent, received and deleted once, one a second, and a fault at 4.2 s.
    pub(super) fn new() -> Example {
        let mut example = Example {
            events: Vec::new(),
            notes: Vec::new(),
            disturbed: vec![(4_200_000, 4_400_000)],
            allowed: Vec::new(),
            still: None,
            left: vec![0],
            past: Past::default(),
            moves: Vec::new(),
            groups: None,
            lazy: None,
            cut: None,
        };
        for number in 1..=10 {
            let at = number * SECOND;
            example.events.push(send(number, at));
            example.events.push(receive(number, 1, at + 100_000));
            example.events.push(delete(number, 1, at + 200_000));
        }
        example
    }

    pub(super) fn with_case<T>(&self, act: impl FnOnce(&Case<'_>) -> T) -> T {
        act(&Case {
            events: &self.events,
            notes: &self.notes,
            disturbed: &self.disturbed,
            healed_at_us: 4_400_000,
            stopped_at_us: 30 * SECOND,
            allowed: &self.allowed,
            queue_count: 1 + self.moves.len() as u16,
            moves: &self.moves,
            groups: self.groups,
            lazy: self.lazy,
            cut: self.cut,
            still: self.still.clone(),
            left: &self.left,
        })
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.with_case(|case| check(case, &self.past))
    }

    /// The rules that were broken, each once.
    pub(super) fn rules(&self) -> Vec<&'static str> {
        let mut rules: Vec<_> = self.violations().iter().map(|found| found.rule).collect();
        rules.dedup();
        rules
    }

    /// The event of this kind about message `number`.
    pub(super) fn event(&mut self, kind: Kind, number: u64) -> &mut Event {
        let mut events = self.events.iter_mut();
        let found = events.find(|event| event.kind == kind && event.number == number);
        found.expect("the example has it")
    }

    pub(super) fn remove(&mut self, kind: Kind, number: u64) {
        self.events
            .retain(|event| event.kind != kind || event.number != number);
    }
}

/// A successful send; the message's id is its number.
pub(super) fn send(number: u64, at_us: u64) -> Event {
    Event {
        message: number,
        number,
        ..Event::new(Kind::Send, 0, at_us, at_us + 10_000)
    }
}

/// A successful receive of a message that was sent 100 ms before its number of seconds.
pub(super) fn receive(number: u64, receive_count: u32, at_us: u64) -> Event {
    Event {
        message: number,
        number,
        receive_count,
        timeout_ms: VISIBILITY_MS,
        visible_at_ms: EPOCH_MS + (at_us + 5_000) / 1_000 + u64::from(VISIBILITY_MS),
        sent_at_ms: EPOCH_MS + number * 1_000,
        ..Event::new(Kind::Receive, 0, at_us, at_us + 10_000)
    }
}

pub(super) fn delete(number: u64, receive_count: u32, at_us: u64) -> Event {
    handled(Kind::Delete, number, receive_count, at_us)
}

/// Something done with the handle of a receive.
pub(super) fn handled(kind: Kind, number: u64, receive_count: u32, at_us: u64) -> Event {
    Event {
        message: number,
        number,
        receive_count,
        ..Event::new(kind, 0, at_us, at_us + 10_000)
    }
}

pub(super) fn unknown(event: Event) -> Event {
    Event {
        outcome: Outcome::Unknown,
        ..event
    }
}

pub(super) fn refused(event: Event, code: u16) -> Event {
    Event {
        outcome: Outcome::Refused,
        code,
        ..event
    }
}
